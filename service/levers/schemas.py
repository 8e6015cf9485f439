"""What levers are asked for with, and what is said of each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue

from service.estimates.schemas import Estimate, EstimateRequest, Fraction, Layout, Memory, Quantity, Strict
from service.field_types import Count, Word

Group = Literal[
    "hardware", "precision", "software", "layout", "transfer", "data", "model", "batch", "recipe", "combined"
]
Basis = Literal["forecast", "scaling_law", "published", "caller", "assumption"]


class Assume(Strict):
    """What the caller knows of the learning itself, which no forecast of speed can tell."""

    finetune_tokens: Count | None = Field(
        None, description="Tokens that suffice to fine-tune a pre-trained model for the task.", examples=[5e7]
    )
    finetune_samples: Count | None = Field(
        None, description="Samples that suffice to fine-tune, all epochs together.", examples=[50_000]
    )
    pretraining_samples: Count | None = Field(
        None,
        description="Samples of self-supervised pre-training that fine-tuning then starts from, all epochs together.",
        examples=[1e6],
    )
    kept_fraction: Fraction | None = Field(
        None,
        description="Share of the data that is left after de-duplication or filtering and teaches as much as all.",
        examples=[0.7],
    )
    critical_batch: Count | None = Field(
        None,
        description="Critical batch size, samples: where a batch needs twice the samples that tiny batches do.",
        examples=[2048],
    )
    optimizer_steps: dict[Word, Annotated[float, Field(gt=0, le=100, strict=True)]] = Field(
        default_factory=dict,
        description="Steps that another optimizer needs over those of the present one, by its name.",
        examples=[{"muon": 0.7}],
    )
    augmented_epochs: Count | None = Field(
        None, description="Epochs that training with stronger augmentation takes.", examples=[300]
    )


class LeversRequest(EstimateRequest):
    """The run to shorten, as `POST /v1/estimates` takes it, and what is known of how it learns."""

    save: Literal[False] = Field(False, description="Levers are not saved.")
    assume: Assume = Field(
        default_factory=Assume,
        description="What the caller knows of the learning: amounts that suffice, critical batch, optimizers.",
    )

    def estimate_request(self) -> EstimateRequest:
        """The same run as a request for an estimate."""
        return EstimateRequest.model_validate(self.model_dump(mode="json", exclude_unset=True, exclude={"assume"}))


class Lever(BaseModel):
    """One change of the run, and the run as it would be then: the figures of `POST /v1/estimates` with the change."""

    name: str = Field(description="What is changed, in a word.", examples=["more-accelerators-x2"])
    group: Group = Field(description="Kind of change.")
    change: dict[str, JsonValue] = Field(
        description="Fields to set by JSON path; null means: leave the field out.", examples=[{"hardware.count": 512}]
    )
    at_once: int = Field(
        1, description="How many such jobs run side by side; the cost is that of all of them.", examples=[1]
    )
    duration_hours: Quantity | None = Field(
        description="Wall-clock hours of all runs then; null if the request says no amount of data."
    )
    speedup: Quantity = Field(
        description="How many times faster: hours now over hours then (speeds where no amount of data is known). "
        "Uncertainty that both share has cancelled.",
        examples=[{"p10": 1.81, "p50": 1.9, "p90": 1.98}],
    )
    cost_usd: Quantity | None = Field(description="Rent then, USD; null if it is unknown.")
    memory: Memory = Field(description="Peak memory of one accelerator then.")
    layout: Layout = Field(description="How the work is split then, as given or chosen anew.")
    trade_off: str = Field(
        description="What it costs besides money.",
        examples=["only the last layers adapt: worse where the task is far from what the …"],
    )
    basis: Basis = Field(
        description="Where the effect comes from: the `forecast` alone; besides it a `scaling_law`, a `published` "
        "result, what the `caller` assumes, or an `assumption` made here for illustration."
    )
    assumed: str | None = Field(
        None,
        description="What is taken for granted besides the forecast, with its source.",
        examples=["52,000 examples, three times over, suffice for the task …"],
    )
    grade: Literal["measured", "interpolated", "extrapolated"] = Field(
        description="How near measurements are to the changed run."
    )


class Combined(Lever):
    """Several levers at once."""

    levers: list[str] = Field(
        description="Names of the levers that are stacked, in the order they were added.",
        examples=[["accelerator-GB200-186GB", "precision-fp8"]],
    )


class NotApplicable(BaseModel):
    """A lever that was tried and does not help here."""

    name: str = Field(description="Which lever.", examples=["recompute-none"])
    reason: str = Field(description="Why not.", examples=["needs about 96 GB of 80 GB"])


class BatchPoint(BaseModel):
    """The run at one global batch."""

    global_batch: float = Field(description="Samples of one optimizer step.", examples=[256])
    samples_per_second: Quantity = Field(description="Speed, whole job.")
    samples: float = Field(description="Samples that reach the same loss at this batch.", examples=[103000000])
    steps: float = Field(description="Optimizer steps that reach the same loss.", examples=[403000])
    duration_hours: Quantity = Field(description="Wall-clock hours of all runs.")
    fits: bool = Field(description="Whether it is predicted to fit in memory.")


class BatchCurve(BaseModel):
    """Throughput rises with the batch, and so do the samples needed beyond the critical one: hence an optimum."""

    critical_batch: float = Field(description="Critical batch size, samples.", examples=[15000])
    basis: Basis = Field(description="Where the critical batch comes from.")
    assumed: str = Field(
        description="What is taken for granted, with its source.",
        examples=["15,000 images of ImageNet for ResNet-50, mean over training …"],
    )
    best_global_batch: float = Field(
        description="Of the points that fit, the one that takes the shortest time.", examples=[1024]
    )
    points: list[BatchPoint] = Field(description="The curve, smallest batch first.")


class Levers(BaseModel):
    """What would shorten a run."""

    baseline: Estimate = Field(description="The run as it is asked about.")
    levers: list[Lever] = Field(description="What shortens it, the largest speed-up first.")
    combined: list[Combined] = Field(
        description="Levers that change neither what is learned nor how much, stacked: first on the same machines, "
        "then with other machines besides."
    )
    recipe: list[Lever] = Field(
        description="Choices of the recipe, whether or not they shorten the run: optimizers, repeats side by side, "
        "augmentation, self-supervised pre-training."
    )
    batch: BatchCurve | None = Field(
        description="Time against global batch; null where no critical batch is known of such a model."
    )
    not_applicable: list[NotApplicable] = Field(description="What was tried and does not help here, with the reason.")
