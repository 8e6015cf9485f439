"""Queries on the measurements that a site is learned from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from service.database import Unindexed
from service.measurements.tables import MeasurementRow


@dataclass(frozen=True)
class SiteKey:
    """Whose measurements: a team's (all of them, or those of one of its sites), or those of a source that ships."""

    team_id: str | None
    name: str | None


@dataclass(frozen=True)
class OwnRow:
    """One of a site's measurements: its id and what it says."""

    id: str
    fields: dict[str, Any]


class SiteRepository:
    """A site's measurements in one session, which only reads."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def newest_ids(self, site: SiteKey, most: int) -> list[str]:
        """Ids of the site's latest measurements, at most so many, oldest first."""
        query = select(MeasurementRow.id).where(*_learned(site)).order_by(MeasurementRow.sequence.desc()).limit(most)
        return list(reversed((await self.session.scalars(query)).all()))

    async def rows(self, ids: Sequence[str]) -> list[OwnRow]:
        """The measurements of those ids, in their order."""
        query = select(MeasurementRow.id, MeasurementRow.fields).where(MeasurementRow.id.in_(ids))
        found = {row.id: OwnRow(*row) for row in await self.session.execute(query)}
        return [found[one] for one in ids if one in found]

    async def counts(self, team_id: str, *, above: int = 0, up_to: int | None = None) -> dict[str, int]:
        """How many measurements are learned from at each of a team's sites, of those after a place in the order of
        arrival and not after another; sites without are left out."""
        # Of few new rows their places are looked up; of all, whole sites.
        site = Unindexed(MeasurementRow.site) if above else MeasurementRow.site
        query = select(site, func.count()).where(*_learned(SiteKey(team_id, None)), MeasurementRow.sequence > above)
        if up_to is not None:
            query = query.where(MeasurementRow.sequence <= up_to)
        found = await self.session.execute(query.group_by(site))
        return {str(name): rows for name, rows in found if name is not None}


def _learned(site: SiteKey) -> list[ColumnElement[bool]]:
    """A team's own rows inform it at once, quarantined or not, private or not; what nobody stands for does not."""
    if site.team_id is None:
        return [
            MeasurementRow.shipped == true(),
            MeasurementRow.status == "accepted",
            MeasurementRow.source == site.name,
        ]
    conditions = [MeasurementRow.team_id == site.team_id, MeasurementRow.status.in_(("accepted", "quarantined"))]
    if site.name is not None:
        conditions.append(MeasurementRow.site == site.name)
    return conditions
