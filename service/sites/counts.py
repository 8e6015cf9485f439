"""How many measurements each site of a team has."""

from cachetools import LRUCache
from sqlalchemy.ext.asyncio import AsyncSession

from service.database import Database
from service.measurements.counts import Counts
from service.sites.repository import SiteRepository

MOST_AGE_SECONDS = 60.0
"""Age from which a team waits for its sites to be counted anew, so that what it withdrew does not count for longer."""
MOST_TEAMS = 1000
"""Teams whose counts are held in memory. The one that asked longest ago makes room."""


class SiteCounts:
    """The counts of one replica, by team."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._teams: LRUCache[str, Counts[str]] = LRUCache(MOST_TEAMS)

    async def rows(self, team_id: str) -> dict[str, int]:
        """Measurements that a team learns from by its sites, which are in order of name.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: if the database cannot be reached.
        """
        counts = self._teams.get(team_id)
        if counts is None:
            counts = self._teams[team_id] = self._of(team_id)
        return dict(sorted((await counts.rows()).items()))

    def _of(self, team_id: str) -> Counts[str]:
        async def count(session: AsyncSession, above: int, up_to: int | None) -> dict[str, int]:
            return await SiteRepository(session).counts(team_id, above=above, up_to=up_to)

        return Counts(self.database, count, most_age_seconds=MOST_AGE_SECONDS)
