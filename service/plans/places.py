"""What a plan chooses among: chips, precisions and numbers of them, each a run that lacks only its layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.catalog.catalog import Catalog
from service.catalog.normalise import normalise
from service.catalog.resolution import Assumption, Resolved, Unresolvable, Values, to_number
from service.catalog.resolve import resolve_open
from service.catalog.resolve_layout import assume_batch, stated_layout
from service.configuration import CONFIGURATION_FIELDS, Hardware, Training
from service.engine.operations import TRANSFORMER_FAMILIES
from service.estimates.schemas import EstimateRequest
from service.plans.schemas import PlanRequest
from service.problems import FieldError

Flat = dict[str, object]

# fp8 is tried where the chip has it, beside what is usual: what half the FLOP time is worth is the caller's to judge.
# Of adapters it would quantise frozen weights, which is another method.
FP8_MODES = ("pretrain", "finetune")


@dataclass(frozen=True, eq=False)
class Place:
    """So many of a chip at a precision, and the run there."""

    flat: Flat
    resolved: Resolved
    stated: frozenset[str]  # engine names of the layout's fields that are fixed

    @property
    def values(self) -> Values:
        """Engine values, without those of the layout that are open."""
        return self.resolved.values

    @property
    def accelerator(self) -> str:
        return str(self.values["accelerator"])

    def assumed(self, field: str) -> Assumption | None:
        """What was assumed of a field, if it was."""
        return next((made for made in self.resolved.assumptions if made.field == field), None)

    @property
    def count(self) -> float:
        return float(self.values["count"])


@dataclass(eq=False)
class Places:
    """Places where the run can be asked for, and what is wrong with the others."""

    found: list[Place] = field(default_factory=list)
    refused: list[tuple[FieldError, ...]] = field(default_factory=list)


def unknown_chips(request: PlanRequest, catalog: Catalog) -> list[FieldError]:
    """What is wrong with the accelerators' names."""
    errors = []
    for index, name in enumerate(request.hardware.accelerators):
        if catalog.accelerator(name) is not None:
            continue
        near = catalog.suggest("accelerators", name)
        hint = f"did you mean {', '.join(near)}?" if near else "see GET /v1/accelerators for the catalog"
        errors.append(
            FieldError(field=f"hardware.accelerators[{index}]", message=f"unknown accelerator {name!r}", hint=hint)
        )
    return errors


def places(request: PlanRequest, counts: Sequence[float], catalog: Catalog) -> Places:
    """Every chip, in each of these numbers, at each precision that is open, without what cannot be."""
    made = Places()
    for name in dict.fromkeys(request.hardware.accelerators):
        for count in counts:
            flat, batch = _flat(request, name, count), None
            if made.found and _is_pretraining(made.found[0]) and "global_batch" in made.found[0].stated:
                # The same training everywhere: a batch that grew with the job would flatter large ones.
                batch = made.found[0].assumed("training.global_batch")
            try:
                made.found.extend(_precisions(flat, batch, catalog))
            except Unresolvable as error:
                made.refused.append(
                    tuple(FieldError(field=e.field, message=e.message, hint=e.hint) for e in error.errors)
                )
    return made


def estimate_request(request: PlanRequest, place: Place, layout: dict[str, float | str]) -> EstimateRequest:
    """The request for an estimate of a layout at a place: answered alone, it says what the plan says."""
    steps = float(layout["global_batch"]) / (float(layout["data_parallel"]) * float(layout["micro_batch"]))
    uneven = abs(steps - round(steps)) > 1e-9
    chosen = {
        name: value
        for name, value in {
            "precision": place.values["precision"],
            **layout,
        }.items()
        # A stated micro-batch has to divide the batch; left open, the same one is chosen again.
        if name not in place.stated - {"global_batch"} and not (name == "micro_batch" and uneven)
    }
    training = {**request.training.stated(), **chosen}
    hardware = {
        name.removeprefix("hardware."): value for name, value in place.flat.items() if name.startswith("hardware.")
    }
    return EstimateRequest(
        model=request.model,
        data=request.data,
        hardware=Hardware.model_validate(hardware),
        training=Training.model_validate(training),
        software=request.software,
        site=request.site,
        pricing=request.pricing,
        location=request.location,
        goodput=request.goodput,
        runs=request.runs,
    )


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields, whole numbers without their decimal point."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in fields.items()
    }


def _flat(request: PlanRequest, accelerator: str, count: float) -> Flat:
    sections = {"model": request.model, "data": request.data, "training": request.training}
    stated: Flat = {
        f"{section}.{name}": value
        for section, part in (sections | {"software": request.software}).items()
        for name, value in part.stated().items()
    }
    hardware = request.hardware
    wiring = {
        "per_node": hardware.per_node,
        "interconnect": hardware.interconnect,
        "inter_node_gbs": hardware.inter_node_gbs,
    }
    stated |= {f"hardware.{name}": value for name, value in wiring.items() if value is not None}
    stated |= plain({"hardware.accelerator": accelerator, "hardware.count": count})
    return normalise({name: stated[name] for name in CONFIGURATION_FIELDS if name in stated})


def _is_pretraining(place: Place) -> bool:
    return place.values["mode"] == "pretrain" and place.values["family"] in TRANSFORMER_FAMILIES


def _precisions(flat: Flat, batch: Assumption | None, catalog: Catalog) -> Iterator[Place]:
    usual = resolve_open(flat, catalog)
    yield _place(flat, usual, batch)
    chip = catalog.accelerators[str(usual.values["accelerator"])]
    language = usual.values["family"] in TRANSFORMER_FAMILIES
    if "training.precision" not in flat and language and chip.fp8_tflops > 0 and usual.values["mode"] in FP8_MODES:
        eighth = flat | {"training.precision": "fp8"}
        yield _place(eighth, resolve_open(eighth, catalog), batch)


def _place(flat: Flat, resolved: Resolved, batch: Assumption | None) -> Place:
    if batch is None:
        return Place(flat, resolved, assume_batch(flat, resolved))
    resolved.values["global_batch"] = to_number(batch.value)
    resolved.assumptions.append(batch)
    return Place(flat, resolved, stated_layout(flat) | {"global_batch"})
