"""The table of saved estimates."""

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base


class EstimateRow(Base):
    """One estimate that its caller asked to keep: what was asked and what was answered, word for word."""

    __tablename__ = "estimates"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
    team: Mapped[str | None] = mapped_column(String(200), index=True)
    """Id of the team whose key saved it, which alone sees it; none: everybody who knows the id does."""
    calibration: Mapped[str] = mapped_column(String(100))
    """Version of the calibration that answered."""
    request: Mapped[dict[str, Any]]
    answer: Mapped[dict[str, Any]]
