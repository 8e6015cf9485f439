"""The table of calibrations."""

from datetime import datetime

from sqlalchemy import LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base


class CalibrationRow(Base):
    """One fitted calibration; the current one is the one activated last."""

    __tablename__ = "calibrations"

    version: Mapped[str] = mapped_column(String(100), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the measurements it was fitted on."""
    created_at: Mapped[datetime]
    activated_at: Mapped[datetime | None] = mapped_column(index=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    """What the engine's ``Forecaster.load`` reads: coefficients, evidence, accuracy as reported when it was fitted."""
