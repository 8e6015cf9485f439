"""What would make a configuration fit in memory: a few changes, tried through the engine as one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

from service.catalog.catalog import Catalog
from service.catalog.resolution import Resolved
from service.catalog.resolve import resolve_table
from service.engine.forecast import Forecaster
from service.estimates.schemas import Remedy

Change = Mapping[str, JsonValue]
Flat = Mapping[str, object]

LIMIT = 5
# Chips people can rent, by memory; one with no more memory than the present chip is not tried.
LARGER_CHIPS = ("A100-SXM4-80GB", "H200-SXM-141GB", "B300-SXM-270GB")
GROWTH = tuple(2**exponent for exponent in range(1, 13))
COUNTED_DEGREES = (
    "training.tensor_parallel",
    "training.pipeline_parallel",
    "training.context_parallel",
    "training.expert_parallel",
    "training.virtual_pipeline",
    "training.data_parallel",
    "training.micro_batch",
    "training.gradient_accumulation",
)
LAYOUT = (*COUNTED_DEGREES, "training.sharding", "training.recompute")


def find_remedies(flats: Sequence[Flat], catalog: Catalog, forecaster: Forecaster) -> list[list[Remedy]]:
    """For each configuration that does not fit, up to five changes that would, the smallest change first.

    A change to None means: leave the field out, so that it is chosen to fit.
    """
    if not flats:
        return []
    changes = [(index, change) for index, flat in enumerate(flats) for change in _changes(flat, catalog)]
    tried = [_changed(flats[index], change) for index, change in changes]
    table, answers = resolve_table(tried, catalog, judge=forecaster.layout_judge)
    found: list[list[Remedy]] = [[] for _ in flats]
    if not len(table):
        return found
    forecast = forecaster.predict(table)
    resolved = (change for change, answer in zip(changes, answers, strict=True) if isinstance(answer, Resolved))
    for row, (index, change) in enumerate(resolved):
        if forecast.fits[row] and len(found[index]) < LIMIT and _says_more(change, found[index]):
            found[index].append(
                Remedy(
                    change=dict(change),
                    peak_gb=float(f"{forecast.memory_gb.p50[row]:.4g}"),
                    samples_per_second=float(f"{forecast.samples_per_second.p50[row]:.4g}"),
                )
            )
    return found


def _says_more(change: Change, found: Sequence[Remedy]) -> bool:
    """Whether a change is no more of one that suffices already: the same and others besides, or still more chips."""
    return not any(
        way.change.items() <= change.items() or ("hardware.count" in change and "hardware.count" in way.change)
        for way in found
    )


def _changes(flat: Flat, catalog: Catalog) -> Iterator[Change]:
    """Changes worth trying, from the one that costs least to the one that asks for other hardware."""
    stated = [name for name in LAYOUT if name in flat]
    yield from ({name: None} for name in stated)
    smallest: Change = {"training.micro_batch": 1}
    if {"training.global_batch", "training.gradient_accumulation"} <= flat.keys():
        # Of the same batch there are more then.
        smallest = {**smallest, "training.gradient_accumulation": None}
    savings: list[Change] = [
        {"training.recompute": "full"},
        smallest,
        {"training.sharding": "zero1"},
        {"training.sharding": "zero3"},
    ]
    yield from savings
    together: Change = {"training.sharding": "zero3", "training.recompute": "full", **smallest}
    yield together
    if stated:
        yield dict.fromkeys(stated)
    yield {"training.offload": "cpu"}
    yield {**together, "training.offload": "cpu"}
    mode = flat.get("training.mode")
    if mode in (None, "finetune", "lora"):
        yield from ({"training.mode": other} for other in ("lora", "qlora") if other != mode)
    count = float(str(flat.get("hardware.count") or 1))
    # Degrees that were stated for the present count rarely divide another.
    released: Change = {name: None for name in COUNTED_DEGREES if name in flat}
    counts = (count * growth for growth in GROWTH)
    yield from ({"hardware.count": int(many) if many.is_integer() else many, **released} for many in counts)
    chip = catalog.accelerator(str(flat.get("hardware.accelerator")))
    memory = chip.memory_gb if chip else 0.0
    larger = [slug for slug in LARGER_CHIPS if slug in catalog.accelerators]
    yield from ({"hardware.accelerator": slug} for slug in larger if catalog.accelerators[slug].memory_gb > memory)


def _changed(flat: Flat, change: Change) -> dict[str, object]:
    kept = {name: value for name, value in flat.items() if name not in change}
    return kept | {name: value for name, value in change.items() if value is not None}
