"""Tables of measurements and of where they come from."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base, RowNumber

STATUSES = ("accepted", "quarantined", "rejected", "withdrawn")
"""A measurement is used (accepted), kept out of the shared fit until somebody vouches for it (quarantined), refused by
a curator (rejected), or taken back by its team (withdrawn); none is erased but by a purge."""

VISIBILITIES = ("shared", "team")
"""Who sees a measurement: everybody, or the team that submitted it."""

LISTED_BY = (
    ("source",),
    ("model_name", "accelerator"),
    ("model_name",),
    ("accelerator",),
    ("model_family",),
    ("status",),
)
"""Columns by one value each of which an index gives rows in order of arrival; those that leave fewest come first."""


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
        # Lists are in order of arrival: an index that has it too, and who sees a row, gives a page without looking at
        # what is not on it, be it another team's or filtered out.
        *(
            Index("_".join(("ix_measurements", *columns, "seen_by_sequence")), *columns, "seen_by", "sequence")
            for columns in ((), *LISTED_BY)
        ),
        Index("ix_measurements_team_id_sequence", "team_id", "sequence"),
        Index("ix_measurements_agreement_key_deviation_log", "agreement_key", "deviation_log"),
        Index("ix_measurements_team_id_site_sequence", "team_id", "site", "sequence", "status"),
        Index(
            "ix_measurements_shipped",
            "source",
            "sequence",
            sqlite_where=text("shipped = 1"),
            postgresql_where=text("shipped"),
        ),
        Index(
            "ix_measurements_forecast",
            "status",
            "team_id",
            "sequence",
            sqlite_where=text("forecast_error_log IS NOT NULL"),
            postgresql_where=text("forecast_error_log IS NOT NULL"),
        ),
        UniqueConstraint("team_id", "duplicate_key", name="uq_measurements_team_id_duplicate_key"),
    )

    sequence: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    """Order of arrival; lists are paged by it, and what is newer than a mark lies above it. PostgreSQL gives numbers
    before it commits, so that a row may appear below a mark that was just read: compare counts too."""
    id: Mapped[str] = mapped_column(String(40), unique=True)
    source: Mapped[str | None] = mapped_column(String(200))
    """`provenance.source`; one of `sources` for what ships, free text of a team's own else."""
    status: Mapped[str] = mapped_column(String(20))
    status_reason: Mapped[str | None]
    visibility: Mapped[str] = mapped_column(String(20))
    team_id: Mapped[str | None] = mapped_column(ForeignKey("teams.id"))
    """Who submitted it, from the key; none for what ships."""
    seen_by: Mapped[str | None] = mapped_column(
        String(40), Computed("CASE WHEN visibility = 'shared' THEN '' ELSE team_id END", persisted=True)
    )
    """The one team that sees it; empty for what everybody sees. The database's own, so that it is never at odds with
    the columns it is made of."""
    key_id: Mapped[str | None] = mapped_column(String(40))
    """The key that it was submitted with."""
    site: Mapped[str | None] = mapped_column(String(200))
    """Where it ran, a name within the team; the team's own name unless the row says otherwise."""
    shipped: Mapped[bool]
    """Whether the row came with the service, so that a newer release may take it back."""
    submitted_at: Mapped[datetime]
    duplicate_key: Mapped[str | None] = mapped_column(String(64))
    """Digest of configuration, result and source: a team submits it once. None for what ships and what was withdrawn,
    so that a withdrawn row may be submitted anew."""
    estimate_id: Mapped[str | None] = mapped_column(String(40), index=True)
    """The saved estimate that the run was predicted by. No foreign key, for a restored row may outlive it."""
    forecast_error_log: Mapped[float | None]
    """ln(predicted / measured time) of the estimate that it names; None if it names none."""
    forecast_covered: Mapped[bool | None]
    """Whether the measured time lay in that estimate's 80 % interval."""
    deviation_log: Mapped[float | None]
    """ln(predicted / measured time) of the shared forecast when it was submitted; None where it could not be told."""
    agreement_key: Mapped[str | None] = mapped_column(String(64))
    """Digest of model, chip, mode, precision and framework: rows of independent teams that share it may agree."""

    evidence: Mapped[str | None] = mapped_column(String(40))
    measured_on: Mapped[str | None] = mapped_column(String(40))
    model_name: Mapped[str | None] = mapped_column(String(300))
    model_family: Mapped[str | None] = mapped_column(String(40))
    model_parameters: Mapped[float | None]
    accelerator: Mapped[str] = mapped_column(String(200))
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
