"""Which measurements a calibration is fitted on where teams have submitted more than a fit needs."""

from collections import Counter
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from service.calibrations.repository import FittedRow, FittedRowRepository
from service.database import Database
from service.measurements.repository import MeasurementRepository, SourceRepository
from service.teams.repository import TeamRepository

pytestmark = pytest.mark.anyio

KINDS = {"t_large": {"common": 30, "rare": 2}, "t_small": {"common": 3}, "t_single": {"common": 1}}
"""Rows of each team by what their `agreement_key` is."""


@pytest.fixture
async def session(small_template: str) -> AsyncIterator[AsyncSession]:
    """A session of a small database to which three teams add measurements; its changes are rolled back."""
    database = Database(small_template)
    async with database.sessions() as session:
        measurements = MeasurementRepository(session)
        for team, kinds in KINDS.items():
            await TeamRepository(session).obtain(team, team_id=team)
            for kind, count in kinds.items():
                for number in range(count):
                    fields = {"hardware.accelerator": "T4", "hardware.count": number, "provenance.notes": kind}
                    await measurements.add(fields, team_id=team, agreement_key=kind)
        for hidden in ({"visibility": "team"}, {"status": "quarantined"}):
            await measurements.add({"hardware.accelerator": "T4"}, team_id="t_small", **hidden)
        yield session
    await database.close()


def submitted(rows: list[FittedRow]) -> list[FittedRow]:
    return [row for row in rows if row.team_id is not None]


async def test_few_are_all_fitted(session: AsyncSession) -> None:
    repository = FittedRowRepository(session)
    rows = await repository.all()
    assert [row.id for row in rows] == sorted({row.id for row in rows})
    assert len(submitted(rows)) == await repository.submitted() == 36
    assert len(rows) == 36 + sum((await SourceRepository(session).counts()).values())


async def test_of_many_every_team_and_every_kind_of_run_has_its_turn(session: AsyncSession) -> None:
    repository = FittedRowRepository(session)
    shipped = len(await repository.all()) - 36
    rows = await repository.all(most=8, most_of_team=4)
    assert len(rows) == shipped + 8
    chosen = Counter((row.team_id, row.fields["provenance.notes"]) for row in submitted(rows))
    assert chosen == {
        ("t_large", "common"): 2,
        ("t_large", "rare"): 2,
        ("t_small", "common"): 3,
        ("t_single", "common"): 1,
    }
    assert await repository.all(most=8, most_of_team=4) == rows, "the same ones each time"
    assert {row.id for row in submitted(await repository.all(most=3))} <= {row.id for row in rows}
