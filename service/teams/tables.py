"""Tables of teams, their keys, their first answers by idempotency key, and the audit."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base, RowNumber


class TeamRow(Base):
    """A team: whose rows, keys and predictions belong together."""

    __tablename__ = "teams"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    created_at: Mapped[datetime]


class KeyRow(Base):
    """An API key. Of its secret only the hash is kept; revoked keys stay, so that the audit can name them."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"), index=True)
    prefix: Mapped[str] = mapped_column(String(40), unique=True)
    """The public part of the key: finds its row, opens nothing."""
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 of the whole key; its 256 random bits make a slow hash needless."""
    scopes: Mapped[str] = mapped_column(String(200))
    """What it allows, names separated by a space."""
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    """To within a minute."""
    revoked_at: Mapped[datetime | None]


class FirstAnswerRow(Base):
    """What the first request with an `Idempotency-Key` was answered, so that a retry is answered the same."""

    __tablename__ = "first_answers"

    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(String(200), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the request: method, path, query, content type and body."""
    created_at: Mapped[datetime] = mapped_column(index=True)
    status: Mapped[int]
    location: Mapped[str | None] = mapped_column(String(200))
    answer: Mapped[dict[str, Any]]


class AuditRow(Base):
    """Who did what, to what, and when; rows are only ever added."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_subject_number", "subject", "number"),)

    number: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(index=True)
    team_id: Mapped[str | None] = mapped_column(String(40), index=True)
    """Whose key acted; none for the command line on the database itself."""
    key_id: Mapped[str | None] = mapped_column(String(40))
    action: Mapped[str] = mapped_column(String(60))
    """`measurement.submit`, `measurement.withdraw`, `key.create`, `calibration.activate`, ..."""
    subject: Mapped[str] = mapped_column(String(100))
    """Id of what was acted on."""
    detail: Mapped[dict[str, Any] | None]
