"""How many measurements each source has, told without counting all of them at each request."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from service.database import Database
from service.measurements.repository import SourceRepository

logger = logging.getLogger(__name__)

COUNTED_AFTER_SECONDS = 5.0
"""Age from which a request makes all be counted anew, without waiting for it."""
RESTS = 50.0
"""Times as long as a count takes that passes before the next: of a million it takes a second, and so a fiftieth of one
processor at most."""


@dataclass(frozen=True)
class _Counted:
    """Rows by source up to a place in the order of arrival, and until when this is new enough."""

    rows: Mapping[str, int]
    newest: int
    new_until: float


class SourceCounts:
    """The counts of one replica.

    What arrived since all were counted is counted at each request, so that a submission shows at once; that a status
    changed shows when all are counted anew.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._counted: _Counted | None = None
        self._counting: asyncio.Task[_Counted] | None = None

    async def rows(self) -> dict[str, int]:
        """Accepted, shared measurements by source; a source that has none is left out.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: if the database cannot be reached.
        """
        counted = self._counted
        if counted is None or time.monotonic() > counted.new_until:
            counting = self._count()
            if counted is None:
                # A caller that goes away must not take the count from those that wait for it too.
                counted = await asyncio.shield(counting)
        async with self.database.sessions() as session:
            since = await SourceRepository(session).counts(above=counted.newest)
        return {name: counted.rows.get(name, 0) + since.get(name, 0) for name in {**counted.rows, **since}}

    def _count(self) -> asyncio.Task[_Counted]:
        """The one count that is under way, or a new one."""
        if self._counting is None:
            self._counting = asyncio.create_task(self._all())
            self._counting.add_done_callback(self._keep)
        return self._counting

    def _keep(self, done: asyncio.Task[_Counted]) -> None:
        self._counting = None
        if done.cancelled():
            return
        if (error := done.exception()) is None:
            self._counted = done.result()
        else:
            logger.warning("the measurements of sources cannot be counted: %s", error)

    async def _all(self) -> _Counted:
        started = time.monotonic()
        async with self.database.sessions() as session:
            repository = SourceRepository(session)
            newest = await repository.newest()
            rows = await repository.counts(up_to=newest)
        taken = time.monotonic() - started
        return _Counted(rows, newest, time.monotonic() + max(COUNTED_AFTER_SECONDS, RESTS * taken))
