"""Imports: rows of a body spooled to disk, vetted and stored chunk by chunk, in memory that does not grow.

The body is read to its end before a connection to the database is taken, so that a slow client holds up nobody.
"""

from __future__ import annotations

import asyncio
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import IO

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.concurrency import run_in_threadpool

from service.catalog.catalog import Catalog
from service.codec import Row
from service.configuration import FIELDS
from service.database import Database
from service.engine.forecast import Forecaster
from service.engine.plausibility import Judge
from service.metrics import Metrics
from service.problems import FieldError, Unprocessable
from service.submissions.idempotency import Idempotency
from service.submissions.repository import SubmissionRepository
from service.submissions.schemas import ImportedRow, ImportReport, Mode
from service.submissions.service import (
    Stored,
    Submitter,
    duplicate_key,
    prepare,
    reported,
    saved_forecasts,
    store,
)
from service.submissions.spool import Spool
from service.submissions.vetting import Refusal, Verdict, vet
from service.teams.repository import AuditRepository

CHUNK = 8192
"""Rows vetted as one table and stored in one transaction."""
MOST_LISTED = 10_000
"""Rows that a report lists."""
MOST_FAULTS = 100
"""Fields at fault that a refused import names."""

Judged = tuple[int, Verdict | Refusal]
"""The line of a row, and what was made of it."""


@dataclass
class Report:
    """The report of an import as it grows: all rows of a short one, of a long one what was not accepted."""

    mode: Mode
    rows: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    items: list[ImportedRow] = field(default_factory=list)
    is_long: bool = False

    def add(self, item: ImportedRow) -> None:
        """Counts a row, and lists it if there is room."""
        self.rows += 1
        self.counts[item.outcome] = self.counts.get(item.outcome, 0) + 1
        if not self.is_long and len(self.items) == MOST_LISTED:
            self.is_long = True
            self.items = [listed for listed in self.items if listed.outcome != "accepted"]
        if len(self.items) < MOST_LISTED and not (self.is_long and item.outcome == "accepted"):
            self.items.append(item)

    def made(self) -> ImportReport:
        """The report as it is answered."""
        return ImportReport(
            mode=self.mode, rows=self.rows, items=self.items, omitted=self.rows - len(self.items), **self.counts
        )


@dataclass(frozen=True)
class Import:
    """What an import needs besides its rows."""

    database: Database
    catalog: Catalog
    forecaster: Forecaster
    submitter: Submitter
    idempotency: Idempotency
    metrics: Metrics
    most_rows: int

    async def run(self, spool: Spool, mode: Mode) -> ImportReport:
        """Vets and stores the rows of a spooled body.

        Raises:
            TooLarge: There are more rows than one import takes.
            UnsupportedMediaType: The body is of another type than it is said to be.
            Unprocessable: No rows are in the body, or the mode is atomic and one was refused; nothing is stored.
        """
        rows = await run_in_threadpool(spool.rows, self.most_rows)
        if mode == "check":
            return await self._checked(rows)
        return await (self._atomic(rows) if mode == "atomic" else self._best_effort(rows))

    async def _best_effort(self, rows: Iterator[Row]) -> ImportReport:
        report, judge = Report("best_effort"), Judge(self.forecaster)
        coming = asyncio.create_task(self._next_judged(rows, judge))
        # The next rows are vetted while these are stored.
        while judged := await coming:
            coming = asyncio.create_task(self._next_judged(rows, judge))
            try:
                for item in await self._store(judged):
                    report.add(item)
            except BaseException:
                await asyncio.gather(coming, return_exceptions=True)
                raise
        made = report.made()
        async with self.database.writing() as session:
            await self._conclude(session, made)
            await session.commit()
        return made

    async def _atomic(self, rows: Iterator[Row]) -> ImportReport:
        """All rows are vetted before the first is stored; what was vetted waits on disk, not in a transaction."""
        judge, faults, refused = Judge(self.forecaster), list[FieldError](), 0
        with tempfile.TemporaryFile() as vetted:
            while judged := await self._next_judged(rows, judge):
                for line, verdict in judged:
                    if isinstance(verdict, Refusal):
                        refused += 1
                        faults += [_in_row(line, error) for error in verdict.errors]
                faults = faults[:MOST_FAULTS]
                await run_in_threadpool(pickle.dump, judged, vetted)
            if refused:
                raise Unprocessable(f"{refused} rows were refused, so that nothing was stored (mode=atomic).", faults)
            vetted.seek(0)
            report = Report("atomic")
            async with self.database.writing() as session:
                while loaded := await run_in_threadpool(_load, vetted):
                    for item in await self._stored(session, loaded):
                        report.add(item)
                made = report.made()
                await self._conclude(session, made)
                await session.commit()
        return made

    async def _checked(self, rows: Iterator[Row]) -> ImportReport:
        """What would become of each row in the best-effort mode, without a write: neither rows nor an audit entry."""
        report, judge, known = Report("check"), Judge(self.forecaster), dict[str, str | None]()
        while judged := await self._next_judged(rows, judge):
            keys = {line: duplicate_key(made.fields) for line, made in judged if isinstance(made, Verdict)}
            async with self.database.sessions() as session:
                held = await SubmissionRepository(session).held(self.submitter.team_id, list(keys.values()))
            known |= {key: first.id for key, first in held.items()}
            for line, made in judged:
                if isinstance(made, Refusal):
                    report.add(_refused(line, made))
                else:
                    report.add(reported(line, made, known.get(keys[line]), duplicate=keys[line] in known))
                    known.setdefault(keys[line], None)
        return report.made()

    async def _next_judged(self, rows: Iterator[Row], judge: Judge) -> list[Judged]:
        """The next rows, vetted; none at the end."""
        chunk = await run_in_threadpool(_next, rows)
        readable = [row.values for row in chunk if row.values is not None]
        estimates = await saved_forecasts(self.database, readable, self.submitter.team_id)
        verdicts = iter(await run_in_threadpool(vet, readable, self.catalog, judge, estimates))
        return [(row.line, next(verdicts) if row.values is not None else _unreadable(row)) for row in chunk]

    async def _store(self, judged: Sequence[Judged]) -> list[ImportedRow]:
        async with self.database.writing() as session:
            items = await self._stored(session, judged)
            await session.commit()
        return items

    async def _stored(self, session: AsyncSession, judged: Sequence[Judged]) -> list[ImportedRow]:
        good = [(line, verdict) for line, verdict in judged if isinstance(verdict, Verdict)]
        for _, verdict in good:
            self.metrics.submitted(verdict.deviation_log, verdict.forecast_error_log)
        rows = await run_in_threadpool(prepare, [verdict for _, verdict in good], self.submitter)
        places: list[Stored] = await store(session, rows) if rows else []
        items = {
            line: reported(line, verdict, place.id, duplicate=place.duplicate, warning=place.warning)
            for (line, verdict), place in zip(good, places, strict=True)
        }
        items |= {line: _refused(line, verdict) for line, verdict in judged if isinstance(verdict, Refusal)}
        return [items[line] for line, _ in judged]

    async def _conclude(self, session: AsyncSession, report: ImportReport) -> None:
        counts = report.model_dump(include={"mode", "rows", "accepted", "quarantined", "duplicate", "refused"})
        await AuditRepository(session).add(self.submitter.actor, "measurement.import", [self.submitter.team_id], counts)
        await self.idempotency.remember(session, 200, report.model_dump(mode="json", exclude_none=True))


def _next(rows: Iterator[Row]) -> list[Row]:
    return list(islice(rows, CHUNK))


def _load(vetted: IO[bytes]) -> list[Judged]:
    """The next chunk of what this process itself wrote; empty at the end."""
    try:
        judged: list[Judged] = pickle.load(vetted)
    except EOFError:
        return []
    return judged


def _unreadable(row: Row) -> Refusal:
    message = row.error or "cannot be read"
    name, colon, rest = message.partition(": ")
    at_fault = colon and name in FIELDS
    return Refusal((FieldError(field=name if at_fault else "", message=rest if at_fault else message),))


def _refused(line: int, refusal: Refusal) -> ImportedRow:
    return ImportedRow(row=line, outcome="refused", reason=refusal.detail, errors=list(refusal.errors))


def _in_row(line: int, error: FieldError) -> FieldError:
    path = f"rows[{line}]" + (f".{error.field}" if error.field else "")
    return FieldError(field=path, message=error.message, hint=error.hint)
