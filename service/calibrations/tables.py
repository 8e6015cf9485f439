"""The table of calibrations."""

from datetime import datetime
from typing import Any

from sqlalchemy import LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base


class CalibrationRow(Base):
    """One fitted calibration; the current one is the one activated last."""

    __tablename__ = "calibrations"

    version: Mapped[str] = mapped_column(String(100), primary_key=True)
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of the measurements it was fitted on."""
    created_at: Mapped[datetime]
    activated_at: Mapped[datetime | None] = mapped_column(index=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    """What the engine's ``Forecaster.load`` reads: gzipped JSON."""
    accuracy: Mapped[dict[str, Any] | None]
    """Scores on held-out sources, as reported when it was fitted."""
