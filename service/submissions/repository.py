"""Queries that store and change measurements; those that read them are in ``measurements``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.database import insert_or_pass
from service.estimates.tables import EstimateRow
from service.measurements.tables import MeasurementRow, SourceRow
from service.teams.tables import FirstAnswerRow

MOST_PARAMETERS = 500
"""Values of one IN list."""
INSERTED_AT_ONCE = 1024
"""Rows of one statement: other requests wait while they are made ready."""


@dataclass(frozen=True, slots=True)
class Held:
    """A stored row, as far as one that says the same must know: its id and who sees it."""

    id: str
    visibility: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A quarantined or accepted row as independent teams see each other's."""

    id: str
    team_id: str
    status: str
    agreement_key: str
    deviation_log: float


class SubmissionRepository:
    """Measurements being stored and changed, in one session; the session's owner commits."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def store(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Held]:
        """Stores rows of one team, but for those it has submitted before, also if another replica does so right now.

        Args:
            rows: columns of each row; no two of them have the same ``duplicate_key``.

        Returns: what each ``duplicate_key`` is stored as, the row's own or the first one's.
        """
        insertion = insert_or_pass(self.session, MeasurementRow)
        # Past the mapper, which takes as long as the database does.
        connection = await self.session.connection()
        stored = 0
        for start in range(0, len(rows), INSERTED_AT_ONCE):
            some = list(rows[start : start + INSERTED_AT_ONCE])
            stored += (
                await connection.execute(insertion, some, execution_options={"preserve_rowcount": True})
            ).rowcount
        if stored == len(rows):
            return {row["duplicate_key"]: Held(row["id"], row["visibility"]) for row in rows}
        return await self.held(str(rows[0]["team_id"]), [row["duplicate_key"] for row in rows])

    async def held(self, team_id: str, keys: Sequence[str]) -> dict[str, Held]:
        """A team's rows by duplicate key."""
        found: dict[str, Held] = {}
        for some in _parts(keys):
            query = select(MeasurementRow.duplicate_key, MeasurementRow.id, MeasurementRow.visibility).where(
                MeasurementRow.team_id == team_id,
                MeasurementRow.duplicate_key.in_(some),
            )
            found |= {str(key): Held(*held) for key, *held in await self.session.execute(query)}
        return found

    async def put(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Stores rows as they were exported, in place of those of the same ids."""
        ids = [row["id"] for row in rows]
        for chunk in _parts(ids):
            await self.session.execute(
                delete(MeasurementRow).where(MeasurementRow.id.in_(chunk)).execution_options(synchronize_session=False)
            )
        if rows:
            await self.session.execute(insert(MeasurementRow), list(rows), execution_options={"render_nulls": True})

    async def name_sources(self, names: Iterable[str]) -> None:
        """Lists sources that shared rows name and nobody has described yet."""
        rows = [{"name": name, "title": name, "lineage": name} for name in sorted(set(names))]
        if rows:
            await self.session.execute(insert_or_pass(self.session, SourceRow), rows)

    async def lock(self, measurement_id: str) -> MeasurementRow | None:
        """The row, so that nobody else changes it before this transaction ends; None if there is none."""
        query = select(MeasurementRow).where(MeasurementRow.id == measurement_id).with_for_update()
        return (await self.session.scalars(query)).one_or_none()

    async def erase(self, row: MeasurementRow) -> None:
        """Erases a row, and stored answers that repeat it."""
        await self.session.execute(
            delete(FirstAnswerRow).where(
                FirstAnswerRow.team_id == row.team_id, FirstAnswerRow.location == f"/v1/measurements/{row.id}"
            )
        )
        await self.session.delete(row)
        await self.session.flush()

    async def claims(self, ids: Sequence[str], within: float) -> list[Claim]:
        """These quarantined measurements and what may confirm them or be confirmed by them, by kind, then by deviation.

        Args:
            ids: new measurements.
            within: how far beyond the deviations of theirs from the forecast others are looked for, natural log.

        Returns:
            Shared rows, quarantined or accepted, of the kinds of run that more than one team has.
        """
        row = MeasurementRow
        shared = (
            row.visibility == "shared",
            row.status.in_(("quarantined", "accepted")),
            row.team_id.is_not(None),
            row.deviation_log.is_not(None),
        )
        spans: dict[str, list[float]] = {}
        for some in _parts(ids):
            least, most = func.min(row.deviation_log).label("least"), func.max(row.deviation_log).label("most")
            query = select(row.agreement_key, least, most)
            asked = (row.id.in_(some), row.status == "quarantined", row.agreement_key.is_not(None))
            for one in await self.session.execute(query.where(*asked, *shared).group_by(row.agreement_key)):
                of_kind = spans.setdefault(one._mapping["agreement_key"], [])
                of_kind += (one._mapping["least"], one._mapping["most"])
        claims: list[Claim] = []
        for kind in sorted(await self._of_several_teams(list(spans), shared)):
            near = row.deviation_log.between(min(spans[kind]) - within, max(spans[kind]) + within)
            columns = select(row.id, row.team_id, row.status, row.agreement_key, row.deviation_log)
            found = await self.session.execute(
                columns.where(row.agreement_key == kind, near, *shared).order_by(row.deviation_log)
            )
            claims += [Claim(**one._mapping) for one in found]
        return claims

    async def beside(self, row: MeasurementRow, within: float, agreed: str) -> tuple[list[Claim], list[str]]:
        """What is of the same kind of run as a shared row, but for the row itself, by deviation; and the ids of those
        that were accepted for the reason `agreed`, which are given as quarantined.

        Args:
            row: a measurement with a deviation from the forecast.
            within: how far from its deviation others are looked for, natural log.
            agreed: the reason that agreement gives.
        """
        other, deviation = MeasurementRow, float(row.deviation_log or 0.0)
        columns = select(other.id, other.team_id, other.status, other.status_reason, other.deviation_log)
        found = await self.session.execute(
            columns.where(
                other.agreement_key == row.agreement_key,
                other.deviation_log.between(deviation - within, deviation + within),
                other.visibility == "shared",
                other.status.in_(("quarantined", "accepted")),
                other.team_id.is_not(None),
                other.id != row.id,
            ).order_by(other.deviation_log)
        )
        claims: list[Claim] = []
        lifted: list[str] = []
        for one in found:
            status = one.status
            if status == "accepted" and one.status_reason == agreed:
                lifted.append(one.id)
                status = "quarantined"
            claims.append(Claim(one.id, one.team_id, status, str(row.agreement_key), one.deviation_log))
        return claims, lifted

    async def _of_several_teams(self, kinds: Sequence[str], conditions: Iterable[ColumnElement[bool]]) -> list[str]:
        """Those of the kinds of run that rows of more than one team pass the conditions for."""
        kind, team = MeasurementRow.agreement_key, MeasurementRow.team_id
        found: list[str] = []
        for some in _parts(kinds):
            query = select(kind).where(kind.in_(some), *conditions).group_by(kind)
            found += [str(one) for one in await self.session.scalars(query.having(func.min(team) < func.max(team)))]
        return found

    async def accept(self, ids: Sequence[str], reason: str) -> None:
        """Accepts quarantined rows."""
        await self._move(ids, "quarantined", "accepted", reason)

    async def quarantine(self, ids: Sequence[str], reason: str) -> None:
        """Quarantines accepted rows."""
        await self._move(ids, "accepted", "quarantined", reason)

    async def _move(self, ids: Sequence[str], before: str, after: str, reason: str) -> None:
        """Gives the rows that have one status another."""
        for some in _parts(ids):
            await self.session.execute(
                update(MeasurementRow)
                .where(MeasurementRow.id.in_(some), MeasurementRow.status == before)
                .values(status=after, status_reason=reason)
                .execution_options(synchronize_session=False)
            )

    async def estimates(self, estimate_ids: Iterable[str], team_id: str) -> list[EstimateRow]:
        """Saved estimates of those ids: those that the team saved, and those saved without a key."""
        wanted = sorted(set(estimate_ids))
        found: list[EstimateRow] = []
        for some in _parts(wanted):
            query = select(EstimateRow).where(
                EstimateRow.id.in_(some),
                or_(EstimateRow.team.is_(None), EstimateRow.team == team_id),
            )
            found += await self.session.scalars(query)
        return found


class FirstAnswerRepository:
    """First answers by idempotency key, in one session; the session's owner commits."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def get(self, team_id: str, key: str) -> FirstAnswerRow | None:
        """What the first request with that key was answered, or None if there was none."""
        return await self.session.get(FirstAnswerRow, (team_id, key))

    async def add(self, row: Mapping[str, Any]) -> bool:
        """Remembers an answer; False if a request with the same key was answered meanwhile."""
        made = {**row, "created_at": datetime.now(UTC)}
        statement = insert_or_pass(self.session, FirstAnswerRow).values(made).returning(FirstAnswerRow.idempotency_key)
        return (await self.session.execute(statement)).one_or_none() is not None

    async def forget(self, before: timedelta) -> None:
        """Forgets answers that are older than that."""
        await self.session.execute(delete(FirstAnswerRow).where(FirstAnswerRow.created_at < datetime.now(UTC) - before))


def _parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """The values, so many at once as a statement has parameters for."""
    for start in range(0, len(values), MOST_PARAMETERS):
        yield values[start : start + MOST_PARAMETERS]
