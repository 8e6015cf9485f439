"""From a sweep's request to the requests of its points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, JsonValue

from service.configuration import CONFIGURATION_FIELDS
from service.estimates.schemas import GoodputAssumptions, Location, Pricing
from service.problems import FieldError, Unprocessable
from service.suggestions import closest_field
from service.sweeps.schemas import MOST_POINTS, SweepRequest

SECTIONS: dict[str, type[BaseModel]] = {"pricing": Pricing, "location": Location, "goodput": GoodputAssumptions}
# `site` is left out: points of two sites share no uncertainty that could cancel in a speed-up.
FIELDS: tuple[str, ...] = (
    *CONFIGURATION_FIELDS,
    *(f"{name}.{field}" for name, section in SECTIONS.items() for field in section.model_fields),
    "runs",
    "target_loss",
    "scaling_law",
)
"""The paths that may vary."""

WHOLE = frozenset(
    {
        "runs", "hardware.count", "hardware.per_node", "data.sequence_length", "data.image_size",
        "model.layers", "model.encoder_layers", "model.decoder_layers", "model.hidden_size", "model.attention_heads",
        "model.kv_heads", "model.intermediate_size", "model.vocab_size", "model.experts", "model.experts_per_token",
        "training.global_batch", "training.micro_batch", "training.gradient_accumulation", "training.tensor_parallel",
        "training.pipeline_parallel", "training.data_parallel", "training.context_parallel",
        "training.expert_parallel", "training.virtual_pipeline",
    }
)  # fmt: skip
"""Paths whose ranges are of whole numbers."""


@dataclass(frozen=True)
class Point:
    """One point: the varied fields' values, and the request that asks for it, as JSON has it."""

    values: dict[str, JsonValue]
    request: dict[str, Any]


def expand(asked: SweepRequest) -> list[list[Point]]:
    """The points of a sweep, curve by curve.

    Raises:
        Unprocessable: a path is unknown, or there are too many points.
    """
    unknown = [_unknown(path) for path in asked.vary if path not in FIELDS]
    if unknown:
        raise Unprocessable(f"{unknown[0].field}: {unknown[0].message}", unknown)
    first, *rest = [(path, axis.listed(whole=path in WHOLE)) for path, axis in asked.vary.items()]
    second = [{rest[0][0]: value} for value in rest[0][1]] if rest else [{}]
    count = len(first[1]) * len(second)
    if count > MOST_POINTS:
        raise Unprocessable(
            f"A sweep has at most {MOST_POINTS} points, here {count}.",
            [FieldError(field="vary", message=f"{count} points", hint="take fewer values, or ask in several sweeps")],
        )
    base = asked.model_dump(mode="json", exclude={"vary", "save"}, exclude_unset=True)
    return [[_point(base, {first[0]: value, **other}) for value in first[1]] for other in second]


def _point(base: Mapping[str, Any], values: dict[str, JsonValue]) -> Point:
    request = dict(base)
    for path, value in values.items():
        section, dot, field = path.partition(".")
        request[section] = {**request.get(section, {}), field: value} if dot else value
    return Point(values, request)


def _unknown(path: str) -> FieldError:
    meant = closest_field(path, FIELDS)
    hint = f"did you mean {meant!r}?" if meant in FIELDS else "vary a field of the request by its dotted path"
    return FieldError(field=f"vary.{path}", message=f"there is no field {path!r} that could vary", hint=hint)
