"""Measurements and sources as the API shows them."""

import datetime
from typing import Any, Literal, Protocol, Self

from pydantic import BaseModel, Field

from service.configuration import Data, Hardware, Model, Provenance, Result, Software, Training, nest
from service.estimates.schemas import Quantity

Status = Literal["accepted", "quarantined", "rejected", "withdrawn"]


class StoredMeasurement(Protocol):
    """A stored row, as far as it must be known here: clients read these schemas without the server's tables."""

    @property
    def fields(self) -> Any:
        """Every stated field by its dotted name."""

    @property
    def estimate_id(self) -> Any:
        """As in `MeasurementRow`."""

    @property
    def site(self) -> Any:
        """As in `MeasurementRow`."""

    @property
    def team_id(self) -> Any:
        """As in `MeasurementRow`."""

    @property
    def forecast_error_log(self) -> Any:
        """As in `MeasurementRow`."""

    @property
    def forecast_covered(self) -> Any:
        """As in `MeasurementRow`."""


class ForecastOutcome(BaseModel):
    """How the saved estimate fared that a measurement names."""

    error_log: float = Field(
        description="ln(predicted / measured time): above 0, it ran faster than predicted.", examples=[-0.08]
    )
    covered: bool = Field(description="Whether the measured value lay in the estimate's 80 % interval.")


class MeasurementEntry(BaseModel):
    """One measured training speed: the configuration as it was, where it is from, and what was observed.

    Only what its source states is there.
    """

    id: str = Field(description="Its lasting id.", examples=["m_2f1d0c9b8a7e6f5d4c3b2a19"])
    status: Status = Field(description="Used (accepted), kept but not used (quarantined), or taken back (withdrawn).")
    status_reason: str | None = Field(description="Why it has that status.", examples=["withdrawn by its team"])
    visibility: Literal["shared", "team"] = Field(description="Who sees it.")
    submitted_at: datetime.datetime = Field(description="When it was stored, UTC.", examples=["2026-08-01T12:00:00Z"])
    estimate_id: str | None = Field(
        description="The estimate that it was predicted by.", examples=["e_9f86d081884c7d659a2feaa0"]
    )
    forecast: ForecastOutcome | None = Field(None, description="How that estimate fared.")
    site: str | None = Field(
        None, description="Where it ran, a name within the team; shown to the team alone.", examples=["cluster-a"]
    )
    provenance: Provenance = Field(default_factory=Provenance, description="Where it is from.")
    model: Model = Field(description="What was trained.")
    data: Data = Field(default_factory=Data, description="On what data.")
    hardware: Hardware = Field(description="On what machines.")
    training: Training = Field(default_factory=Training, description="How.")
    software: Software = Field(default_factory=Software, description="With what software.")
    result: Result = Field(description="What was observed.")

    @classmethod
    def from_row(cls, row: StoredMeasurement, reader: str | None, **more: Any) -> Self:
        """The entry of a stored row as the team `reader` may see it; `more` fields come on top.

        Which forecast a run was, and how that fared, would tell others what a team's own runs taught its forecasts.
        """
        about = {name: getattr(row, name) for name in ("id", "status", "status_reason", "visibility", "submitted_at")}
        own = reader is not None and row.team_id == reader
        about["estimate_id"] = row.estimate_id if own else None
        if own:
            about["site"] = row.site
        if own and row.forecast_error_log is not None:
            about["forecast"] = {"error_log": row.forecast_error_log, "covered": row.forecast_covered}
        # Visibility and estimate are the row's to say; what it was submitted with may have changed since.
        stated = {name: value for name, value in nest(row.fields).items() if isinstance(value, dict)}
        return cls.model_validate(stated | about | more)


class MeasurementPage(BaseModel):
    """Some measurements, and where the next ones start."""

    items: list[MeasurementEntry] = Field(description="The measurements.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next ones; null: these were the last.", examples=["SDEwMC1TWE01LTgwR0I"]
    )


class SourceEntry(BaseModel):
    """Where measurements come from."""

    name: str = Field(description="Name, as in `provenance.source`.", examples=["mlperf-training-v4.0"])
    title: str = Field(description="Title.", examples=["MLPerf Training v4.0"])
    publisher: str | None = Field(description="Who published it.", examples=["UC Berkeley / AWS / Google"])
    reference: str | None = Field(description="Where it is to be found.", examples=["arXiv:2104.04473"])
    commit: str | None = Field(
        description="Revision that was read.", examples=["e0ae8bf849ead61e65197cbeb24ce6435712e170; …"]
    )
    date: str | None = Field(description="Its date.", examples=["2022-05-28"])
    licence: str | None = Field(description="Its licence.", examples=["Apache-2.0"])
    lineage: str = Field(description="Editions of one benchmark share it.", examples=["mlperf"])
    rows: int | None = Field(
        description="Accepted, shared measurements; null where the source is shown with one of them.", examples=[172]
    )
    submitted_rows: int | None = Field(
        description="Those of `rows` that teams submitted under this name, which need not be who published the source.",
        examples=[3],
    )
    residual: float | None = Field(
        description="Median absolute percentage error (a fraction) of the current calibration on its measurements with "
        "the source left out of the fit; null if it was not scored.",
        examples=[0.406],
    )

    @classmethod
    def from_row(
        cls, row: object, residual: float | None, *, shipped: int | None = None, submitted: int | None = None
    ) -> Self:
        """The entry of a stored source; where it is told, with how many of its rows ship and were submitted."""
        stated = {
            name: getattr(row, name)
            for name in ("name", "title", "publisher", "reference", "commit", "date", "licence", "lineage")
        }
        rows = None if shipped is None or submitted is None else shipped + submitted
        return cls(**stated, rows=rows, submitted_rows=submitted, residual=residual)


class SourcePage(BaseModel):
    """Some sources, and where the next ones start."""

    items: list[SourceEntry] = Field(description="The sources.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next ones; null: these were the last.", examples=["SDEwMC1TWE01LTgwR0I"]
    )


class Residual(BaseModel):
    """A measurement beside the current forecast of it, predicted as a new site would be."""

    unit: str = Field(description="Unit of the two, the measurement's own.", examples=["samples_per_second"])
    measured: float = Field(description="What was measured.", examples=[57.4])
    predicted: Quantity = Field(description="What the current calibration predicts for its configuration.")
    time_ratio: float = Field(
        description="Predicted over measured time per sample: above 1, it ran faster than predicted.", examples=[1.04]
    )
    within_interval: bool = Field(description="Whether the measured value lies in the 80 % interval.")
    grade: Literal["measured", "interpolated", "extrapolated"] = Field(description="How near other measurements are.")
    calibration: str = Field(description="Version of the calibration.", examples=["ea19f40dc149"])


class MeasurementDetail(MeasurementEntry):
    """One measurement with its source and its residual."""

    source: SourceEntry | None = Field(description="Where it comes from; null if that is no known source.")
    residual: Residual | None = Field(description="Beside the current forecast; null if it cannot be compared.")
    residual_reason: str | None = Field(
        description="Why it cannot be compared, where it cannot.", examples=["no result.value"]
    )
