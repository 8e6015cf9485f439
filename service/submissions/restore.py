"""Restoring a complete export: rows come back as they were, with ids, status, teams and times; nothing is vetted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from starlette.concurrency import run_in_threadpool

from service.codec import Row
from service.database import Database
from service.measurements.record import ADAPTERS, Record, restored
from service.measurements.repository import columns_of
from service.problems import FieldError, Unprocessable
from service.submissions.importing import CHUNK, MOST_FAULTS, Report
from service.submissions.repository import SubmissionRepository
from service.submissions.schemas import ImportedRow, ImportReport
from service.submissions.spool import Spool
from service.submissions.vetting import flaws
from service.teams.repository import Actor, AuditRepository, TeamRepository


async def restore(database: Database, spool: Spool, actor: Actor, most_rows: int) -> ImportReport:
    """Stores rows as they were exported, in place of those of the same ids, all or nothing.

    Raises:
        TooLarge: There are more rows than one import takes.
        UnsupportedMediaType: The body is of another type than it is said to be.
        Unprocessable: A row cannot be read or is no record, or there is none; nothing is stored.
    """
    await run_in_threadpool(_check, spool, most_rows)
    report = Report("atomic")
    teams: dict[str, str] = {}
    rows = await run_in_threadpool(_rows, spool, most_rows)
    async with database.writing() as session:
        while chunk := await run_in_threadpool(lambda: list(islice(rows, CHUNK))):
            records = [restored(row.values or {}) for row in chunk]
            for record in records:
                name, team_id = record.about.get("team"), record.about.get("team_id")
                if name is not None and team_id not in teams:
                    # A team of that name may be here already, under another id.
                    teams[str(team_id)] = (await TeamRepository(session).obtain(name, team_id=team_id)).id
            columns = [_columns(record, teams) for record in records]
            repository = SubmissionRepository(session)
            await repository.put(columns)
            shared = [row for row in columns if row["visibility"] == "shared"]
            await repository.name_sources(row["source"] for row in shared if row["source"])
            for row, record in zip(chunk, records, strict=True):
                report.add(ImportedRow(row=row.line, outcome="restored", id=record.about["id"]))
        await AuditRepository(session).add(actor, "measurement.restore", ["measurements"], {"rows": report.rows})
        await session.commit()
    return report.made()


def _rows(spool: Spool, most_rows: int) -> Iterator[Row]:
    return spool.rows(most_rows, more=ADAPTERS)


def _check(spool: Spool, most_rows: int) -> None:
    """Reads all rows once, so that none is stored if one is broken."""
    faults: list[FieldError] = []
    seen: set[object] = set()
    for row in _rows(spool, most_rows):
        if (message := _fault(row, seen)) is not None:
            faults.append(FieldError(field=f"rows[{row.line}]", message=message))
            if len(faults) == MOST_FAULTS:
                break
    if faults:
        raise Unprocessable(f"{faults[0].field}: {faults[0].message}; nothing was restored.", faults)


def _fault(row: Row, seen: set[object]) -> str | None:
    if row.values is None:
        return row.error or "cannot be read"
    try:
        record = restored(row.values)
    except ValueError as error:
        return str(error)
    if record.about["id"] in seen:
        return f"record.id {record.about['id']} appears twice"
    seen.add(record.about["id"])
    # The estimate that a row names need not have been restored too.
    stated: Sequence[FieldError] = flaws({**record.fields, "estimate_id": None}, {})
    return f"{stated[0].field} {stated[0].message}" if stated else None


def _columns(record: Record, teams: dict[str, str]) -> dict[str, Any]:
    about = {name: value for name, value in record.about.items() if name != "team"}
    about["team_id"] = teams.get(str(about.get("team_id")))
    empty = dict.fromkeys(
        (
            "status_reason",
            "key_id",
            "site",
            "duplicate_key",
            "forecast_error_log",
            "forecast_covered",
            "deviation_log",
            "agreement_key",
        )
    )
    return columns_of(record.fields, **{**empty, "shipped": False, **about})
