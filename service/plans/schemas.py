"""What a plan is asked with and answered with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue

from service.configuration import Data, Model, Software, Training
from service.estimates.schemas import (
    Assumption,
    GoodputAssumptions,
    Location,
    Memory,
    Positive,
    Pricing,
    Quantity,
    Runs,
    Strict,
)
from service.field_types import WHOLE, Count, Name, Plain

Objective = Literal["time", "cost", "energy"]

MOST_ACCELERATORS = 16
MOST_COUNTS = 64
MOST_PLANS = 200
MOST_FORECASTS = 400
"""Chips x numbers of them x layouts of each that one request may ask for: a few seconds of one core."""
LARGEST_JOB = 131_072
"""Accelerators of the largest job that is searched: more than any one run is known to have used."""


class PlanHardware(Strict):
    """What may be used."""

    accelerators: Annotated[list[Name], Field(min_length=1, max_length=MOST_ACCELERATORS)] = Field(
        description="Catalog slugs or aliases to choose among.", examples=[["A100-SXM4-80GB", "H100-SXM5-80GB"]]
    )
    max_count: Annotated[float, Field(ge=1, le=LARGEST_JOB, strict=True)] = Field(
        4096, description="Most accelerators: powers of two up to it are tried, and itself.", examples=[1024]
    )
    counts: Annotated[list[Count], Field(min_length=1, max_length=MOST_COUNTS)] | None = Field(
        None, description="These numbers of accelerators only; at most `max_count`.", examples=[[256, 512]]
    )
    per_node: Count | None = Field(None, description="Accelerators in one machine.", examples=[8])
    interconnect: Name | None = Field(
        None, description="How they are wired, free text.", examples=["NVLink; 8x ConnectX-7 IB NDR 400Gb/s"]
    )
    inter_node_gbs: Count | None = Field(
        None, description="Network between machines, GB/s per accelerator in one direction.", examples=[50]
    )

    def tried_counts(self) -> list[float]:
        """Numbers of accelerators to try, least first."""
        if self.counts is not None:
            return sorted({float(count) for count in self.counts if count <= self.max_count})
        powers = [float(2**exponent) for exponent in range(18) if 2**exponent <= self.max_count]
        return sorted({*powers, float(int(self.max_count))})


class PlanRequest(Strict):
    """What to train, what it may be trained on, and what it may take."""

    model: Model = Field(description="What is trained.")
    data: Data = Field(
        default=Data(), description="What it is trained on, with how much: tokens, samples or a known data set."
    )
    hardware: PlanHardware = Field(description="What may be used.")
    training: Training = Field(default=Training(), description="How; what is given is fixed, the rest is searched.")
    software: Software = Field(default=Software(), description="What runs it.")
    deadline_hours: Positive | None = Field(
        None, description="Longest wall-clock of all runs, hours; medians are held to it.", examples=[720]
    )
    budget_usd: Positive | None = Field(None, description="Most rent, USD; medians are held to it.", examples=[2e6])
    objective: Objective = Field("time", description="What plans are ranked by.")
    layouts: Annotated[int, Field(ge=1, le=10, strict=True), WHOLE] = Field(
        1, description="Layouts of each number of each chip, at each precision, that are forecast.", examples=[3]
    )
    site: Plain | None = Field(None, max_length=200, description="Whose learned effects to use.", examples=["my-team"])
    pricing: Pricing = Field(default_factory=Pricing, description="Which price to use.")
    location: Location = Field(default_factory=Location, description="Where it runs, for energy and carbon.")
    goodput: GoodputAssumptions = Field(
        default_factory=GoodputAssumptions,
        description="Overrides of what is lost to failures, checkpoints and start-up.",
    )
    runs: Runs = Field(1, description="Repeats one after another: time, cost and energy multiply.", examples=[1])
    limit: Annotated[int, Field(ge=1, le=MOST_PLANS, strict=True), WHOLE] = Field(
        20, description="Most plans in the answer; those on the Pareto frontier come first.", examples=[10]
    )

    def forecasts(self) -> int:
        """Forecasts that the answer takes, at each precision."""
        return len(self.hardware.accelerators) * len(self.hardware.tried_counts()) * self.layouts


class Plan(BaseModel):
    """One way to do it. `hardware` and `training` are as `POST /v1/estimates` takes them, which answers the same."""

    hardware: dict[str, JsonValue] = Field(
        description="Fields of the hardware.", examples=[{"accelerator": "H100-SXM5-80GB", "count": 256}]
    )
    training: dict[str, JsonValue] = Field(
        description="Fields of the training: what was given, and the layout.",
        examples=[{"precision": "bf16", "tensor_parallel": 8, "pipeline_parallel": 4, "recompute": "none"}],
    )
    duration_hours: Quantity = Field(description="Wall-clock hours of all runs, goodput included.")
    accelerator_hours: Quantity = Field(description="Duration x accelerators.")
    cost_usd: Quantity | None = Field(description="Rent, USD; null if no price is known.")
    energy_kwh: Quantity | None = Field(description="Energy at the facility's meter; null if no power is known.")
    carbon_kg_co2e: Quantity | None = Field(description="Emissions of that energy, kg CO2-equivalent.")
    memory: Memory = Field(description="Peak memory of one accelerator.")
    mfu: Quantity | None = Field(description="Model FLOPs utilisation.")
    fits_probability: float = Field(description="Probability that it fits in memory, 0 to 1.", examples=[0.87])
    meets_deadline_probability: float | None = Field(
        description="Probability that it ends within `deadline_hours`; null where there is none.", examples=[0.987]
    )
    meets_budget_probability: float | None = Field(
        description="Probability that it costs no more than `budget_usd`; null where there is none.", examples=[0.909]
    )
    grade: Literal["measured", "interpolated", "extrapolated"] = Field(
        description="How near the measurements are to it."
    )
    pareto: bool = Field(description="Whether no other plan is better in one of time, cost, energy and no worse else.")


class NearestFeasible(BaseModel):
    """The least change of the request under which there is a plan."""

    change: dict[str, JsonValue] = Field(
        description="Fields of the request to set, by JSON path; null means: leave the field out.",
        examples=[{"hardware.max_count": 512}],
    )
    reason: str = Field(description="Why, in words.", examples=["the least number of H100-SXM5-80GB that holds it"])
    plan: Plan = Field(description="What is possible then.")


class PlanAnswer(BaseModel):
    """Plans, best first, and what became of everything else that was considered."""

    plans: list[Plan] = Field(description="Ranked by the objective's median.")
    considered: int = Field(description="Configurations that were considered.", examples=[723240])
    rejected: dict[str, int] = Field(
        description="Configurations that are no plan, by reason; they and the plans are all that were considered.",
        examples=[{"accelerators_do_not_divide": 41200, "does_not_fit_in_memory": 9120, "past_deadline": 3}],
    )
    nearest_feasible: list[NearestFeasible] = Field(
        description="Where there is no plan: the least that would work; empty where nothing that was tried does."
    )
    calibration: str = Field(description="Version of the calibration that answered.", examples=["ea19f40dc149"])
    assumptions: list[Assumption] = Field(description="What was left out and is assumed, of all plans together.")
    warnings: list[str] = Field(
        description="What makes the answer doubtful, and what would help.",
        examples=[["Some plans compute in fp8, taken to train as well; give training.precision to fix it."]],
    )
