"""The model and data of a configuration: what is given wins, then the catalog, then derivation, then assumption."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from service.catalog.catalog import Catalog, CatalogModel
from service.catalog.contradictions import beyond_positions, contradictions
from service.catalog.huggingface import assumed_from_class, read_huggingface_config
from service.catalog.records import MODEL_FIELDS
from service.catalog.resolution import (
    MOST_PARTS,
    Assumption,
    Flat,
    Items,
    Part,
    Values,
    number,
    stated_number,
    to_number,
)
from service.catalog.resolve_sample import resolve_sample, usual_pictures
from service.engine.layout import Flaw
from service.engine.operations import COUNTED_BY_PARAMETERS, TRANSFORMER_FAMILIES
from service.engine.table import NUMBERS

SHAPE_FIELDS = tuple(name for name in MODEL_FIELDS if name in NUMBERS and name not in ("sequence_length", "image_size"))


_SINGLE_LAYER = re.compile(r"\blayer\b", re.IGNORECASE)  # kernel benchmarks measure one layer, not a model


_SIZE_IN_NAME = re.compile(
    r"(?<![\w.])(?:(?P<experts>\d+)x)?(?P<size>\d+(?:\.\d+)?)\s*(?P<unit>[bm])(?![\w])", re.IGNORECASE
)


_BILLIONS_IN_NAME = re.compile(r"(?<![\w.])(?:\d+x)?\d+(?:\.\d+)?\s*b(?![\w])", re.IGNORECASE)
_ACTIVE_IN_NAME = re.compile(r"(?<![a-z0-9])a(?P<size>\d+(?:\.\d+)?)b(?![a-z0-9])", re.IGNORECASE)


_PROPORTIONAL = {"windowed_layers", "attention_layers"}


FEWEST_PARAMETERS = 1e4  # judgement: smaller counts are billions or millions that lost their unit


# What says that another size of the named model is meant, or gives its work.
SHAPED_BY = ("layers", "hidden_size", "experts", "forward_gmacs", "huggingface_config")
OTHER_SIZE = 2.0  # judgement: times the catalog's count, beyond what heads, towers and rounding make of a model


@dataclass(frozen=True, slots=True)
class ReadConfig:
    """A pasted config.json as far as it is understood; equal for files that say the same of the shape."""

    shape: Items = ()
    kind: str = ""
    assumed: tuple[tuple[str, float], ...] = ()  # what its class says where the file is silent
    flaw: str = ""

    @classmethod
    def of(cls, config: Mapping[str, object]) -> ReadConfig:
        """Reads a config.json; what cannot be read has a flaw."""
        try:
            read = read_huggingface_config(dict(config))
        except ValueError as error:
            return cls(flaw=str(error))
        kind, assumed = assumed_from_class(dict(config)) if read else ("", {})
        return cls(tuple(read.items()), kind, tuple(assumed.items()))


@lru_cache(MOST_PARTS)
def resolve_work(catalog: Catalog, stated: Items, measured: bool) -> Part:
    """The model, and the size of the samples it is trained on.

    Args:
        catalog: the reference tables.
        stated: the fields of `model` (a pasted config.json as `ReadConfig`), of `data` those that say what a sample is,
            and `training.mode`.
        measured: whether it was run as it is.
    """
    flat = dict(stated)
    assumptions: list[Assumption] = []
    flaws: list[Flaw] = []
    if not measured:
        flat |= usual_pictures(flat, catalog, assumptions)
    values, entry = _resolve_model(flat, catalog, assumptions, flaws, measured=measured)
    resolve_sample(flat, values, entry, assumptions)
    if measured:
        return Part(stated, values, assumptions, flaws=flaws)
    flaws += contradictions(flat, values)
    doubts = beyond_positions(flat, values, entry.max_sequence_length if entry else 0.0)
    return Part(stated, values, assumptions, [*_size_doubts(flat, catalog, values, entry), *doubts], flaws)


def _resolve_model(
    flat: Flat, catalog: Catalog, assumptions: list[Assumption], errors: list[Flaw], *, measured: bool
) -> tuple[Values, CatalogModel | None]:
    given: Values = {}
    for name in SHAPE_FIELDS:
        value = flat.get(f"model.{name}")
        if value is not None:
            given[name] = to_number(value)
    config = flat.get("model.huggingface_config")
    family = str(flat.get("model.family") or "")
    if isinstance(config, ReadConfig):
        if config.flaw:
            errors.append(Flaw("model.huggingface_config", config.flaw, "paste the config.json as published"))
        if config.assumed:
            why = f"not stated: defaults of transformers' {config.kind} class"
            assumptions.append(Assumption("model.huggingface_config", dict(config.assumed), why))
        read = dict(config.shape)
        family = family or str(read.get("family") or "")
        for name in SHAPE_FIELDS:
            if read.get(name) is not None:
                given.setdefault(name, to_number(read[name]))
    name = str(flat.get("model.name") or "")
    entry = catalog.model(name) if name else None
    values: Values = dict(given)
    if entry is not None:
        _fill_from_catalog(values, given, entry, flat)
        family = entry.family if family in ("", "other") else family
        if entry.name in catalog.launches and "layers" not in given:
            values["kernels"] = catalog.launches[entry.name].kernels
    elif not family and _BILLIONS_IN_NAME.search(name) and (kin := catalog.language_family(name)):
        family = "moe" if kin == "moe" or _ACTIVE_IN_NAME.search(name) else kin
        assumptions.append(
            Assumption("model.family", family, "a size in billions in its name, and models of that name are")
        )
    tokens, sized = stated_number(flat, "data.tokens") > 0, number(values, "parameters") > 0
    spoken = (sized and stated_number(flat, "data.sequence_length") > 0) or (tokens and (sized or not measured))
    if not family and "forward_gmacs" not in values and spoken:
        family = "decoder"
        given_both = "parameters and tokens were given" if sized else "tokens were given"
        assumptions.append(Assumption("model.family", family, f"{given_both}, but no family"))
    values["family"] = family or (
        "moe" if number(values, "experts") > 1 else "decoder" if "hidden_size" in values else "other"
    )
    values["model"] = entry.name if entry else fold(name)
    if number(values, "experts") > 1 and values["family"] in ("decoder", "other"):
        values["family"] = "moe"
    if "layers" not in values and _SINGLE_LAYER.search(name):
        values["layers"] = 1.0
    if not any(number(values, key) > 0 for key in ("parameters", "forward_gmacs", "hidden_size", "layers")):
        _size_by_name(name, values, assumptions)
    known = any(number(values, key) > 0 for key in ("parameters", "forward_gmacs", "hidden_size"))
    if values["family"] in TRANSFORMER_FAMILIES:
        _derive_gating(values, assumptions)
        _derive_shape(values, assumptions)
    if not name and not known:
        errors.append(
            Flaw(
                "model",
                "nothing says how much work the model is",
                "give model.name, model.parameters, a shape, model.forward_gmacs, or model.huggingface_config",
            )
        )
    elif entry is None and name and not known:
        # Nobody reads what a measured run might have meant, and looking for it is slow.
        near = [] if measured else catalog.suggest("models", name)
        assumptions.append(
            Assumption(
                "model",
                name,
                "not in the catalog, no size given: measured siblings, or a typical model of its family, stand in"
                + (f"; did you mean {', '.join(near[:3])}?" if near else ""),
            )
        )
    return values, entry


def _size_by_name(name: str, values: Values, assumptions: list[Assumption]) -> None:
    """Parameters of a model that carries its size in its name: `13b`, `350m`, or `8x7b` for eight experts."""
    found = _SIZE_IN_NAME.search(name)
    if found is None or values["family"] not in TRANSFORMER_FAMILIES:
        return
    size = float(found["size"]) * (1e9 if found["unit"].lower() == "b" else 1e6)
    if found["experts"]:
        values["experts"], values["family"] = float(found["experts"]), "moe"
        values.setdefault("experts_per_token", 2.0)
        size *= float(found["experts"])
    values["parameters"] = size
    assumptions.append(Assumption("model.parameters", size, "the size in the model's name"))
    if values["family"] == "moe" and (active := _ACTIVE_IN_NAME.search(name)):
        values["active_parameters"] = float(active["size"]) * 1e9


def _fill_from_catalog(values: Values, given: Values, entry: CatalogModel, flat: Flat) -> None:
    """What the name implies, except where given fields show that this is another size of the model."""
    stated = {key: to_number(value) for key, value in entry.stated().items() if key in SHAPE_FIELDS}
    differs = any(
        key in given and key in stated and not math.isclose(float(given[key]), float(stated[key]), rel_tol=0.02)
        for key in ("layers", "hidden_size", "experts")
    )
    # Heads, class counts and auxiliary towers hold much of a convolutional net's parameters and hardly any of its work.
    least, most = (0.85, 1.18) if entry.family in TRANSFORMER_FAMILIES else (0.25, 4.0)
    resized = (
        "parameters" in given
        and "parameters" in stated
        and not least < float(given["parameters"]) / float(stated["parameters"]) < most
    )
    for key, value in stated.items():
        if key in values:
            continue
        if (differs or resized) and key in (
            "parameters",
            "active_parameters",
            "forward_gmacs",
            "activations",
            "layers",
            "dense_layers",
        ):
            continue
        if resized and "hidden_size" not in given and key not in ("gated_mlp", "tied_embeddings", "vocab_size"):
            continue
        values[key] = value
    if "layers" in given and "layers" in stated:
        for key in _PROPORTIONAL & stated.keys() - given.keys():  # another size keeps the proportion
            values[key] = float(stated[key]) * float(given["layers"]) / float(stated["layers"])
    # Cost per sample grows with its area (images) or length (sequences).
    if "forward_gmacs" not in given and "forward_gmacs" in values:
        scale = 1.0
        image, length = stated_number(flat, "data.image_size"), stated_number(flat, "data.sequence_length")
        if image > 0 and entry.image_size > 0:
            scale = (image / entry.image_size) ** 2
        elif length > 0 and entry.sequence_length > 0 and entry.family not in TRANSFORMER_FAMILIES:
            scale = length / entry.sequence_length
        values["forward_gmacs"] = float(values["forward_gmacs"]) * scale
        if "activations" in values:
            values["activations"] = float(values["activations"]) * scale


COUNT_TOLERANCE = 0.02  # parameters that leave out biases and norms agree with the stated count within it


def _derive_gating(values: Values, assumptions: list[Assumption]) -> None:
    """Whether feed-forward blocks are gated, where only one reading of the shape gives the stated parameters.

    A gated block has three matrices, another two: with a stated width, the count of a dense model tells which, unless
    tying the embeddings explains as much.
    """
    needed = ("parameters", "layers", "hidden_size", "intermediate_size", "vocab_size")
    if values["family"] not in ("decoder", "encoder") or "gated_mlp" in values:
        return
    if not all(number(values, name) > 0 for name in needed):
        return
    hidden, heads = float(values["hidden_size"]), number(values, "attention_heads", 1.0)
    query = number(values, "head_dim", hidden / heads) * heads
    attention = 2.0 * hidden * query * (1.0 + number(values, "kv_heads", heads) / heads)
    matrix = hidden * float(values["intermediate_size"])
    embedding = float(values["vocab_size"]) * hidden
    tables = (2.0 - number(values, "tied_embeddings"),) if "tied_embeddings" in values else (1.0, 2.0)

    def explains(matrices: float) -> bool:
        layers = float(values["layers"]) * (attention + matrices * matrix)
        counts = [layers + count * embedding for count in tables]
        return any(math.isclose(count, float(values["parameters"]), rel_tol=COUNT_TOLERANCE) for count in counts)

    if explains(3.0) != explains(2.0):
        values["gated_mlp"] = float(explains(3.0))
        if explains(3.0):
            assumptions.append(Assumption("model.gated_mlp", True, "only a gated block explains the parameters"))


def _derive_shape(values: Values, assumptions: list[Assumption]) -> None:
    """Layers and hidden size of a Transformer known by its parameter count only.

    Dense models have about 12 L h^2 parameters (Kaplan et al. 2020, arXiv 2001.08361, section 2.1) and about 128
    hidden units a layer (GPT-3 to Llama: 85 to 128).
    """
    if "hidden_size" not in values and number(values, "parameters") > 0:
        parameters = number(values, "parameters")
        experts = number(values, "experts")
        active = number(values, "active_parameters")
        dense = active if active > 0 else parameters / max(experts / 4.0, 1.0) if experts > 1 else parameters
        if "layers" in values:
            layers = float(values["layers"])
            hidden = math.sqrt(dense / (12.0 * layers))
        else:
            hidden = (dense * 100.0 / 12.0) ** (1.0 / 3.0)
            layers = max(round(dense / (12.0 * hidden**2)), 1.0)
        hidden = max(64.0, 64.0 * round(hidden / 64.0))
        values["hidden_size"], values["layers"] = hidden, layers
        assumptions.append(
            Assumption("model.hidden_size", hidden, f"derived from {parameters:g} parameters with {layers:g} layers")
        )
    if "layers" not in values:
        towers = number(values, "encoder_layers", 0.0) + number(values, "decoder_layers", 0.0)
        if towers > 0:
            values["layers"] = towers
        elif number(values, "parameters") > 0 and number(values, "hidden_size") > 0:
            values["layers"] = max(
                round(number(values, "parameters") / (12.0 * number(values, "hidden_size") ** 2)), 1.0
            )
    if values["family"] == "encoder_decoder" and "decoder_layers" not in values and "layers" in values:
        values["encoder_layers"] = values["decoder_layers"] = float(values["layers"]) / 2.0
    if "vocab_size" not in values:
        values["vocab_size"] = 30522.0 if values["family"] == "encoder" else 50257.0


def _size_doubts(flat: Flat, catalog: Catalog, values: Values, entry: CatalogModel | None) -> list[str]:
    """What makes an answer hollow, though it can be given: a model of a doubtful size, or of none."""
    found: list[str] = []
    parameters = stated_number(flat, "model.parameters")
    if 0 < parameters < FEWEST_PARAMETERS:
        found.append(
            f"model.parameters is {parameters:g}: plain counts are expected, not billions or millions; "
            f"{parameters:g} billion is {parameters * 1e9:g}"
        )
    other = entry is not None and _is_other(flat, parameters, entry)
    if entry is not None and other:
        known = number(values, "forward_gmacs") > 0
        taken = f"the work of {entry.name} stands all the same" if known else "another of its kind is reckoned with"
        found.append(
            f"model.parameters is {parameters:.4g}, but {entry.name} has {entry.parameters:.4g} in the catalog: "
            f"{taken}; leave model.parameters out for {entry.name}, or give another model.name"
        )
    sizes = ["forward_gmacs"]
    if values["family"] in COUNTED_BY_PARAMETERS and number(values, "sequence_length") > 0:
        sizes.append("parameters")
    if values["family"] in TRANSFORMER_FAMILIES:
        sizes.append("hidden_size")
    if not any(number(values, key) > 0 for key in sizes):
        name = flat.get("model.name")
        what = "has no known size" if entry is not None else "is not in the catalog and no size is given"
        what = f"of {parameters:.4g} parameters does no known work" if other else what
        which = f"model {str(name)!r} {what}" if name else "what is given of the model does not say how much work it is"
        near = catalog.suggest("models", str(name)) if name and entry is None else []
        meant = f"did you mean {', '.join(near[:3])}? Else give" if near else "give"
        found.append(
            f"{which}: the work of a typical model of its family stands in; {meant} "
            "model.forward_gmacs, or of sequences model.parameters, of Transformers a shape or model.huggingface_config"
        )
    return found


def _is_other(flat: Flat, parameters: float, entry: CatalogModel) -> bool:
    """Whether the stated count is that of another model than the one named, and nothing else says that one is meant."""
    if not (parameters >= FEWEST_PARAMETERS and entry.parameters > 0):
        return False
    shaped = any(flat.get(f"model.{name}") is not None for name in SHAPED_BY)
    return not shaped and not 1.0 / OTHER_SIZE <= parameters / entry.parameters <= OTHER_SIZE


def fold(name: str) -> str:
    return " ".join(name.lower().replace("_", "-").split())
