"""A calibration as the API shows it."""

import datetime
from typing import Literal

from pydantic import BaseModel, Field

FamilyClass = Literal["transformer", "other"]


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


class Score(BaseModel):
    """Accuracy of n predictions of the time per sample. APE = |predicted - measured| / measured; fractions."""

    n: int = Field(description="Measurements scored.")
    mape: float | None = Field(description="Mean APE, as a fraction.", examples=[0.142])
    median_ape: float | None = Field(description="Median APE, as a fraction.", examples=[0.093])
    bias: float | None = Field(description="Median of ln(predicted / measured); above 0 = predicted too slow.")
    coverage_80: float | None = Field(description="Share of measurements inside the 80 % interval, as given out.")
    median_interval_ratio: float | None = Field(description="Median p90 / p10 of the intervals.", examples=[1.6])


class SourceScore(Score):
    """Accuracy on one source."""

    class_: FamilyClass = Field(alias="class", description="Which of the two classes most of its rows are of.")
    lineage: str = Field("", description="The lineage that was left out with it.")


class ColdScore(SourceScore):
    """Accuracy on one source by a fit without its lineage, predicted as a new site's, beside the rule of thumb."""

    rule_of_thumb_mape: float | None = Field(description="Mean APE of 6 N D at 40 % of the peak on the same rows.")
    rule_of_thumb_median_ape: float | None = Field(description="Median APE of the rule of thumb on the same rows.")


class WarmScore(SourceScore):
    """Accuracy on the rest of one source after learning some of its rows; its lineage is left out otherwise."""

    repeat_scatter: float | None = Field(
        None, description="Mean APE of the source's own repeats around their median; null if it has none."
    )
    goal: float | None = Field(
        None,
        description="Mean APE aimed at: 0.07 for Transformers, 0.10 for others, or 1.3 x the repeat scatter where that "
        "is more and at least 3 groups of repeats show it.",
    )


class MeanScore(BaseModel):
    """Scores of sources (or lineages), each counting the same: fractions."""

    sources: int = Field(description="Sources (or lineages) averaged over.")
    rows: int = Field(description="Measurements scored.")
    mape: float | None = Field(description="Mean over sources of the mean APE.")
    median_source_mape: float | None = Field(description="Median over sources of the mean APE.")
    median_ape: float | None = Field(description="Median over sources of the median APE.")
    coverage_80: float | None = Field(description="Mean over sources of the share inside the 80 % interval.")
    median_interval_ratio: float | None = Field(description="Median over sources of the median p90 / p10.")
    rule_of_thumb_mape: float | None = Field(None, description="Mean over sources of the rule of thumb's mean APE.")
    rule_of_thumb_median_ape: float | None = Field(
        None, description="Median over sources of the rule of thumb's median APE."
    )


class ReliabilityPoint(BaseModel):
    """How many measurements an interval of one nominal coverage really held, every source weighing the same."""

    nominal: float = Field(description="Coverage that the interval promises, 0 to 1.", examples=[0.8])
    observed: float = Field(description="Share of held-out measurements inside it, 0 to 1.", examples=[0.79])


class RepeatScatter(BaseModel):
    """How far measurements of one source that state the same in every column are apart."""

    groups: int = Field(description="Groups of such measurements.")
    rows: int = Field(description="Measurements in them.")
    mape: float = Field(description="Mean APE of their times around the group's median, as a fraction.")
    median_ape: float = Field(description="Median APE around the group's median, as a fraction.")


class WarmAccuracy(BaseModel):
    """Accuracy after learning some of a source's own rows."""

    rows_learned: int = Field(description="Own rows learned, chosen at random with a fixed seed.")
    overall: dict[str, MeanScore] = Field(description="By class, over all sources with rows enough.")
    by_family: dict[str, MeanScore] = Field(default_factory=dict, description="By model family, over its sources.")
    by_grade: dict[str, MeanScore] = Field(default_factory=dict, description="By grade of the prediction.")
    by_source: dict[str, WarmScore] = Field(description="By source.")
    reliability: dict[str, list[ReliabilityPoint]] = Field(
        default_factory=dict, description="Points of the reliability diagram by class."
    )


class MemoryLineage(BaseModel):
    """Accuracy of peak memory on one lineage by a fit without it."""

    n: int = Field(description="Measured peaks.")
    mape: float = Field(description="Mean APE of the peak, as a fraction.")
    median_ape: float = Field(description="Median APE of the peak, as a fraction.")
    fit_share: float = Field(description="Share of its runs, all of which ran, that are predicted to fit.")
    coverage: float | None = Field(None, description="Share of its peaks inside the 80 % interval.")


class MemoryAccuracy(BaseModel):
    """Accuracy of peak memory on lineages left out."""

    rows: int = Field(description="Measured peaks.")
    mape: float = Field(description="Mean over lineages of the mean APE of the peak, as a fraction.")
    fit_share: float = Field(description="Share of runs, all of which ran, that are predicted to fit.")
    median_width: float | None = Field(None, description="Median p90 / p10 of the intervals of peaks.")
    by_lineage: dict[str, MemoryLineage] = Field(description="By lineage.")


class Accuracy(BaseModel):
    """Accuracy on what the fit had not seen; names of groups are keys, fractions of time throughout."""

    protocol: str = Field(description="How it was measured, in words.")
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
    rows: int = Field(0, description="Measurements that the calibration was fitted on.")


class OperatingFactor(BaseModel):
    """One published constant of running training jobs, as estimates use it where the request states nothing else."""

    name: str = Field(description="Name; goodput factors go by their name in a request's `goodput`.")
    used_for: Literal["goodput", "energy"] = Field(description="What it enters: hours of a whole run, or its energy.")
    unit: str = Field(description="Unit.", examples=["failures per accelerator and hour"])
    p10: float | None = Field(description="10th percentile of the published values; null where one value stands.")
    p50: float = Field(description="What is used: their median, or the one value.")
    p90: float | None = Field(description="90th percentile of the published values; null where one value stands.")
    meaning: str = Field(description="What it is, and how published values became it.")
    sources: list[str] = Field(description="Where the values were published.")


class CalibrationEntry(BaseModel):
    """A fitted calibration: coefficients, how much groups differ, and its accuracy on sources it had not seen."""

    version: str = Field(description="Its version.")
    fingerprint: str = Field(description="Digest of the measurements it was fitted on.")
    created_at: datetime.datetime | None = Field(description="When it was stored, UTC.")
    activated_at: datetime.datetime | None = Field(description="When it was put in use, UTC.")
    measurements: int = Field(description="Measurements it points to as evidence.")
    residual_standard_deviation: float = Field(
        description="Spread of measured times around their medians that no group explains, natural log."
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
