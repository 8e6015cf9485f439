"""Queries on calibrations, and on the measurements that they are fitted on and judged by."""

import gzip
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Subquery, and_, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.calibrations.tables import CalibrationRow
from service.cursors import BadCursorError, decode_cursor, encode_cursor
from service.engine.calibration import MOST_ROWS
from service.measurements.tables import MeasurementRow

TRACK_RECORD_ROWS = 1_000
"""Forecasts of each team, the latest ones, that the track record is of."""

MOST_SUBMITTED = 10_000
"""Submitted measurements that a fit reads at most. Judgement: together they count as ten rows, whatever their number
(`engine.trust.MOST_SAY`); what they are besides is evidence to point at, beside some 25,000 that ship."""

UNFINISHED = ("queued", "running")


@dataclass(frozen=True)
class FittedRow:
    """A measurement that a fit uses: its id, what it says, and who submitted it from which site (None: it ships)."""

    id: str
    fields: dict[str, Any]
    team_id: str | None
    site: str | None


@dataclass(frozen=True)
class Outcome:
    """How one of a team's forecasts fared: ln(predicted / measured time), and whether its interval held it (None: not
    known)."""

    team_id: str
    error_log: float
    covered: bool | None


class CalibrationRepository:
    """Calibrations in one session; the session's owner commits. Rows come without content and ids: ask for those."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def current_version(self) -> str | None:
        """The calibration activated last, or None if there is none yet."""
        return await self._current()

    async def in_use_and_waiting(self) -> tuple[datetime | None, dict[str, int]]:
        """When the current calibration was put in use, and how many fits wait and run."""
        counted = select(CalibrationRow.status, func.count()).where(CalibrationRow.status.in_(UNFINISHED))
        found = await self.session.execute(counted.group_by(CalibrationRow.status))
        counts: dict[str, int] = dict(found.all())
        activated = (await self.session.scalars(select(func.max(CalibrationRow.activated_at)))).one()
        return activated, {status: counts.get(status, 0) for status in UNFINISHED}

    async def get(self, version: str) -> CalibrationRow | None:
        """The calibration of that version, or None."""
        return await self.session.get(CalibrationRow, version)

    async def current_content(self) -> bytes | None:
        """What ``Forecaster.load`` reads of the current calibration, or None if there is none."""
        version = await self.current_version()
        return None if version is None else await self.content(version)

    async def content(self, version: str) -> bytes | None:
        """What ``Forecaster.load`` reads; None if there is no such calibration, or it is not fitted."""
        query = select(CalibrationRow.content).where(CalibrationRow.version == version)
        return (await self.session.scalars(query)).one_or_none()

    async def measurement_ids(self, version: str) -> list[str]:
        """Ids of the measurements that the calibration was fitted on, in canonical order; none of one that shipped."""
        query = select(CalibrationRow.measurement_ids).where(CalibrationRow.version == version)
        packed = (await self.session.scalars(query)).one_or_none()
        return gzip.decompress(packed).decode().splitlines() if packed else []

    async def page(self, *, limit: int, cursor: str | None = None) -> tuple[Sequence[CalibrationRow], str | None]:
        """The next calibrations, newest first, and the cursor of those after them.

        Raises:
            BadCursorError: if the cursor is not one of ours.
        """
        query = select(CalibrationRow).order_by(CalibrationRow.created_at.desc(), CalibrationRow.version.desc())
        if cursor is not None:
            time, version = _position(cursor)
            same_time = and_(CalibrationRow.created_at == time, CalibrationRow.version < version)
            query = query.where(or_(CalibrationRow.created_at < time, same_time))
        rows = (await self.session.scalars(query.limit(limit + 1))).all()
        last = rows[limit - 1] if len(rows) > limit else None
        following = encode_cursor(f"{last.created_at.isoformat()} {last.version}") if last else None
        return rows[:limit], following

    async def put(self, version: str, content: bytes, *, fingerprint: str, at: datetime) -> None:
        """Stores a calibration that was fitted elsewhere, and makes it the current one.

        Args:
            version: its name; one of the same version is replaced.
            content: what the engine's ``Forecaster.load`` reads.
            fingerprint: SHA-256 of the measurements it was fitted on.
            at: when it becomes the current one.
        """
        about = {"trigger": "shipped", "status": "succeeded", "stage": "done", "progress": 1.0, "attempts": 0}
        row = CalibrationRow(
            version=version,
            digest=version,
            fingerprint=fingerprint,
            created_at=at,
            activated_at=at,
            forced=False,
            content=content,
            **about,
        )
        await self.session.merge(row)
        await self.session.flush()

    async def request(self, *, trigger: str, forced: bool, team_id: str | None) -> CalibrationRow:
        """Queues a fit, or returns the one that already waits: it will see the same measurements."""
        # A write first: a SQLite transaction that has read may find that it cannot write any more.
        queued = CalibrationRow.status == "queued"
        either = CalibrationRow.forced if not forced else true()
        await self.session.execute(update(CalibrationRow).where(queued).values(forced=either))
        waiting = await self._oldest(queued)
        if waiting is not None:
            return waiting
        now = datetime.now(UTC)
        row = CalibrationRow(
            # Versions sort by time; the rest keeps those of one second apart.
            version=f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}",
            status="queued",
            trigger=trigger,
            team_id=team_id,
            forced=forced,
            stage="waiting",
            progress=0.0,
            attempts=0,
            created_at=now,
        )
        self.session.add(row)
        await self.session.flush()
        return row

    async def is_unfinished(self) -> bool:
        """Whether a fit waits or runs."""
        query = select(CalibrationRow.version).where(CalibrationRow.status.in_(UNFINISHED)).limit(1)
        return (await self.session.scalars(query)).first() is not None

    async def next_unfinished(self) -> CalibrationRow | None:
        """The fit to do: one whose process died before those that wait, then the one that waits longest."""
        running = await self._oldest(CalibrationRow.status == "running")
        return running or await self._oldest(CalibrationRow.status == "queued")

    async def update(self, version: str, **values: Any) -> None:
        """Changes columns of a calibration."""
        await self.session.execute(update(CalibrationRow).where(CalibrationRow.version == version).values(**values))

    async def fail(self, version: str, error: str) -> None:
        """Says that a calibration could not be fitted, and why."""
        await self.update(version, status="failed", stage="failed", finished_at=datetime.now(UTC), error=error)

    async def activate(self, version: str) -> tuple[CalibrationRow, str | None]:
        """Makes a fitted calibration the current one; gives it, and which one was current before."""
        await self.update(version, activated_at=datetime.now(UTC))
        row = await self.session.get_one(CalibrationRow, version, populate_existing=True)
        return row, await self._current(CalibrationRow.version != version)

    async def submitted_rows_of_newest(self) -> int:
        """Submitted measurements that the newest calibration was fitted on, be it in use or not; 0 if it shipped."""
        query = (
            select(CalibrationRow.submitted_rows)
            .order_by(CalibrationRow.created_at.desc(), CalibrationRow.version.desc())
            .limit(1)
        )
        return (await self.session.scalars(query)).first() or 0

    async def _current(self, *conditions: ColumnElement[bool]) -> str | None:
        query = (
            select(CalibrationRow.version)
            .where(CalibrationRow.activated_at.is_not(None), *conditions)
            .order_by(CalibrationRow.activated_at.desc(), CalibrationRow.version.desc())
            .limit(1)
        )
        return (await self.session.scalars(query)).one_or_none()

    async def _oldest(self, condition: ColumnElement[bool]) -> CalibrationRow | None:
        query = select(CalibrationRow).where(condition).order_by(CalibrationRow.created_at, CalibrationRow.version)
        return (await self.session.scalars(query.limit(1))).one_or_none()


class FittedRowRepository:
    """The measurements that calibrations are fitted on: what ships and of what teams share, accepted, a sample."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def all(self, *, most: int = MOST_SUBMITTED, most_of_team: int = MOST_ROWS) -> list[FittedRow]:
        """Those measurements in canonical order, that of their ids: it is the same in every copy of the database.

        Args:
            most: submitted ones at most.
            most_of_team: those of one team at most.
        """
        columns = (MeasurementRow.id, MeasurementRow.fields, MeasurementRow.team_id, MeasurementRow.site)
        sample = self._sample(most, most_of_team)
        shipped = select(*columns).where(*_FITTED, MeasurementRow.team_id.is_(None))
        submitted = select(*columns).join(sample, sample.c.id == MeasurementRow.id)
        rows = [FittedRow(*row) for query in (shipped, submitted) for row in await self.session.execute(query)]
        # Sorted here, for databases order text by their locale.
        return sorted(rows, key=lambda row: row.id)

    @staticmethod
    def _sample(most: int, most_of_team: int) -> Subquery:
        """Ids of submitted measurements: of every team in turn one, of every kind of its runs in turn, until there are
        enough. Which of a kind comes first is chance, and lasting: ids are random and stay."""
        row = MeasurementRow
        of_kind = func.row_number().over(partition_by=(row.team_id, row.agreement_key), order_by=row.id)
        kinds = select(row.id, row.team_id, of_kind.label("turn")).where(*_FITTED, row.team_id.is_not(None)).subquery()
        of_team = func.row_number().over(partition_by=kinds.c.team_id, order_by=(kinds.c.turn, kinds.c.id))
        teams = select(kinds.c.id, of_team.label("turn")).subquery()
        chosen = select(teams.c.id).where(teams.c.turn <= most_of_team).order_by(teams.c.turn, teams.c.id)
        return chosen.limit(most).subquery()

    async def submitted(self) -> int:
        """How many shared, accepted measurements teams submitted."""
        query = select(func.count()).where(*_FITTED, MeasurementRow.team_id.is_not(None))
        return (await self.session.scalars(query)).one()


class TrackRecordRepository:
    """How the service's own forecasts fared, by the measurements that name the estimate they were predicted by."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def outcomes(self, team_id: str | None) -> list[Outcome]:
        """How the latest `TRACK_RECORD_ROWS` forecasts of each team fared.

        Those of shared measurements, and of the team's own. Quarantined ones are counted: they are the ones that the
        forecast missed; rejected and withdrawn ones are not.
        """
        seen = MeasurementRow.visibility == "shared"
        age = func.row_number().over(partition_by=MeasurementRow.team_id, order_by=MeasurementRow.sequence.desc())
        latest = (
            select(
                MeasurementRow.team_id,
                MeasurementRow.forecast_error_log,
                MeasurementRow.forecast_covered,
                age.label("age"),
            )
            .where(
                MeasurementRow.forecast_error_log.is_not(None),
                MeasurementRow.team_id.is_not(None),
                MeasurementRow.status.in_(("accepted", "quarantined")),
                seen if team_id is None else or_(seen, MeasurementRow.team_id == team_id),
            )
            .subquery()
        )
        query = select(latest.c.team_id, latest.c.forecast_error_log, latest.c.forecast_covered)
        found = await self.session.execute(query.where(latest.c.age <= TRACK_RECORD_ROWS))
        return [Outcome(*row) for row in found]


_FITTED = (MeasurementRow.status == "accepted", MeasurementRow.visibility == "shared")


def pack_ids(ids: Sequence[str]) -> bytes:
    """Ids as they are stored with a calibration."""
    return gzip.compress("\n".join(ids).encode(), mtime=0)


def _position(cursor: str) -> tuple[datetime, str]:
    text, _, version = decode_cursor(cursor).partition(" ")
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadCursorError(cursor) from error
    if time.tzinfo is None:
        raise BadCursorError(cursor)
    return time, version
