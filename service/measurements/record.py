"""What the service itself says of a measurement, as columns of a complete export: id, status, team, times.

`export` writes them and an administrator's `import --restore` reads them, so that a round trip loses nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, StringConstraints, TypeAdapter

from service.codec import RECORD, Adapters
from service.measurements.tables import MeasurementRow

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")]
Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Text = Annotated[str, StringConstraints(max_length=20_000)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,64}$")]

TYPES: dict[str, Any] = {
    "id": Identifier,
    "status": Literal["accepted", "quarantined", "rejected", "withdrawn"],
    "status_reason": Text,
    "team_id": Identifier,
    "team": Short,
    "key_id": Identifier,
    "site": Short,
    "shipped": bool,
    "submitted_at": AwareDatetime,
    "duplicate_key": Digest,
    "forecast_error_log": float,
    "forecast_covered": bool,
    "deviation_log": float,
    "agreement_key": Digest,
}
COLUMNS: tuple[str, ...] = tuple(f"{RECORD}.{name}" for name in TYPES)
ADAPTERS: Adapters = {f"{RECORD}.{name}": TypeAdapter(kind).validate_python for name, kind in TYPES.items()}
REQUIRED = ("id", "status", "submitted_at")


@dataclass(frozen=True, slots=True)
class Record:
    """A row as it was exported: what it says, and what the service says of it (by column)."""

    fields: dict[str, object]
    about: dict[str, Any]


def exported(row: MeasurementRow, teams: Mapping[str, str]) -> dict[str, object]:
    """A row's fields and what the service says of it, by dotted name; `teams` are names by id."""
    said: dict[str, object] = dict(row.fields)
    for name in TYPES:
        value = teams.get(row.team_id or "") if name == "team" else getattr(row, name)
        if value is not None:
            said[f"{RECORD}.{name}"] = value.isoformat() if isinstance(value, datetime) else value
    return said


def restored(values: Mapping[str, object]) -> Record:
    """The row that exported values are of.

    Raises:
        ValueError: What a record must say is missing.
    """
    start = len(RECORD) + 1
    about = {name[start:]: value for name, value in values.items() if name in ADAPTERS}
    missing = [name for name in REQUIRED if about.get(name) is None]
    if missing:
        raise ValueError(f"{RECORD}.{missing[0]} is required to restore a row: export with --complete")
    if (about.get("team_id") is None) != (about.get("team") is None):
        raise ValueError(f"{RECORD}.team_id and {RECORD}.team belong together")
    return Record({name: value for name, value in values.items() if name not in ADAPTERS}, about)
