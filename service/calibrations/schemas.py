"""A calibration as the API shows it."""

import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from service.calibrations.tables import CalibrationRow

Status = Literal["queued", "running", "succeeded", "failed"]
Trigger = Literal["shipped", "request", "automatic"]


class CalibrationRequest(BaseModel):
    """A request to fit a new calibration."""

    model_config = ConfigDict(extra="forbid")

    force: bool = Field(False, description="Put it in use even if it is worse on held-out sources than the one in use.")


class HeldOutScore(BaseModel):
    """Accuracy on the held-out sources that two calibrations are compared on; fractions."""

    sources: int = Field(description="Sources compared.")
    median_ape: float = Field(description="Mean over them of the median absolute percentage error.")
    coverage_80: float = Field(description="Mean over them of the share of rows that the 80 % interval holds.")


class Comparison(BaseModel):
    """A calibration beside the one that was in use when it was fitted."""

    rule: str = Field(description="When a new calibration is put in use.")
    before: HeldOutScore | None = Field(description="The one that was in use; null if there was nothing to compare.")
    after: HeldOutScore | None = Field(description="This one.")


class CalibrationSummary(BaseModel):
    """A calibration: how its fit goes or went, and whether it is in use."""

    version: str = Field(description="Its version.")
    status: Status = Field(description="Waits to be fitted, is being fitted, was fitted, or could not be.")
    stage: str = Field(description="What its fit does now.", examples=["predicting each lineage without it"])
    progress: float = Field(description="Share of the fit that is done, 0 to 1.")
    trigger: Trigger = Field(
        description="Why it is there: it shipped, was requested, or new measurements asked for it."
    )
    forced: bool = Field(description="Whether it is put in use however it compares.")
    in_use: bool = Field(description="Whether it is the current one.")
    attempts: int = Field(description="How often its fit was started: again whenever its process died.")
    created_at: datetime.datetime = Field(description="When it was requested, or shipped with, UTC.")
    started_at: datetime.datetime | None = Field(description="When its fit was last started, UTC.")
    finished_at: datetime.datetime | None = Field(description="When its fit ended, UTC.")
    activated_at: datetime.datetime | None = Field(description="When it was last put in use, UTC; null: never.")
    rows: int | None = Field(description="Measurements it was fitted on; null before, and for one that shipped.")
    submitted_rows: int | None = Field(description="Of those, the ones that teams submitted.")
    fingerprint: str | None = Field(description="Digest of the ids of the measurements it was fitted on.")
    digest: str | None = Field(description="Digest of what was fitted: the same measurements give the same.")
    verdict: str | None = Field(description="Why it was put in use, or was not.")
    comparison: Comparison | None = Field(description="Held-out accuracy before and after.")
    error: str | None = Field(description="Why its fit failed.")

    @classmethod
    def from_row(cls, row: CalibrationRow, current: str | None, **more: Any) -> Self:
        """The summary of a stored calibration; `current` is the version in use, `more` fields come on top."""
        fields = (name for name in CalibrationSummary.model_fields if name != "in_use")
        about = {name: getattr(row, name) for name in fields}
        return cls.model_validate({**about, "in_use": row.version == current, **more})


class CalibrationPage(BaseModel):
    """Some calibrations, newest first, and where the next ones start."""

    items: list[CalibrationSummary] = Field(description="The calibrations.")
    next_cursor: str | None = Field(description="Pass as `cursor` for the next ones; null: these were the last.")


class CoefficientEntry(BaseModel):
    """One physical coefficient that the calibration learned, on the scale it is learned on."""

    name: str = Field(description="Name.", examples=["compute_efficiency"])
    unit: str = Field(description="Unit and scale.", examples=["log fraction of peak, large GEMM"])
    value: float = Field(description="Value for a run of no known group, on that scale.")
    standard_deviation: float = Field(description="Its uncertainty, on that scale.")
    prior_mean: float = Field(description="What was believed before any measurement.")
    prior_standard_deviation: float = Field(description="How firmly.")
    source: str = Field(description="Where that belief is from.")


class SpreadEntry(BaseModel):
    """How much a coefficient differs between the groups of one kind: between chips, frameworks, models, sites."""

    coefficient: str = Field(description="The coefficient.", examples=["compute_efficiency"])
    grouping: str = Field(description="What the groups are.", examples=["accelerator"])
    groups: int = Field(description="How many groups were measured.")
    standard_deviation: float = Field(description="Standard deviation between them, on the coefficient's scale.")


class Content(BaseModel):
    """What a calibration learned, and its accuracy on sources it had not seen."""

    measurements: int = Field(description="Measurements it points to as evidence.")
    residual_standard_deviation: float = Field(
        description="Spread of measured times around their medians that no group explains, natural log."
    )
    coefficients: list[CoefficientEntry] = Field(description="The coefficients.")
    spreads: list[SpreadEntry] = Field(description="How much groups differ.")
    accuracy: dict[str, Any] = Field(
        description="Accuracy on held-out sources (leave one lineage out), by family and by source, with the coverage "
        "and width of its 80 % intervals, beside the rule of thumb."
    )


class CalibrationEntry(CalibrationSummary):
    """One calibration with all that it learned."""

    content: Content | None = Field(
        description="What it learned; null until it is fitted, and where another version of the engine fitted it."
    )


class TrackRecord(BaseModel):
    """How the service's forecasts fared: of measurements that named the estimate they were predicted by.

    The latest 10,000, shared ones and the caller's own team's; fractions, null where there are none.
    """

    n: int = Field(description="Forecasts.")
    mape: float | None = Field(description="Mean absolute percentage error, on time.")
    median_ape: float | None = Field(description="Median absolute percentage error.")
    bias: float | None = Field(description="Median ln(predicted / measured time): above 0, predicted too slow.")
    coverage_80: float | None = Field(description="Share of measured values inside the forecast's 80 % interval.")


class CurrentCalibration(Content):
    """The calibration in use: what it learned, its accuracy, and how the service's own forecasts fared."""

    version: str = Field(description="Its version.")
    fingerprint: str = Field(description="Digest of the ids of the measurements it was fitted on.")
    created_at: datetime.datetime | None = Field(description="When it was requested, or shipped with, UTC.")
    activated_at: datetime.datetime | None = Field(description="When it was put in use, UTC.")
    track_record: TrackRecord = Field(description="How the service's own forecasts fared.")
