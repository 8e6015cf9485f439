"""What an estimate is asked with and answered with."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StrictBool
from pydantic_core import PydanticCustomError

from service.configuration import Configuration, flatten
from service.field_types import WHOLE, Plain

# Strict as the numbers of a configuration are: `true` and `"12"` are none.
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Fraction = Annotated[float, Field(gt=0, le=1, strict=True)]
Share = Annotated[float, Field(ge=0, lt=1, strict=True)]
Runs = Annotated[int, Field(ge=1, le=100_000, strict=True), WHOLE]


class Strict(BaseModel):
    """An object of a request: an unknown field is an error, for a typo must not silently change a prediction."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Quantity(BaseModel):
    """A predicted quantity: its median and a calibrated 80 % interval, in the unit that the field's name says."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"p10": 8.1, "p50": 9.4, "p90": 11.2}]})

    p10: float = Field(description="10th percentile: one time in ten it is less.", examples=[8.1])
    p50: float = Field(description="Median.", examples=[9.4])
    p90: float = Field(description="90th percentile: one time in ten it is more.", examples=[11.2])


Kind = Literal["on_demand", "spot", "reserved"]


def _written(value: object) -> object:
    if isinstance(value, int | float):
        raise PydanticCustomError("date_type", "a date is text, not a number")
    return value


class Pricing(Strict):
    """Which price an accelerator-hour has: the caller's own, or the catalog's by provider, region, kind and date."""

    provider: Plain | None = Field(None, description="Provider in `/v1/prices`.", examples=["aws", "gcp"])
    region: Plain | None = Field(None, description="The provider's region.", examples=["us-east-1"])
    kind: Kind = Field("on_demand", description="How it is rented.")
    date: Annotated[datetime.date, BeforeValidator(_written)] | None = Field(
        None, description="Prices as they were on this day; the newest if not given.", examples=["2026-08-01"]
    )
    usd_per_accelerator_hour: NotNegative | None = Field(
        None, description="The caller's own price in USD per accelerator and hour; it wins.", examples=[2.1]
    )


class Location(Strict):
    """Where the machines stand, for energy and carbon."""

    region: Plain | None = Field(
        None,
        description="Grid in `/v1/grids`: a country, a state, a grid zone, or a cloud region.",
        examples=["SWE", "aws:us-east-1", "gcp:us-west1"],
    )
    gco2e_per_kwh: NotNegative | None = Field(
        None, description="The caller's own grid intensity, grams of CO2-equivalent per kWh; it wins.", examples=[41]
    )
    pue: Annotated[float, Field(ge=1, le=10, strict=True)] | None = Field(
        None, description="Power usage effectiveness: facility energy over machine energy.", examples=[1.1]
    )
    watts_per_accelerator: Positive | None = Field(
        None,
        description="Metered power of a node at load over its accelerators, W; in place of the published record.",
        examples=[850],
    )
    embodied_kg_co2e_per_accelerator: NotNegative | None = Field(
        None,
        description="What making one accelerator with its share of the host emitted, kg CO2-equivalent; in place of "
        "published assessments.",
        examples=[700],
    )


class GoodputAssumptions(Strict):
    """What the caller knows about interruptions, in place of the published record."""

    share: Fraction | None = Field(
        None, description="Productive over wall-clock time; fixes the whole ratio.", examples=[0.95]
    )
    failures_per_accelerator_hour: NotNegative | None = Field(
        None, description="Interruptions of the job per accelerator and hour.", examples=[2e-5]
    )
    recovery_seconds: NotNegative | None = Field(
        None, description="From a failure to training again, without work since the checkpoint.", examples=[600]
    )
    checkpoint_seconds: NotNegative | None = Field(
        None, description="Time that training stands still for one checkpoint.", examples=[10]
    )
    checkpoint_interval_hours: Positive | None = Field(
        None, description="Hours between checkpoints; the interval that loses least if not given.", examples=[1]
    )
    evaluation_share: Share | None = Field(
        None, description="Share of training time spent in evaluation.", examples=[0.01]
    )
    startup_seconds: NotNegative | None = Field(
        None, description="From launch to the first step, compilation and warm-up included.", examples=[300]
    )


# Of a request that says nothing of the kind, as most do: made once, for nobody can change them.
_ANY_PRICE, _ANYWHERE, _AS_PUBLISHED = Pricing(), Location(), GoodputAssumptions()


class EstimateRequest(Configuration):
    """A configuration, how much to train on, and what the answer should reckon with."""

    site: Plain | None = Field(
        None,
        max_length=200,
        description="Whose learned effects to use; a name that has none is predicted as a new site, with a warning.",
        examples=["my-team"],
    )
    pricing: Pricing = Field(default_factory=lambda: _ANY_PRICE, description="Which price to use.")
    location: Location = Field(default_factory=lambda: _ANYWHERE, description="Where it runs, for energy and carbon.")
    goodput: GoodputAssumptions = Field(
        default_factory=lambda: _AS_PUBLISHED,
        description="Overrides of what is lost to failures, checkpoints and start-up.",
    )
    runs: Runs = Field(
        1, description="Repeats one after another (folds, seeds, trials): time, cost and energy multiply.", examples=[5]
    )
    target_loss: Annotated[float, Field(gt=0, le=20, strict=True)] | None = Field(
        None,
        description="Loss to reach, nats a token, instead of an amount of data: tokens (and for a model that states "
        "its family alone, its size) follow from `scaling_law`. Dense decoders trained from scratch.",
        examples=[2.1],
    )
    scaling_law: Literal["besiroglu-2024", "hoffmann-2022"] = Field(
        "besiroglu-2024",
        description="Which published law relates loss, parameters and tokens: Hoffmann et al. 2022 (arXiv 2203.15556) "
        "or its re-fit by Besiroglu et al. 2024 (arXiv 2404.10102).",
    )
    save: StrictBool = Field(False, description="Keep the answer under an id (201, `GET /v1/estimates/{id}`).")

    def configuration(self) -> dict[str, object]:
        """The configuration alone, flat: dotted names and what was stated of them."""
        return flatten(self, OBJECTS)


OBJECTS = ("model", "data", "hardware", "training", "software")


class Throughput(BaseModel):
    """Speed of training."""

    samples_per_second: Quantity = Field(description="Samples per second, whole job.")
    tokens_per_second: Quantity | None = Field(
        description="Tokens per second, whole job; null where a sample is not a sequence of known length."
    )
    per_accelerator: Quantity = Field(description="Samples per second and accelerator.")


class Memory(BaseModel):
    """Peak memory of one accelerator."""

    peak_gb: Quantity = Field(description="Peak memory per accelerator, GB = 10^9 bytes.")
    parts: dict[str, float] = Field(
        description="Medians by part, GB.", examples=[{"parameters": 5.5, "optimizer": 22.1, "activations": 9.8}]
    )
    available_gb: float | None = Field(description="Memory of the accelerator, GB; null if unknown.", examples=[32])
    fits: bool = Field(description="Whether it is predicted to fit.")
    fits_probability: float = Field(description="Probability that it fits, 0 to 1.", examples=[0.884])


class GoodputBasis(BaseModel):
    """A figure that the hours of a run were reckoned with."""

    value: Quantity = Field(description="The figure, in the unit that the field's name says.")
    stated: bool = Field(description="Whether the request stated it (`goodput`), so that it is no assumption.")
    sources: list[str] = Field(
        description="Where it is published; empty where it was stated.", examples=[["arXiv:2407.21783"]]
    )


class GoodputAnswer(BaseModel):
    """Where the hours of one whole run go."""

    share: Quantity = Field(description="Productive over wall-clock hours.")
    hours: dict[str, float] = Field(
        description="Median hours by part (productive, evaluation, checkpoint, failure, startup); they sum to the "
        "median duration of one run.",
        examples=[{"productive": 700.0, "evaluation": 12.0, "checkpoint": 4.9, "failure": 7.0, "startup": 0.1}],
    )
    failures: float = Field(description="Expected interruptions of one run.", examples=[97.4])
    checkpoint_interval_hours: float = Field(description="Hours of training between checkpoints.", examples=[0.402])
    basis: dict[str, GoodputBasis] = Field(
        default_factory=dict,
        description="What they were reckoned with, by the field of the request's `goodput` that states it otherwise.",
    )


class EnergyAnswer(Quantity):
    """Energy in kWh, with its parts."""

    parts: dict[str, float] = Field(
        description="Medians by part (accelerators, hosts, network, facility), kWh; they sum to the median.",
        examples=[{"accelerators": 562.0, "hosts": 281.0, "network": 116.3, "facility": 95.9}],
    )


class Layout(BaseModel):
    """How the work is split and held, as given or as chosen."""

    model_config = ConfigDict(extra="allow")

    tensor_parallel: float | None = Field(None, description="Tensor-parallel degree.", examples=[8])
    pipeline_parallel: float | None = Field(None, description="Pipeline-parallel degree.", examples=[8])
    data_parallel: float | None = Field(None, description="Data-parallel degree.", examples=[16])
    context_parallel: float | None = Field(None, description="Context-parallel degree.", examples=[1])
    expert_parallel: float | None = Field(None, description="Expert-parallel degree.", examples=[1])
    virtual_pipeline: float | None = Field(None, description="Model chunks per pipeline stage.", examples=[1])
    sharding: str | None = Field(None, description="none, ddp, zero1, zero2, zero3, fsdp, hsdp.", examples=["zero1"])
    sharding_group: float | None = Field(
        None, description="Accelerators that one copy of the sharded states is spread over, where stated.", examples=[8]
    )
    recompute: str | None = Field(None, description="none, selective, full.", examples=["full"])
    recompute_share: float | None = Field(
        None, description="Share of the layers that are recomputed, where not all are.", examples=[0.5]
    )
    offload: str | None = Field(None, description="none, cpu, nvme.", examples=["none"])
    micro_batch: float | None = Field(None, description="Samples per accelerator and forward pass.", examples=[1])
    gradient_accumulation: float | None = Field(None, description="Micro-batches per optimizer step.", examples=[96])
    global_batch: float | None = Field(None, description="Samples per optimizer step, whole job.", examples=[1536])
    precision: str | None = Field(None, description="Precision of the matrix products.", examples=["fp16"])
    optimizer: str | None = Field(None, description="Optimizer.", examples=["adamw"])
    per_node: float | None = Field(None, description="Accelerators per node.", examples=[8])


class Assumption(BaseModel):
    """Something the caller left out and the answer depends on."""

    field: str = Field(description="JSON path.", examples=["training.micro_batch"])
    value: JsonValue = Field(description="What was taken.", examples=[2])
    reason: str = Field(description="Why.", examples=["largest power of two that fits in memory"])


class Neighbour(BaseModel):
    """A measurement near the configuration asked about."""

    id: str = Field(description="Its id in `/v1/measurements`.", examples=["m_4783a02c8f5fb9f5d5c255eb"])
    distance: float = Field(
        description="Distance in the engine's feature space; 0 is the same configuration.", examples=[0.945]
    )
    measured: float | None = Field(description="Measured samples per second, whole job.", examples=[38.9])
    predicted: float | None = Field(description="What the engine predicts for it, samples per second.", examples=[37])


class Evidence(BaseModel):
    """Why to believe it."""

    calibration: str = Field(description="Version of the calibration that answered.", examples=["ea19f40dc149"])
    site_version: str | None = Field(
        description="Version of the site's learned effects; null for a new site.", examples=["5c1f0a9b"]
    )
    grade: Literal["measured", "interpolated", "extrapolated"] = Field(
        description="How near the measurements are to what was asked."
    )
    nearest: list[Neighbour] = Field(description="The nearest measurements.")


class Remedy(BaseModel):
    """A change that would make a configuration fit in memory."""

    change: dict[str, JsonValue] = Field(
        description="Fields to set, by JSON path.", examples=[{"training.sharding": "zero3"}]
    )
    peak_gb: float = Field(description="Median peak memory per accelerator then, GB.", examples=[65.2])
    samples_per_second: float = Field(description="Median samples per second then, whole job.", examples=[1.06])


class Estimate(BaseModel):
    """A forecast of one training configuration."""

    id: str | None = Field(
        None, description="Id of a saved estimate; null if it was not saved.", examples=["e_9f86d081884c7d659a2feaa0"]
    )
    created_at: datetime.datetime | None = Field(
        None, description="When it was saved, UTC.", examples=["2026-08-01T12:00:00Z"]
    )
    throughput: Throughput = Field(description="Speed.")
    step_seconds: Quantity = Field(description="Seconds of one optimizer step.")
    duration_hours: Quantity | None = Field(
        description="Wall-clock hours of all runs, goodput included; null if the request says no amount of data."
    )
    accelerator_hours: Quantity | None = Field(description="Duration x accelerators.")
    mfu: Quantity | None = Field(
        description="Model FLOPs utilisation: model FLOP/s over the accelerators' dense peak at the precision used; "
        "null where the peak or the model's FLOPs are unknown."
    )
    breakdown: dict[str, float] = Field(
        description="Median seconds of a step by part; they sum to the median step.",
        examples=[{"compute": 20.1, "tensor_communication": 3.2, "bubble": 1.4, "optimizer": 0.2}],
    )
    memory: Memory = Field(description="Peak memory of one accelerator.")
    goodput: GoodputAnswer | None = Field(description="Where the hours of one run go; null without an amount of data.")
    cost_usd: Quantity | None = Field(description="Rent, USD; null if no amount of data or no price is known.")
    energy_kwh: EnergyAnswer | None = Field(
        description="Energy at the meter of the facility, kWh; null if no amount of data or no chip power is known."
    )
    carbon_kg_co2e: Quantity | None = Field(
        description="Emissions of that energy, kg CO2-equivalent (making the machines is not included)."
    )
    embodied_kg_co2e: Quantity | None = Field(
        None,
        description="The run's share of what making the machines emitted, kg CO2-equivalent, by the share of their "
        "lifetime that it takes; null if no amount of data.",
    )
    layout: Layout = Field(description="How the work is split, as given or chosen.")
    assumptions: list[Assumption] = Field(description="What was left out and is assumed.")
    warnings: list[str] = Field(
        description="What makes the answer doubtful, and what would help.",
        examples=[["training.global_batch: 8 samples leave each accelerator little to do"]],
    )
    remedies: list[Remedy] = Field(description="Where it does not fit: changes that would; best first.")
    evidence: Evidence = Field(description="Why to believe it.")


class SomeOfEstimate(BaseModel):
    """The members of an estimate that `fields` asks for, each as in an estimate."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"examples": [{"duration_hours": {"p10": 8.1, "p50": 9.4, "p90": 11.2}}]}
    )


class SavedEstimate(Estimate):
    """An estimate as it was saved, with what was asked."""

    request: dict[str, Any] = Field(
        description="The request, as it was sent.",
        examples=[{"model": {"name": "resnet-50"}, "hardware": {"accelerator": "T4"}}],
    )


BATCH_LIMIT = 1_000
"""Requests in one JSON list; NDJSON has no limit."""
