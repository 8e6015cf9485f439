"""Queries on teams, keys and the audit."""

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.cursors import BadCursorError, decode_cursor, encode_cursor
from service.database import insert_or_pass
from service.teams.tables import AuditRow, KeyRow, TeamRow


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a team by one of its keys, or nobody named (the command line on the database itself)."""

    team_id: str | None = None
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key as it is kept, with its team's name."""

    row: KeyRow
    team_name: str


class TeamRepository:
    """Teams and keys in one session; the session's owner commits."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def named(self, name: str) -> TeamRow | None:
        """The team of that name, or None."""
        return (await self.session.scalars(select(TeamRow).where(TeamRow.name == name))).one_or_none()

    async def obtain(self, name: str, *, team_id: str | None = None) -> TeamRow:
        """The team of that name, made if there is none; ``team_id`` is the id of one that is made."""
        made = {"id": team_id or f"t_{uuid.uuid4().hex}", "name": name, "created_at": datetime.now(UTC)}
        await self.session.execute(insert_or_pass(self.session, TeamRow).values(made))
        return (await self.session.scalars(select(TeamRow).where(TeamRow.name == name))).one()

    async def names(self, ids: Iterable[str]) -> dict[str, str]:
        """Names of teams by id."""
        query = select(TeamRow.id, TeamRow.name).where(TeamRow.id.in_(sorted(set(ids))))
        return {row.id: row.name for row in await self.session.execute(query)}

    async def key_of_prefix(self, prefix: str) -> HeldKey | None:
        """The key of that public part, or None."""
        query = select(KeyRow, TeamRow.name).join(TeamRow, TeamRow.id == KeyRow.team_id).where(KeyRow.prefix == prefix)
        found = (await self.session.execute(query)).one_or_none()
        return None if found is None else HeldKey(found[0], found[1])

    async def keys(self, team: str | None = None) -> list[HeldKey]:
        """All keys, or those of the team of that name, oldest first."""
        query = select(KeyRow, TeamRow.name).join(TeamRow, TeamRow.id == KeyRow.team_id)
        if team is not None:
            query = query.where(TeamRow.name == team)
        found = await self.session.execute(query.order_by(KeyRow.created_at, KeyRow.id))
        return [HeldKey(row, name) for row, name in found]

    async def key(self, key_id: str) -> KeyRow | None:
        """The key of that id, or None."""
        return await self.session.get(KeyRow, key_id)

    async def touch(self, key_id: str, at: datetime) -> None:
        """Remembers that a key was used."""
        await self.session.execute(update(KeyRow).where(KeyRow.id == key_id).values(last_used_at=at))


class AuditRepository:
    """The audit in one session; the session's owner commits, together with what it tells of."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def add(
        self, actor: Actor, action: str, subjects: Sequence[str], detail: Mapping[str, Any] | None = None
    ) -> None:
        """Records that the actor did this to each subject, now."""
        about = {
            "at": datetime.now(UTC),
            "team_id": actor.team_id,
            "key_id": actor.key_id,
            "action": action,
            "detail": dict(detail) if detail else None,
        }
        if subjects:
            await self.session.execute(insert(AuditRow), [{**about, "subject": subject} for subject in subjects])

    async def page(
        self, *, team_id: str | None, subject: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> tuple[Sequence[AuditRow], str | None]:
        """The next entries, newest first, and the next cursor.

        Args:
            team_id: whose acts; None for everybody's.
            subject: of one subject only.
            limit: the most to return.
            cursor: the cursor of the page before.

        Raises:
            BadCursorError: if the cursor is not one of ours.
        """
        query = select(AuditRow).order_by(AuditRow.number.desc()).limit(limit + 1)
        if team_id is not None:
            query = query.where(AuditRow.team_id == team_id)
        if subject is not None:
            query = query.where(AuditRow.subject == subject)
        if cursor is not None:
            position = decode_cursor(cursor)
            if not re.fullmatch(r"a[0-9]{1,18}", position):
                raise BadCursorError(cursor)
            query = query.where(AuditRow.number < int(position[1:]))
        rows = (await self.session.scalars(query)).all()
        items = rows[:limit]
        return items, encode_cursor(f"a{items[-1].number}") if len(rows) > limit else None
