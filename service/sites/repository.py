"""Queries on the measurements that a site is learned from."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.measurements.tables import MeasurementRow


@dataclass(frozen=True)
class SiteKey:
    """Whose measurements: a team's (all of them, or those of one of its sites), or those of a source that ships."""

    team_id: str | None
    name: str | None


@dataclass(frozen=True)
class Mark:
    """What a site's measurements are recognised by: it changes when one is added, withdrawn or rejected."""

    rows: int
    newest: int
    total: int


@dataclass(frozen=True)
class Named:
    """A site of a team, and how many of its measurements are learned from."""

    name: str
    rows: int


@dataclass(frozen=True)
class OwnRow:
    """One of a site's measurements: its id and what it says."""

    id: str
    fields: dict[str, Any]


class SiteRepository:
    """A site's measurements in one session, which only reads."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def mark(self, site: SiteKey) -> Mark:
        """What the site's measurements are recognised by."""
        number = MeasurementRow.sequence
        query = select(func.count(), func.max(number), func.sum(number)).where(*_learned(site))
        rows, newest, total = (await self.session.execute(query)).one()
        return Mark(rows, newest or 0, int(total or 0))

    async def newest(self, site: SiteKey, most: int) -> list[OwnRow]:
        """The site's latest measurements, at most so many, oldest first."""
        query = (
            select(MeasurementRow.id, MeasurementRow.fields)
            .where(*_learned(site))
            .order_by(MeasurementRow.sequence.desc())
            .limit(most)
        )
        found = (await self.session.execute(query)).all()
        return [OwnRow(*row) for row in reversed(found)]

    async def of_team(self, team_id: str) -> list[Named]:
        """The sites that a team has measurements of, by name."""
        query = (
            select(MeasurementRow.site, func.count())
            .where(*_learned(SiteKey(team_id, None)), MeasurementRow.site.is_not(None))
            .group_by(MeasurementRow.site)
        )
        found = await self.session.execute(query)
        return sorted((Named(str(name), rows) for name, rows in found), key=lambda site: site.name)


def _learned(site: SiteKey) -> list[ColumnElement[bool]]:
    """A team's own rows inform it at once, quarantined or not, private or not; what nobody stands for does not."""
    if site.team_id is None:
        return [
            MeasurementRow.shipped.is_(True),
            MeasurementRow.status == "accepted",
            MeasurementRow.source == site.name,
        ]
    conditions = [MeasurementRow.team_id == site.team_id, MeasurementRow.status.in_(("accepted", "quarantined"))]
    if site.name is not None:
        conditions.append(MeasurementRow.site == site.name)
    return conditions
