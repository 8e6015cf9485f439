"""A calibration as the API shows it."""

import datetime
from typing import Any

from pydantic import BaseModel, Field


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
    accuracy: dict[str, Any] = Field(
        description="Accuracy on held-out sources (leave one lineage out), by family and by source, with the coverage "
        "and width of its 80 % intervals, beside the rule of thumb."
    )
