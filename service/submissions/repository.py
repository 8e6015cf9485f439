"""Queries that store and change measurements; those that read them are in ``measurements``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

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
        for start in range(0, len(keys), MOST_PARAMETERS):
            query = select(MeasurementRow.duplicate_key, MeasurementRow.id, MeasurementRow.visibility).where(
                MeasurementRow.team_id == team_id,
                MeasurementRow.duplicate_key.in_(keys[start : start + MOST_PARAMETERS]),
            )
            found |= {str(key): Held(*held) for key, *held in await self.session.execute(query)}
        return found

    async def put(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Stores rows as they were exported, in place of those of the same ids."""
        ids = [row["id"] for row in rows]
        for start in range(0, len(ids), MOST_PARAMETERS):
            chunk = ids[start : start + MOST_PARAMETERS]
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

    async def agreeing(self, ids: Sequence[str], within: float) -> list[str]:
        """Quarantined ones among these measurements and those that they vouch for: shared rows of the same kind of run,
        of different teams, whose deviations from the forecast are no farther apart than that (natural log)."""
        found: dict[str, None] = {}
        for start in range(0, len(ids), MOST_PARAMETERS):
            chunk = ids[start : start + MOST_PARAMETERS]
            contested = await self._contested(chunk)
            if not contested:
                continue
            new, other = aliased(MeasurementRow), aliased(MeasurementRow)
            asked = (
                new.id.in_(chunk),
                new.agreement_key.in_(contested),
                new.status == "quarantined",
                new.visibility == "shared",
            )
            agree = (
                other.agreement_key == new.agreement_key,
                other.deviation_log.between(new.deviation_log - within, new.deviation_log + within),
                other.team_id != new.team_id,
                other.visibility == "shared",
            )
            # One that agrees is enough: all pairs of two teams' thousands of runs of a kind would be millions.
            witnessed = exists().where(*agree, other.status.in_(("quarantined", "accepted")))
            confirmed = select(new.id).where(*asked, witnessed.correlate(new))
            vouched = select(other.id).where(
                other.agreement_key.in_(contested),
                other.status == "quarantined",
                exists().where(*asked, *agree).correlate(other),
            )
            for query in (confirmed, vouched):
                found |= dict.fromkeys(await self.session.scalars(query))
        return list(found)

    async def _contested(self, ids: Sequence[str]) -> list[str]:
        """Kinds of run of these measurements that more than one team has shared rows of."""
        kinds = select(MeasurementRow.agreement_key).where(
            MeasurementRow.id.in_(ids), MeasurementRow.status == "quarantined"
        )
        query = (
            select(MeasurementRow.agreement_key)
            .where(MeasurementRow.agreement_key.in_(kinds), MeasurementRow.visibility == "shared")
            .group_by(MeasurementRow.agreement_key)
            .having(func.count(MeasurementRow.team_id.distinct()) > 1)
        )
        return [str(key) for key in await self.session.scalars(query)]

    async def accept(self, ids: Sequence[str], reason: str) -> None:
        """Accepts quarantined rows."""
        for start in range(0, len(ids), MOST_PARAMETERS):
            await self.session.execute(
                update(MeasurementRow)
                .where(
                    MeasurementRow.id.in_(ids[start : start + MOST_PARAMETERS]), MeasurementRow.status == "quarantined"
                )
                .values(status="accepted", status_reason=reason)
                .execution_options(synchronize_session=False)
            )

    async def estimates(self, estimate_ids: Iterable[str], team_id: str) -> list[EstimateRow]:
        """Saved estimates of those ids: those that the team saved, and those saved without a key."""
        wanted = sorted(set(estimate_ids))
        found: list[EstimateRow] = []
        for start in range(0, len(wanted), MOST_PARAMETERS):
            query = select(EstimateRow).where(
                EstimateRow.id.in_(wanted[start : start + MOST_PARAMETERS]),
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
