"""How many measurements each of something has, told without counting all of them at each request."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from service.database import Database
from service.measurements.repository import SourceRepository, SourceRows

logger = logging.getLogger(__name__)

COUNTED_AFTER_SECONDS = 5.0
"""Age from which a request makes all be counted anew, without waiting for it."""
RESTS = 50.0
"""Times as long as a count takes that passes before the next: of a million it takes a second, and so a fiftieth of one
processor at most."""

Name = TypeVar("Name", bound=Hashable)
Count = Callable[[AsyncSession, int, int | None], Awaitable[dict[Name, int]]]
"""Counts, by name, the rows after a place in the order of arrival, and not after another if there is one."""


@dataclass(frozen=True)
class _Counted(Generic[Name]):
    """Rows by name up to a place in the order of arrival, and from when and until when this is new enough."""

    rows: Mapping[Name, int]
    newest: int
    at: float
    new_until: float


class Counts(Generic[Name]):
    """Counts of one replica.

    What arrived since all were counted is counted at each request, so that a submission shows at once; that a status
    changed shows when all are counted anew.
    """

    def __init__(self, database: Database, count: Count[Name], *, most_age_seconds: float = math.inf) -> None:
        """
        Args:
            database: whose measurements are counted.
            count: how.
            most_age_seconds: age from which a request waits until all are counted anew.
        """
        self.database = database
        self.count = count
        self.most_age_seconds = most_age_seconds
        self._counted: _Counted[Name] | None = None
        self._counting: asyncio.Task[_Counted[Name]] | None = None

    async def rows(self) -> dict[Name, int]:
        """Measurements by name; what has none is left out.

        Takes connections of its own: who asks while holding one could wait for ever, where the pool has no other.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: if the database cannot be reached.
        """
        counted, now = self._counted, time.monotonic()
        if counted is None or now > counted.new_until:
            counting = self._count()
            if counted is None or now > counted.at + self.most_age_seconds:
                # A caller that goes away must not take the count from those that wait for it too.
                counted = await asyncio.shield(counting)
        async with self.database.sessions() as session:
            since = await self.count(session, counted.newest, None)
        return {name: counted.rows.get(name, 0) + since.get(name, 0) for name in {**counted.rows, **since}}

    def _count(self) -> asyncio.Task[_Counted[Name]]:
        """The one count that is under way, or a new one."""
        if self._counting is None:
            self._counting = asyncio.create_task(self._all())
            self._counting.add_done_callback(self._keep)
        return self._counting

    def _keep(self, done: asyncio.Task[_Counted[Name]]) -> None:
        self._counting = None
        if done.cancelled():
            return
        if (error := done.exception()) is None:
            self._counted = done.result()
        else:
            logger.warning("measurements cannot be counted: %s", error)

    async def _all(self) -> _Counted[Name]:
        started = time.monotonic()
        async with self.database.sessions() as session:
            newest = await SourceRepository(session).newest()
            rows = await self.count(session, 0, newest)
        counted = time.monotonic()
        return _Counted(rows, newest, counted, counted + max(COUNTED_AFTER_SECONDS, RESTS * (counted - started)))


def source_counts(database: Database) -> Counts[SourceRows]:
    """Accepted, shared measurements by source, those that ship apart from those that teams submitted."""

    async def count(session: AsyncSession, above: int, up_to: int | None) -> dict[SourceRows, int]:
        return await SourceRepository(session).counts(above=above, up_to=up_to)

    return Counts(database, count)
