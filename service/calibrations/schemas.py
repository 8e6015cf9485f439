"""A calibration as the API shows it."""

import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from service.calibrations.tables import CalibrationRow

Status = Literal["queued", "running", "succeeded", "failed"]
Trigger = Literal["shipped", "request", "automatic"]


class CalibrationRequest(BaseModel):
    """A request to fit a new calibration."""

    model_config = ConfigDict(extra="forbid")

    force: StrictBool = Field(
        False, description="Put it in use even if it is worse on held-out sources than the one in use."
    )


class HeldOutScore(BaseModel):
    """Accuracy on the held-out sources that two calibrations are compared on; fractions."""

    sources: int = Field(description="Sources compared.", examples=[54])
    median_ape: float = Field(description="Mean over them of the median absolute percentage error.", examples=[0.34])
    coverage_80: float = Field(
        description="Mean over them of the share of rows that the 80 % interval holds.", examples=[0.8]
    )


class Comparison(BaseModel):
    """A calibration beside the one that was in use when it was fitted."""

    rule: str = Field(
        description="When a new calibration is put in use.",
        examples=["put in use unless its error on held-out sources is more than 2 % …"],
    )
    before: HeldOutScore | None = Field(description="The one that was in use; null if there was nothing to compare.")
    after: HeldOutScore | None = Field(description="This one.")


class CalibrationSummary(BaseModel):
    """A calibration: how its fit goes or went, and whether it is in use."""

    version: str = Field(description="Its version.", examples=["20260801T120000-3fa2c1"])
    status: Status = Field(description="Waits to be fitted, is being fitted, was fitted, or could not be.")
    stage: str = Field(description="What its fit does now.", examples=["predicting each lineage without it"])
    progress: float = Field(description="Share of the fit that is done, 0 to 1.", examples=[0.4])
    trigger: Trigger = Field(
        description="Why it is there: it shipped, was requested, or new measurements asked for it."
    )
    forced: bool = Field(description="Whether it is put in use however it compares.")
    in_use: bool = Field(description="Whether it is the current one.")
    attempts: int = Field(description="How often its fit was started: again whenever its process died.", examples=[1])
    created_at: datetime.datetime = Field(
        description="When it was requested, or shipped with, UTC.", examples=["2026-08-01T12:00:00Z"]
    )
    started_at: datetime.datetime | None = Field(
        description="When its fit was last started, UTC.", examples=["2026-08-01T12:00:05Z"]
    )
    finished_at: datetime.datetime | None = Field(
        description="When its fit ended, UTC.", examples=["2026-08-01T12:09:41Z"]
    )
    activated_at: datetime.datetime | None = Field(
        description="When it was last put in use, UTC; null: never.", examples=["2026-08-01T12:09:42Z"]
    )
    rows: int | None = Field(
        description="Measurements it was fitted on; null before, and for one that shipped.", examples=[25600]
    )
    submitted_rows: int | None = Field(
        description="Shared, accepted measurements that teams had submitted by then; of many a sample was fitted.",
        examples=[38],
    )
    fingerprint: str | None = Field(
        description="Digest of the ids of the measurements it was fitted on.",
        examples=["8e1e215fae3cae7569cc3b12e3aaff65e41922f26546acce5359f27d3560d919"],
    )
    digest: str | None = Field(
        description="Digest of what was fitted: the same measurements give the same.", examples=["ea19f40dc149"]
    )
    verdict: str | None = Field(
        description="Why it was put in use, or was not.",
        examples=["put in use: 0.31 against 0.31 before on 54 held-out sources"],
    )
    comparison: Comparison | None = Field(description="Held-out accuracy before and after.")
    error: str | None = Field(description="Why its fit failed.", examples=["its process ended three times"])

    @classmethod
    def from_row(cls, row: CalibrationRow, current: str | None, **more: Any) -> Self:
        """The summary of a stored calibration; `current` is the version in use, `more` fields come on top."""
        fields = (name for name in CalibrationSummary.model_fields if name != "in_use")
        about = {name: getattr(row, name) for name in fields}
        return cls.model_validate({**about, "in_use": row.version == current, **more})


class CalibrationPage(BaseModel):
    """Some calibrations, newest first, and where the next ones start."""

    items: list[CalibrationSummary] = Field(description="The calibrations.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next ones; null: these were the last.", examples=["SDEwMC1TWE01LTgwR0I"]
    )


FamilyClass = Literal["transformer", "other"]


class CoefficientEntry(BaseModel):
    """One physical coefficient that the calibration learned, on the scale it is learned on."""

    name: str = Field(description="Name.", examples=["compute_efficiency"])
    unit: str = Field(description="Unit and scale.", examples=["log fraction of peak, large GEMM"])
    value: float = Field(description="Value for a run of no known group, on that scale.", examples=[-0.746])
    standard_deviation: float = Field(description="Its uncertainty, on that scale.", examples=[0.168])
    prior_mean: float = Field(description="What was believed before any measurement.", examples=[-0.511])
    prior_standard_deviation: float = Field(description="How firmly.", examples=[0.3])
    source: str = Field(
        description="Where that belief is from.",
        examples=["achievable_matmul.csv: best matmul reaches 0.5 to 0.9 of the data …"],
    )


class SpreadEntry(BaseModel):
    """How much a coefficient differs between the groups of one kind: between chips, frameworks, models, sites."""

    coefficient: str = Field(description="The coefficient.", examples=["compute_efficiency"])
    grouping: str = Field(description="What the groups are.", examples=["accelerator"])
    groups: int = Field(description="How many groups were measured.", examples=[14])
    standard_deviation: float = Field(
        description="Standard deviation between them, on the coefficient's scale.", examples=[0.244]
    )


class Score(BaseModel):
    """Accuracy of n predictions of the time per sample. APE = |predicted - measured| / measured; fractions."""

    n: int = Field(description="Measurements scored.", examples=[1])
    mape: float | None = Field(description="Mean APE, as a fraction.", examples=[0.142])
    median_ape: float | None = Field(description="Median APE, as a fraction.", examples=[0.093])
    bias: float | None = Field(
        description="Median of ln(predicted / measured); above 0 = predicted too slow.", examples=[0.31]
    )
    coverage_80: float | None = Field(
        description="Share of measurements inside the 80 % interval, as given out.", examples=[1]
    )
    median_interval_ratio: float | None = Field(description="Median p90 / p10 of the intervals.", examples=[1.6])


class SourceScore(Score):
    """Accuracy on one source."""

    class_: FamilyClass = Field(alias="class", description="Which of the two classes most of its rows are of.")
    lineage: str = Field("", description="The lineage that was left out with it.")


class ColdScore(SourceScore):
    """Accuracy on one source by a fit without its lineage, predicted as a new site's, beside the rule of thumb."""

    rule_of_thumb_mape: float | None = Field(
        description="Mean APE of 6 N D at 40 % of the peak on the same rows.", examples=[0.348]
    )
    rule_of_thumb_median_ape: float | None = Field(
        description="Median APE of the rule of thumb on the same rows.", examples=[0.283]
    )


class WarmScore(SourceScore):
    """Accuracy on the rest of one source after learning some of its rows; its lineage is left out otherwise."""

    repeat_scatter: float | None = Field(
        None,
        description="Mean APE of the source's own repeats around their median; null if it has none.",
        examples=[0.0837],
    )
    goal: float | None = Field(
        None,
        description="Mean APE aimed at: 0.07 for Transformers, 0.10 for others, or 1.3 x the repeat scatter where that "
        "is more and at least 3 groups of repeats show it.",
        examples=[0.109],
    )


class MeanScore(BaseModel):
    """Scores of sources (or lineages), each counting the same: fractions."""

    sources: int = Field(description="Sources (or lineages) averaged over.", examples=[21])
    rows: int = Field(description="Measurements scored.", examples=[4743])
    mape: float | None = Field(description="Mean over sources of the mean APE.", examples=[0.313])
    median_source_mape: float | None = Field(description="Median over sources of the mean APE.", examples=[0.265])
    median_ape: float | None = Field(description="Median over sources of the median APE.", examples=[0.228])
    coverage_80: float | None = Field(
        description="Mean over sources of the share inside the 80 % interval.", examples=[0.826]
    )
    median_interval_ratio: float | None = Field(
        description="Median over sources of the median p90 / p10.", examples=[2.45]
    )
    rule_of_thumb_mape: float | None = Field(
        None, description="Mean over sources of the rule of thumb's mean APE.", examples=[0.576]
    )
    rule_of_thumb_median_ape: float | None = Field(
        None, description="Median over sources of the rule of thumb's median APE.", examples=[0.307]
    )


class ReliabilityPoint(BaseModel):
    """How many measurements an interval of one nominal coverage really held, every source weighing the same."""

    nominal: float = Field(description="Coverage that the interval promises, 0 to 1.", examples=[0.8])
    observed: float = Field(description="Share of held-out measurements inside it, 0 to 1.", examples=[0.79])


class RepeatScatter(BaseModel):
    """How far measurements of one source that state the same in every column are apart."""

    groups: int = Field(description="Groups of such measurements.", examples=[12])
    rows: int = Field(description="Measurements in them.", examples=[53])
    mape: float = Field(
        description="Mean APE of their times around the group's median, as a fraction.", examples=[0.0837]
    )
    median_ape: float = Field(description="Median APE around the group's median, as a fraction.", examples=[0.0221])


class WarmAccuracy(BaseModel):
    """Accuracy after learning some of a source's own rows."""

    rows_learned: int = Field(description="Own rows learned, chosen at random with a fixed seed.", examples=[20])
    overall: dict[str, MeanScore] = Field(description="By class, over all sources with rows enough.")
    by_family: dict[str, MeanScore] = Field(default_factory=dict, description="By model family, over its sources.")
    by_grade: dict[str, MeanScore] = Field(default_factory=dict, description="By grade of the prediction.")
    by_source: dict[str, WarmScore] = Field(description="By source.")
    reliability: dict[str, list[ReliabilityPoint]] = Field(
        default_factory=dict, description="Points of the reliability diagram by class."
    )


class MemoryLineage(BaseModel):
    """Accuracy of peak memory on one lineage by a fit without it."""

    n: int = Field(description="Measured peaks.", examples=[106])
    mape: float = Field(description="Mean APE of the peak, as a fraction.", examples=[0.801])
    median_ape: float = Field(description="Median APE of the peak, as a fraction.", examples=[0.458])
    fit_share: float = Field(
        description="Share of its runs, all of which ran, that are predicted to fit.", examples=[0.604]
    )
    coverage: float | None = Field(None, description="Share of its peaks inside the 80 % interval.", examples=[0.566])


class MemoryAccuracy(BaseModel):
    """Accuracy of peak memory on lineages left out."""

    rows: int = Field(description="Measured peaks.", examples=[2538])
    mape: float = Field(description="Mean over lineages of the mean APE of the peak, as a fraction.", examples=[0.43])
    fit_share: float = Field(
        description="Share of runs, all of which ran, that are predicted to fit.", examples=[0.965]
    )
    median_width: float | None = Field(None, description="Median p90 / p10 of the intervals of peaks.", examples=[2.42])
    by_lineage: dict[str, MemoryLineage] = Field(description="By lineage.")


class Accuracy(BaseModel):
    """Accuracy on what the fit had not seen; names of groups are keys, fractions of time throughout."""

    protocol: str = Field(
        description="How it was measured, in words.",
        examples=["APE is |t_predicted - t_measured| / t_measured of the time per …"],
    )
    overall: dict[str, MeanScore] = Field(
        description="By class (`transformer`, `other`), over sources with at least 20 rows."
    )
    by_family: dict[str, MeanScore] = Field(description="By model family, over its sources.")
    by_family_over_lineages: dict[str, MeanScore] = Field(
        description="By model family, over its lineages: editions of one benchmark count as one."
    )
    by_grade: dict[str, MeanScore] = Field(
        description="By grade (`measured`, `interpolated`, `extrapolated`), over sources."
    )
    by_accelerator: dict[str, MeanScore] = Field(
        default_factory=dict, description="By accelerator with at least 20 measurements, over sources."
    )
    by_chip_group: dict[str, MeanScore] = Field(description="By microarchitecture, over sources.")
    by_source: dict[str, ColdScore] = Field(description="By source.")
    reliability: dict[str, list[ReliabilityPoint]] = Field(description="Points of the reliability diagram by class.")
    warm: WarmAccuracy = Field(description="The same after learning some of each source's own rows.")
    repeat_scatter: dict[str, RepeatScatter] = Field(
        default_factory=dict, description="By source: how far its own repeats are apart, the floor of any prediction."
    )
    memory: MemoryAccuracy | None = Field(None, description="Peak memory; null if none was fitted.")
    rows: int = Field(0, description="Measurements that the calibration was fitted on.", examples=[25562])


class OperatingFactor(BaseModel):
    """One published constant of running training jobs, as estimates use it where the request states nothing else."""

    name: str = Field(
        description="Name; goodput factors go by their name in a request's `goodput`.",
        examples=["failures_per_accelerator_hour"],
    )
    used_for: Literal["goodput", "energy"] = Field(description="What it enters: hours of a whole run, or its energy.")
    unit: str = Field(description="Unit.", examples=["failures per accelerator and hour"])
    p10: float | None = Field(
        description="10th percentile of the published values; null where one value stands.", examples=[1.42e-05]
    )
    p50: float = Field(description="What is used: their median, or the one value.", examples=[3.39e-05])
    p90: float | None = Field(
        description="90th percentile of the published values; null where one value stands.", examples=[0.000115]
    )
    meaning: str = Field(
        description="What it is, and how published values became it.",
        examples=["Interruptions of a job, from published counts, intervals and rates …"],
    )
    sources: list[str] = Field(description="Where the values were published.", examples=[["arXiv:2407.21783"]])


class Content(BaseModel):
    """What a calibration learned, and its accuracy on sources it had not seen."""

    measurements: int = Field(description="Measurements it points to as evidence.", examples=[25562])
    residual_standard_deviation: float = Field(
        description="Spread of measured times around their medians that no group explains, natural log.",
        examples=[0.151],
    )
    coefficients: list[CoefficientEntry] = Field(description="The coefficients.")
    spreads: list[SpreadEntry] = Field(description="How much groups differ.")
    accuracy: Accuracy = Field(
        description="Accuracy on held-out sources (leave one lineage out), cold and warm, with the coverage and width "
        "of its 80 % intervals, beside the rule of thumb."
    )
    operating_factors: list[OperatingFactor] = Field(
        description="What makes the hours of whole runs longer than their steps, and what their energy is reckoned "
        "with: published constants, not fitted ones."
    )


class FittedMeasurement(BaseModel):
    """A measurement that the calibration was fitted on, beside what it predicts for it."""

    id: str = Field(description="Its id in `/v1/measurements`.", examples=["m_007647380ee8966cd6e72996"])
    family: str = Field(description="Model family.", examples=["decoder"])
    lineage: str = Field(description="Lineage of its source.", examples=["mlperf"])
    model: str | None = Field(description="Model; null if not stated by a known name.", examples=["llama-3-8b"])
    accelerator: str = Field(description="Accelerator.", examples=["H100-SXM5-80GB"])
    measured_seconds: float = Field(description="Measured seconds per sample, whole job.", examples=[0.0012])
    predicted_seconds: float = Field(
        description="Median predicted for a new site that ran the same, without what near measurements correct, "
        "seconds per sample.",
        examples=[0.0011],
    )


class FittedMeasurements(BaseModel):
    """Predicted against measured time: the points of a scatter plot."""

    calibration: str = Field(description="Version of the calibration.", examples=["ea19f40dc149"])
    note: str = Field(
        description="How to read it.", examples=["Errors on sources that a fit had not seen are in `accuracy`."]
    )
    measurements: int = Field(description="Measurements that could be shown.", examples=[25562])
    items: list[FittedMeasurement] = Field(description="Those shown: of each lineage, evenly spaced.")


class CalibrationEntry(CalibrationSummary):
    """One calibration with all that it learned."""

    content: Content | None = Field(
        description="What it learned; null until it is fitted, and where another version of the engine fitted it."
    )


class TrackRecord(BaseModel):
    """How the service's forecasts fared: of measurements that named the estimate they were predicted by.

    The latest 1,000 of each team, shared ones and the caller's own team's. Figures are computed team by team; what is
    shown is their median over teams, so that no team has more than one vote. Fractions, null where there are none.
    """

    n: int = Field(description="Forecasts.", examples=[120])
    teams: int = Field(description="Teams whose forecasts they are.", examples=[4])
    mape: float | None = Field(description="Mean absolute percentage error, on time.", examples=[0.21])
    median_ape: float | None = Field(description="Median absolute percentage error.", examples=[0.14])
    bias: float | None = Field(
        description="Median ln(predicted / measured time): above 0, predicted too slow.", examples=[0.02]
    )
    coverage_80: float | None = Field(
        description="Share of measured values inside the forecast's 80 % interval.", examples=[0.79]
    )


class CurrentCalibration(Content):
    """The calibration in use: what it learned, its accuracy, and how the service's own forecasts fared."""

    version: str = Field(description="Its version.", examples=["ea19f40dc149"])
    fingerprint: str = Field(
        description="Digest of the ids of the measurements it was fitted on.",
        examples=["8e1e215fae3cae7569cc3b12e3aaff65e41922f26546acce5359f27d3560d919"],
    )
    created_at: datetime.datetime | None = Field(
        description="When it was requested, or shipped with, UTC.", examples=["2026-08-01T12:00:00Z"]
    )
    activated_at: datetime.datetime | None = Field(
        description="When it was put in use, UTC.", examples=["2026-08-01T12:09:42Z"]
    )
    track_record: TrackRecord = Field(description="How the service's own forecasts fared.")
