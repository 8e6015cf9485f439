"""Tables of measurements and of where they come from."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base, RowNumber

STATUSES = ("accepted", "quarantined", "withdrawn")
"""A measurement is used (accepted), kept but not used (quarantined), or taken back (withdrawn); none is ever erased."""

VISIBILITIES = ("shared", "team")
"""Who sees a measurement: everybody, or the team that submitted it."""


class SourceRow(Base):
    """Where measurements come from: a publication, a benchmark, or a team."""

    __tablename__ = "sources"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    title: Mapped[str]
    publisher: Mapped[str | None]
    reference: Mapped[str | None]
    commit: Mapped[str | None]
    date: Mapped[str | None]
    licence: Mapped[str | None]
    lineage: Mapped[str]
    """Editions of one benchmark share it; held-out accuracy leaves a whole lineage out."""


class MeasurementRow(Base):
    """One measured training speed.

    ``fields`` holds every stated field under its dotted name, so that nothing a row said is lost; the typed columns
    repeat those that are filtered on most.
    """

    __tablename__ = "measurements"
    __table_args__ = (
        CheckConstraint(f"status IN {STATUSES}", name="status"),
        CheckConstraint(f"visibility IN {VISIBILITIES}", name="visibility"),
        Index("ix_measurements_model_name_accelerator", "model_name", "accelerator"),
    )

    number: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    """Order of arrival; lists are paged by it."""
    id: Mapped[str] = mapped_column(String(40), unique=True)
    source: Mapped[str] = mapped_column(ForeignKey("sources.name"), index=True)
    status: Mapped[str] = mapped_column(String(20), index=True)
    status_reason: Mapped[str | None]
    visibility: Mapped[str] = mapped_column(String(20))
    team: Mapped[str | None] = mapped_column(String(200), index=True)
    """Who submitted it; none for what ships."""
    shipped: Mapped[bool]
    """Whether the row came with the service, so that a newer release may take it back."""
    created_at: Mapped[datetime]
    estimate_id: Mapped[str | None] = mapped_column(ForeignKey("estimates.id", ondelete="SET NULL"), index=True)

    evidence: Mapped[str | None] = mapped_column(String(40))
    measured_on: Mapped[str | None] = mapped_column(String(40))
    model_name: Mapped[str | None] = mapped_column(String(300))
    model_family: Mapped[str | None] = mapped_column(String(40), index=True)
    model_parameters: Mapped[float | None]
    accelerator: Mapped[str] = mapped_column(String(200), index=True)
    accelerator_count: Mapped[float | None]
    mode: Mapped[str | None] = mapped_column(String(40))
    precision: Mapped[str | None] = mapped_column(String(40))
    framework: Mapped[str | None] = mapped_column(String(200))
    unit: Mapped[str | None] = mapped_column(String(60))
    value: Mapped[float | None]

    fields: Mapped[dict[str, Any]]


class SeedRow(Base):
    """What shipped data this database holds: one row a kind, by its fingerprint."""

    __tablename__ = "seeds"

    kind: Mapped[str] = mapped_column(String(40), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    seeded_at: Mapped[datetime]
