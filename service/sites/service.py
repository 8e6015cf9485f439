"""Which standpoint a caller predicts from, kept in memory for a few seconds.

A key's team sees its own measurements in its predictions at once: all of them, private and quarantined ones too, or
those of the one site that a request names. Nobody else does: to every other caller the team's name is a site that
nobody knows. A source that ships is a site that everybody may ask for. Of many measurements the latest `MOST_OWN_ROWS`
are learned from, for learning takes time with their cube.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

from cachetools import LRUCache

from service.catalog.catalog import Catalog
from service.database import Database
from service.engine.forecast import Forecaster
from service.engine.own_rows import MOST_OWN_ROWS
from service.sites.repository import SiteKey, SiteRepository
from service.sites.standpoint import Standpoint, learned

logger = logging.getLogger(__name__)

CHECKED_AFTER_SECONDS = 1.0
"""Age from which a request makes a site be checked for new measurements, without waiting for it."""
MOST_AGE_SECONDS = 5.0
"""Age from which a request waits for that check and for what it finds to be learned (up to some three seconds)."""
MOST_SITES = 8
"""Learned sites held in memory, of up to some 20 MB each. The one unused longest makes room."""
UNKNOWN_SITE_SIZE = 0.001
"""What a site that has no measurements takes of that room: it is remembered, and holds nothing of its own."""


@dataclass(frozen=True, eq=False)
class _Held:
    """A site as it was learned, from which measurements and by which calibration, and when that was last checked."""

    standpoint: Standpoint
    ids: list[str]
    calibration: str
    checked_at: float


class Sites:
    """The standpoints of one replica."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self.database = database
        self.catalog = catalog
        self._held: LRUCache[SiteKey, _Held] = LRUCache(MOST_SITES, getsizeof=_size)
        self._anybody: Standpoint | None = None
        self._checking: dict[SiteKey, asyncio.Task[_Held]] = {}
        # One at a time: learning takes all of a processor.
        self._learning = asyncio.Lock()

    async def standpoint(
        self, forecaster: Forecaster, *, site: str | None, team_id: str | None, team_name: str | None
    ) -> Standpoint:
        """Where a request is predicted from.

        Args:
            forecaster: the calibration in use.
            site: what the request names, if anything.
            team_id: the team of the caller's key; None for an anonymous caller.
            team_name: its name.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: if the database cannot be reached.
        """
        key = self._key(site, team_id, team_name)
        if key is None:
            return self._of_anybody(forecaster)
        held = self._held.get(key)
        if held is not None and held.calibration != forecaster.calibration_version:
            held = None
        age = math.inf if held is None else time.monotonic() - held.checked_at
        if held is not None and age < CHECKED_AFTER_SECONDS:
            return held.standpoint
        checking = self._check(key, held, forecaster)
        if held is not None and age < MOST_AGE_SECONDS:
            return held.standpoint
        # A caller that goes away must not take the check from those that wait for it too.
        return (await asyncio.shield(checking)).standpoint

    async def standpoints(
        self, forecaster: Forecaster, sites: Iterable[str | None], *, team_id: str | None, team_name: str | None
    ) -> dict[str | None, Standpoint]:
        """The standpoint of each site that some requests name."""
        return {
            site: await self.standpoint(forecaster, site=site, team_id=team_id, team_name=team_name)
            for site in dict.fromkeys(sites)
        }

    def _of_anybody(self, forecaster: Forecaster) -> Standpoint:
        """The standpoint of all who are known to nobody: one for each calibration, so that what it remembers is shared,
        and no more than its own."""
        if self._anybody is None or self._anybody.forecaster is not forecaster:
            self._anybody = Standpoint(forecaster)
        return self._anybody

    def _key(self, site: str | None, team_id: str | None, team_name: str | None) -> SiteKey | None:
        if site is not None and site in self.catalog.sources:
            return SiteKey(None, site)
        if team_id is None:
            return None
        return SiteKey(team_id, None if site in (None, team_name) else site)

    def _check(self, key: SiteKey, held: _Held | None, forecaster: Forecaster) -> asyncio.Task[_Held]:
        """The one check of a site that is under way, or a new one."""
        checking = self._checking.get(key)
        if checking is None:
            checking = asyncio.create_task(self._checked(key, held, forecaster))
            self._checking[key] = checking
            checking.add_done_callback(lambda done: self._keep(key, done))
        return checking

    def _keep(self, key: SiteKey, done: asyncio.Task[_Held]) -> None:
        del self._checking[key]
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._held[key] = done.result()
        else:
            logger.warning("site %s of team %s cannot be checked: %s", key.name, key.team_id, error)

    async def _checked(self, key: SiteKey, held: _Held | None, forecaster: Forecaster) -> _Held:
        """What is held if the site's measurements are what they were, else the site learned anew."""
        now = time.monotonic()
        calibration = forecaster.calibration_version
        async with self.database.sessions() as session:
            repository = SiteRepository(session)
            ids = await repository.newest_ids(key, MOST_OWN_ROWS)
            if held is not None and (held.ids, held.calibration) == (ids, calibration):
                return _Held(held.standpoint, ids, calibration, now)
            rows = await repository.rows(ids)
        if not rows:
            return _Held(self._of_anybody(forecaster), [], calibration, now)
        ids = [row.id for row in rows]
        version = hashlib.sha256("\n".join([calibration, *ids]).encode()).hexdigest()[:12]
        async with self._learning:
            standpoint = await asyncio.to_thread(
                learned, forecaster, [row.fields for row in rows], ids, self.catalog, version=version
            )
        if standpoint.site_version is None:  # none of its rows says a speed
            standpoint = self._of_anybody(forecaster)
        return _Held(standpoint, ids, calibration, now)


def _size(held: _Held) -> float:
    return 1.0 if held.standpoint.site_version is not None else UNKNOWN_SITE_SIZE
