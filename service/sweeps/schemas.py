"""What a sweep is asked with and answered with."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, GetJsonSchemaHandler, JsonValue, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from service.estimates.schemas import Estimate, EstimateRequest, Positive, Strict
from service.faults import ProblemDocument
from service.field_types import WHOLE

MOST_POINTS = 400
"""Points of one sweep: a grid of 20 by 20, or a curve finer than a screen shows."""

REQUIRED = frozenset({"model.name", "hardware.accelerator"})
"""Fields that a configuration may need, and that are varied as a whole."""

Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]


class Axis(Strict):
    """The values that a field takes: a list of them, or a range of numbers."""

    values: Annotated[list[JsonValue], Field(min_length=1, max_length=MOST_POINTS)] | None = Field(
        None, description="The values themselves; a bare list means the same.", examples=[["bf16", "fp8"]]
    )
    start: Finite | None = Field(None, description="First number of a range.", examples=[8])
    stop: Finite | None = Field(None, description="Last number of a range; it is not passed.", examples=[4096])
    num: Annotated[int, Field(ge=2, le=MOST_POINTS, strict=True), WHOLE] | None = Field(
        None, description="How many numbers, ends included.", examples=[10]
    )
    step: Positive | None = Field(
        None, description="Distance of neighbours on a linear scale, instead of `num`.", examples=[256]
    )
    scale: Literal["linear", "log2", "log"] = Field(
        "linear", description="Even distances, doublings (or `num` even ratios), or `num` even ratios."
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_list(cls, given: Any) -> Any:
        return {"values": given} if isinstance(given, list) else given

    @model_validator(mode="after")
    def _either_values_or_a_range(self) -> Self:
        if self.values is not None:
            if self.model_fields_set != {"values"}:
                raise PydanticCustomError("axis", "give values or a range, not both")
            return self
        if self.start is None or self.stop is None:
            raise PydanticCustomError("axis", "give a list of values, or start and stop of a range")
        if self.stop < self.start:
            raise PydanticCustomError("axis", "stop is less than start")
        if self.scale == "linear":
            if (self.num is None) == (self.step is None):
                raise PydanticCustomError("axis", "give num or step of a linear range")
        elif self.step is not None or self.start <= 0:
            raise PydanticCustomError("axis", "a logarithmic range starts above 0 and has no step: give num")
        elif self.scale == "log" and self.num is None:
            raise PydanticCustomError("axis", "give num of a logarithmic range")
        if self._count() > MOST_POINTS:
            raise PydanticCustomError("axis", "a sweep has at most {most} points", {"most": MOST_POINTS})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Says that a bare list will do."""
        described = handler.resolve_ref_schema(handler(core))
        bare = {"type": "array", "items": {}, "minItems": 1, "maxItems": MOST_POINTS}
        return {"title": cls.__name__, "description": cls.__doc__, "anyOf": [bare, described]}

    def listed(self, *, whole: bool) -> list[JsonValue]:
        """The values in order; numbers of a range are rounded if `whole`, and none comes twice."""
        if self.values is not None:
            return list(self.values)
        assert self.start is not None
        assert self.stop is not None
        count = self._count()
        if self.step is not None:
            numbers = [self.start + index * self.step for index in range(count)]
        elif self.num is None:
            numbers = [self.start * 2.0**index for index in range(count)]
        elif self.scale == "linear":
            numbers = [self.start + (self.stop - self.start) * index / (count - 1) for index in range(count)]
        else:
            numbers = [self.start * (self.stop / self.start) ** (index / (count - 1)) for index in range(count)]
        exact = [float(f"{number:.12g}") for number in numbers]
        return list(dict.fromkeys(float(round(number)) for number in exact)) if whole else list(exact)

    def _count(self) -> int:
        assert self.start is not None
        assert self.stop is not None
        if self.step is not None:
            return math.floor((self.stop - self.start) / self.step * (1 + 1e-9)) + 1
        return self.num or math.floor(math.log2(self.stop / self.start) * (1 + 1e-9)) + 1


class SweepRequest(EstimateRequest):
    """A configuration as for an estimate, and the fields of it that vary.

    A field that varies need not be stated besides, the model's name and the accelerator included.
    """

    vary: dict[str, Axis] = Field(
        min_length=1,
        max_length=2,
        description="Values by the field's path, e.g. `hardware.count`: one or two fields of the request. The first is "
        "the curves' x axis; each value of the second is a curve of its own.",
        examples=[{"hardware.count": {"start": 8, "stop": 1024, "scale": "log2"}}],
    )

    @model_validator(mode="before")
    @classmethod
    def _varied_fields(cls, given: Any) -> Any:
        """A field that a configuration must have, and that varies, is at first as its first point has it."""
        if not isinstance(given, dict) or not isinstance(given.get("vary"), dict):
            return given
        filled = dict(given)
        for path in REQUIRED & given["vary"].keys():
            axis, (section, _, field) = given["vary"][path], path.partition(".")
            listed, stated = axis.get("values") if isinstance(axis, dict) else axis, given.get(section, {})
            if isinstance(listed, list) and listed and isinstance(stated, dict):
                filled[section] = {field: listed[0], **stated}
        return filled


class SweepPoint(BaseModel):
    """One configuration of a sweep: its estimate, or why it has none."""

    values: dict[str, JsonValue] = Field(description="The varied fields' values here, by path.")
    estimate: Estimate | None = Field(description="The forecast; null where it cannot run.")
    problem: ProblemDocument | None = Field(description="Why there is none, with the fields at fault; null otherwise.")


class Band(BaseModel):
    """A quantity along a curve: medians and 80 % intervals, null where it is unknown."""

    p10: list[float | None] = Field(description="10th percentiles.", examples=[[1928.1, 1021.7]])
    p50: list[float | None] = Field(description="Medians.", examples=[[2810.8, 1489.4]])
    p90: list[float | None] = Field(description="90th percentiles.", examples=[[4106.1, 2171.2]])


class Curve(BaseModel):
    """Columns of equal length, ready to plot against `x`."""

    path: str = Field(description="The field along the x axis.", examples=["hardware.count"])
    fixed: dict[str, JsonValue] = Field(description="The other varied field's value on this curve, by path.")
    x: list[JsonValue] = Field(description="The values of `path`, in the order they were asked for.")
    fits: list[bool | None] = Field(description="Whether it is predicted to fit in memory.", examples=[[True, True]])
    duration_hours: Band = Field(description="Wall-clock hours of all runs.")
    cost_usd: Band = Field(description="Rent, USD.")
    energy_kwh: Band = Field(description="Energy, kWh.")
    carbon_kg_co2e: Band = Field(description="Emissions of that energy, kg CO2-equivalent.")
    samples_per_second: Band = Field(description="Samples per second, whole job.")
    tokens_per_second: Band = Field(description="Tokens per second, whole job.")
    mfu: Band = Field(description="Model FLOPs utilisation.")
    memory_peak_gb: Band = Field(description="Peak memory per accelerator, GB = 10^9 bytes.")
    speedup: Band = Field(
        description="How many times sooner the steps are done than at the curve's first point that can run. What both "
        "share of the uncertainty cancels. Interruptions are left out of it; `duration_hours` has them."
    )
    efficiency: Band = Field(description="Speed-up over the ratio of accelerators to that first point.")


class Sweep(BaseModel):
    """A configuration along one field, or over a grid of two."""

    points: list[SweepPoint] = Field(description="Every point, curve after curve.")
    curves: list[Curve] = Field(description="The same as columns, one curve for each value of the second field.")
