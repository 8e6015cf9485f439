"""The table of calibrations, which is also the queue of those to be fitted."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base

STATUSES = ("queued", "running", "succeeded", "failed")
"""A calibration waits to be fitted, is being fitted, was fitted, or could not be."""


class CalibrationRow(Base):
    """One calibration, from the request to fit it to its content; the current one is the one activated last."""

    __tablename__ = "calibrations"
    __table_args__ = (
        CheckConstraint(f"status IN {STATUSES}", name="status"),
        Index("ix_calibrations_created_at_version", "created_at", "version"),
    )

    version: Mapped[str] = mapped_column(String(100), primary_key=True)
    digest: Mapped[str | None] = mapped_column(String(64))
    """Digest of the content: the same measurements give the same, whatever the version is called."""
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of the ids of the measurements it was fitted on; None before the fit is done."""
    status: Mapped[str] = mapped_column(String(20), index=True)
    trigger: Mapped[str] = mapped_column(String(20))
    """Why there is one: `shipped`, `request`, `automatic`."""
    team_id: Mapped[str | None] = mapped_column(String(40))
    """Whose key requested it."""
    forced: Mapped[bool]
    """Whether it is put in use however it compares."""
    stage: Mapped[str] = mapped_column(String(100))
    progress: Mapped[float]
    """Share of the work that is done, 0 to 1."""
    attempts: Mapped[int]
    """How often its fit was started; more than once after a process died."""
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    activated_at: Mapped[datetime | None] = mapped_column(index=True)
    error: Mapped[str | None]
    """Why it failed."""
    verdict: Mapped[str | None]
    """Why it was put in use, or was not."""
    comparison: Mapped[dict[str, Any] | None]
    """Held-out accuracy before and after, on the sources that both were scored on."""
    rows: Mapped[int | None]
    submitted_rows: Mapped[int | None]
    """Shared, accepted measurements that teams had submitted by then; of many a sample is among its rows."""
    measurement_ids: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    """Ids of the measurements it was fitted on, in canonical order, one a line, gzipped."""
    content: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    """What the engine's ``Forecaster.load`` reads: coefficients, evidence, accuracy as reported when it was fitted."""
