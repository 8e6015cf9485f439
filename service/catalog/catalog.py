"""The reference tables, loaded once, and found by whatever name people use for a thing."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from service.catalog.records import (
    DATA,
    Accelerator,
    CatalogModel,
    Dataset,
    Fact,
    Grid,
    Interconnect,
    Launches,
    MatmulFigure,
    Price,
    Pue,
    Region,
    Source,
    read_records,
)

__all__ = [
    "DATA",
    "Accelerator",
    "Catalog",
    "CatalogModel",
    "Dataset",
    "Fact",
    "Grid",
    "Interconnect",
    "MatmulFigure",
    "Price",
    "Pue",
    "Region",
    "Source",
    "load_catalog",
    "name_key",
]

_DECIMAL_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_PUNCTUATION = re.compile(r"[^a-z0-9]+")
_DIGITS_APART = re.compile(r"(?<=\d)[^a-z0-9.]+(?=\d)")
_AZURE = "standard"  # what Azure's names begin with, and what people leave out
_GOOGLE_MACHINE = re.compile(r"a\d-[a-z]+gpu-(\d+)g(?:-nolssd)?$", re.IGNORECASE)
# Machines that no price is listed for (their clouds' documentation of instance types).
_MACHINES = {
    "p5e.48xlarge": 8.0, "trn2.48xlarge": 16.0, "Standard_NC6": 1.0, "Standard_NC12": 2.0, "Standard_NC24": 4.0,
    "Standard_ND6s": 1.0, "Standard_NC6s_v2": 1.0, "Standard_NC12s_v3": 2.0,
}  # fmt: skip
_CLOUDS = frozenset({"aws", "azure", "gcp", "oci", "lambda"})
_MEMORY = re.compile(r"[\s(_-]*\b(\d+)\s*(?:gb|gib|g)\b\)?\s*$")
# What publishers append to a language model's name when they tune, quantise, date or lengthen it: its shape stays.
_TUNED = re.compile(
    r"(?<=\w)[-_ .](?:instruct|chat|base|it|pt|hf|sft|dpo|rlhf|deduped|text|thinking|preview"
    r"|(?:unsloth[-_])?(?:bnb[-_])?[48]bit|unsloth|bnb|awq|gptq|gguf|mlx|qat|nf4|fp4|fp8|int4|int8|bf16|fp16"
    r"|qlora|lora|\d{1,3}k|1m|(?:20)?2[3-6](?:0[1-9]|1[0-2])(?:\d\d)?|(?:0[1-9]|1[0-2])[0-3]\d)$",
    re.IGNORECASE,
)
_TUNED_INSIDE = re.compile(r"(?<=\w)[-_ .](?:instruct|chat|base|it|sft)(?=[-_ .]\w)", re.IGNORECASE)
_MOST_ENDINGS = 5
_MANAGED = "ml."  # what SageMaker puts before the names of EC2's machines
_SHORTEST_BARE = 6
_PUBLISHER = re.compile(r"^(?:meta|hf|google|nvidia|microsoft|openai|facebook)[-_ ](?=\w)", re.IGNORECASE)
_FIRST_WORD = re.compile(r"[a-z]{3,}(?![a-z])")
_LANGUAGE = frozenset({"decoder", "moe", "encoder", "encoder_decoder"})
# What drivers and shops put around a chip's name without telling chips apart.
_BRANDS = re.compile(
    r"\(r\)|\(tm\)|\b(?:nvidia|amd|intel|huawei|google|aws|habana|tesla|geforce|instinct|graphics|oam|gpu)\b"
)


@lru_cache(maxsize=16_384)
def name_key(name: str) -> str:
    """A name without case and punctuation, but for what tells things apart: 1.3B and 13B, Command R+ and Command R."""
    return _PUNCTUATION.sub("", _DECIMAL_POINT.sub("p", name.lower().replace("+", "plus")))


@dataclass(frozen=True, eq=False)
class Catalog:
    """All reference tables. Mappings are keyed by the canonical name and keep the order of the files."""

    accelerators: Mapping[str, Accelerator]
    models: Mapping[str, CatalogModel]
    launches: Mapping[str, Launches]
    datasets: Mapping[str, Dataset]
    interconnects: Mapping[str, Interconnect]
    grids: Mapping[str, Grid]
    sources: Mapping[str, Source]
    regions: tuple[Region, ...]
    prices: tuple[Price, ...]
    pue: tuple[Pue, ...]
    matmul_figures: tuple[MatmulFigure, ...]
    facts: tuple[Fact, ...]
    grid_history: tuple[Grid, ...]
    _index: Mapping[str, Mapping[str, str]] = field(repr=False)
    _index_of_machines: Mapping[str, float] = field(repr=False)

    def accelerator(self, name: str) -> Accelerator | None:
        """The accelerator of that slug, driver name, cloud instance or board name; None if there is none.

        A stated memory size must be the chip's own: an ``RTX 3090 48GB`` is not an RTX 3090.
        """
        index, name = self._index["accelerators"], name.removeprefix(_MANAGED)
        slug = index.get(name_key(name))
        if slug is None:
            lowered = _BRANDS.sub(" ", name.lower()).strip()
            slug = index.get(name_key(lowered)) or index.get(_AZURE + name_key(name))
            memory = _MEMORY.search(lowered)
            if slug is None and memory:
                bare = index.get(name_key(lowered[: memory.start()]))
                if bare is not None and self.accelerators[bare].memory_gb == float(memory.group(1)):
                    slug = bare
        return None if slug is None else self.accelerators[slug]

    def per_machine(self, name: str) -> float | None:
        """Accelerators of the cloud machine of that name (``p4d.24xlarge``, ``a2-highgpu-8g``); None if none."""
        key = name_key(name.removeprefix(_MANAGED))
        count = self._index_of_machines.get(key) or self._index_of_machines.get(_AZURE + key)
        if count is None and (counted := _GOOGLE_MACHINE.match(name.strip())):
            count = float(counted.group(1))
        return count

    def model(self, name: str) -> CatalogModel | None:
        """The model of that name or alias, as published (``meta-llama/Llama-3.1-8B``) or spoken; None if unknown."""
        found = self._found("models", name)
        if found is None and "/" in name:
            name = name.rsplit("/", 1)[1]
            found = self._found("models", name)
        return self._untuned(name) if found is None else self.models[found]

    def spellings(self, model: CatalogModel) -> list[str]:
        """The model's name and aliases as they are written, but for those that mean another model."""
        return [name for name in (model.name, *model.aliases) if self.model(name) is model]

    def _untuned(self, name: str) -> CatalogModel | None:
        """The language model that ``name`` is a tuned, quantised or dated edition of; None if there is none.

        Only where a size remains in the name (``llama-3-8b-instruct``): ``bart-base`` without its ending is no model.
        """
        bare = name.strip()
        for _ in range(_MOST_ENDINGS):
            shorter = _PUBLISHER.sub("", _TUNED.sub("", _TUNED_INSIDE.sub("", bare)))
            if shorter == bare:
                break
            bare = shorter
            found = self._found("models", bare)
            if found is not None and self.models[found].family in ("decoder", "moe"):
                return self.models[found]
        return None

    def language_family(self, name: str) -> str | None:
        """The family of the language models whose names begin with the same word as ``name`` (``llama-9b``: decoder).

        None where models of other kinds begin like it; dense and sparse ones together are decoders, and so is one whose
        first word no model has: names that state a size in billions are mostly those of language models.
        """
        word = _FIRST_WORD.match(name.rsplit("/", 1)[-1].lower())
        if word is None:
            return None
        kin = {
            model.family
            for model in self.models.values()
            if (first := _FIRST_WORD.match(model.name)) and first.group() == word.group()
        }
        if not kin or kin == {"decoder", "moe"}:
            return "decoder"
        return kin.pop() if len(kin) == 1 and kin <= _LANGUAGE else None

    def dataset(self, name: str) -> Dataset | None:
        """The data set of that name or alias; None if unknown."""
        found = self._found("datasets", name)
        if found is None and "/" in name:
            found = self._found("datasets", name.rsplit("/", 1)[1])
        return None if found is None else self.datasets[found]

    def interconnect(self, name: str) -> Interconnect | None:
        """The link of that name; None if unknown. Free text is read by ``links``."""
        found = self._found("interconnects", name)
        return None if found is None else self.interconnects[found]

    def grid(self, region: str, provider: str | None = None) -> Grid | None:
        """The electricity of a region: a country or state code, a grid zone, or a cloud region (``us-east-1``).

        A cloud region is looked up under its provider first, where one is given. Latest year known.
        """
        if provider and (found := self._found("grids", f"{provider}:{region}")):
            return self.grids[found]
        # Folding makes AWS's us-east-1 and Google's us-east1 one; as written they are two.
        exact = next((record.grid for record in self.regions if record.region == region), None)
        found = exact if exact in self.grids else self._found("grids", region)
        return None if found is None else self.grids[found]

    def suggest(self, kind: str, name: str) -> list[str]:
        """Up to five canonical names that look like ``name``; ``kind`` is a table's name, e.g. ``accelerators``."""
        return list(_suggested(self, kind, name_key(name)))

    def search_models(self, text: str, family: str | None = None) -> list[CatalogModel]:
        """Models whose name or an alias contains every word of ``text`` (any order), shortest name first."""
        words = [name_key(word) for word in text.split()]
        found = [
            model
            for model in self.models.values()
            if (family is None or model.family == family)
            and any(
                all(word in key for word in words) for key in (name_key(name) for name in (model.name, *model.aliases))
            )
        ]
        return sorted(found, key=lambda model: (len(model.name), model.name))

    def _found(self, kind: str, name: str) -> str | None:
        key = name_key(name)
        found = self._index[kind].get(key)
        if found is not None and kind == "models" and (apart := _digits_apart(name)):
            # GPT-2 2B is no GPT 22B, though llama38b may be Llama-3 8B.
            model = self.models[found]
            names = (model.name, *model.aliases)
            known = [*names, *(spelled.rpartition("/")[2] for spelled in names)]
            if not any(name_key(spelled) == key and apart <= _digits_apart(spelled) for spelled in known):
                return None
        return found


def _digits_apart(name: str) -> set[int]:
    """Where a name puts digits apart that its key joins, by their position in the key."""
    pieces = _DIGITS_APART.split(name.lower())
    ends = [len(name_key("_".join(pieces[: count + 1]))) for count in range(len(pieces) - 1)]
    return set(ends)


@lru_cache(maxsize=4096)
def _suggested(catalog: Catalog, kind: str, key: str) -> tuple[str, ...]:
    """Remembered, for it is slow, and a file names the same unknown model in many rows."""
    if not key:
        return ()
    index = catalog._index[kind]
    close = difflib.get_close_matches(key, index, n=10, cutoff=0.6)
    inside = [known for known in index if key in known] if len(key) > 2 else []
    spoken = Counter(index.values())  # what goes by many names is what most people mean
    inside.sort(key=lambda known: (not name_key(index[known]).startswith(key), -spoken[index[known]]))
    return tuple(dict.fromkeys(index[known] for known in [*inside[:20], *close]))[:5]


def _index(names: Iterable[tuple[str, Iterable[str]]]) -> Mapping[str, str]:
    """Keys of names and aliases → canonical name. A name beats an alias; among aliases the first in the file wins."""
    listed = [(name, list(aliases)) for name, aliases in names]
    index = {name_key(name): name for name, _ in reversed(listed)}
    for name, aliases in listed:
        for alias in aliases:
            index.setdefault(name_key(alias), name)
    for name, aliases in listed:
        for alias in aliases:
            # openai/whisper-medium.en is whisper-medium.en too; the 2 of DiT-XL/2 is nothing by itself.
            if (bare := name_key(alias.rpartition("/")[2])) and len(bare) >= _SHORTEST_BARE and not bare.isdigit():
                index.setdefault(bare, name)
    index.pop("", None)
    return MappingProxyType(index)


def _machines(prices: Iterable[Price]) -> Mapping[str, float]:
    """Keys of the large clouds' instance names → accelerators each has."""
    priced = {price.instance: price.accelerators for price in prices if price.provider in _CLOUDS}
    named = {name: count for name, count in {**priced, **_MACHINES}.items() if not name.startswith("TPU")}
    return MappingProxyType({name_key(name): count for name, count in named.items()})


def _latest(history: Iterable[Grid]) -> dict[str, Grid]:
    """Per region its latest year; a row without a year is a current figure of its publisher and wins."""
    latest: dict[str, Grid] = {}
    for grid in history:
        known = latest.get(grid.region)
        if known is None or not known.year > grid.year:
            latest[grid.region] = grid
    return latest


def _grid_names(grids: Mapping[str, Grid], regions: Iterable[Region]) -> Iterable[tuple[str, list[str]]]:
    cloud: dict[str, list[str]] = {}
    for region in regions:
        cloud.setdefault(region.grid, []).extend([f"{region.provider}:{region.region}", region.region])
    for name, grid in grids.items():
        bare = name.partition(":")[2]
        yield name, [grid.region_name, *([bare] if bare else []), *cloud.get(name, [])]


@lru_cache
def load_catalog(directory: Path = DATA) -> Catalog:
    """The catalog that ships, read once a process. Raises ``ValueError`` naming file and line if a table is broken."""
    accelerators = {record.slug: record for record in read_records(Accelerator, directory / "accelerators.csv")}
    models = {record.name: record for record in read_records(CatalogModel, directory / "models.csv")}
    datasets = {record.name: record for record in read_records(Dataset, directory / "datasets.csv")}
    interconnects = {record.name: record for record in read_records(Interconnect, directory / "interconnects.csv")}
    history = tuple(read_records(Grid, directory / "carbon.csv"))
    grids = _latest(history)
    regions = tuple(read_records(Region, directory / "regions.csv"))
    prices = tuple(read_records(Price, directory / "prices.csv"))
    instances: dict[str, list[str]] = {}
    for price in prices:
        instances.setdefault(price.accelerator, []).append(price.instance)
    index = {
        "accelerators": _index(
            [
                *((record.slug, record.aliases) for record in accelerators.values()),
                *((slug, names) for slug, names in instances.items() if slug in accelerators),
            ]
        ),
        "models": _index((record.name, record.aliases) for record in models.values()),
        "datasets": _index((record.name, record.aliases) for record in datasets.values()),
        "interconnects": _index((name, ()) for name in interconnects),
        "grids": _index(_grid_names(grids, regions)),
    }
    return Catalog(
        accelerators=MappingProxyType(accelerators),
        models=MappingProxyType(models),
        launches=MappingProxyType(
            {record.model: record for record in read_records(Launches, directory / "launches.csv")}
        ),
        datasets=MappingProxyType(datasets),
        interconnects=MappingProxyType(interconnects),
        grids=MappingProxyType(grids),
        sources=MappingProxyType({record.source: record for record in read_records(Source, directory / "sources.csv")}),
        regions=regions,
        prices=prices,
        pue=tuple(read_records(Pue, directory / "pue.csv")),
        matmul_figures=tuple(read_records(MatmulFigure, directory / "achievable_matmul.csv")),
        facts=tuple(read_records(Fact, directory / "facts.csv")),
        grid_history=history,
        _index=MappingProxyType(index),
        _index_of_machines=_machines(prices),
    )
