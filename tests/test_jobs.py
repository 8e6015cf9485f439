"""Leases: one holder at a time, heirs for the dead, and nothing written by a holder that lost its lease."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.database import Database
from service.jobs import Lease, LeaseLostError, LeaseRow, work_alone
from service.seed import migrate

pytestmark = pytest.mark.anyio

LONG, SHORT = 600.0, 0.0
"""Silences after which a lease is taken over: never in a test, and at once."""


@pytest.fixture
async def database(empty_database: str) -> AsyncIterator[Database]:
    opened = Database(empty_database)
    async with opened.engine.begin() as connection:
        await connection.run_sync(migrate)
    yield opened
    await opened.close()


async def test_of_many_that_ask_at_once_one_gets_the_lease(database: Database) -> None:
    leases = [Lease(database, "work", silence_seconds=LONG) for _ in range(8)]
    assert sum(await asyncio.gather(*(lease.take() for lease in leases))) == 1


async def test_a_lease_that_was_given_back_is_free(database: Database) -> None:
    first, second = (Lease(database, "work", silence_seconds=LONG) for _ in range(2))
    assert await first.take()
    assert not await second.take()
    await first.release()
    assert await second.take()


async def test_leases_of_different_work_do_not_meet(database: Database) -> None:
    assert await Lease(database, "one").take()
    assert await Lease(database, "other").take()


async def test_a_holder_that_beats_keeps_its_lease(database: Database) -> None:
    holder, heir = Lease(database, "work"), Lease(database, "work", silence_seconds=SHORT)
    assert await holder.take()
    assert await heir.take(), "no silence is needed to count as dead here"
    assert not await holder.renew()
    patient = Lease(database, "work", silence_seconds=LONG)
    assert await heir.renew()
    assert not await patient.take()


async def test_whoever_lost_its_lease_writes_nothing(database: Database) -> None:
    stalled, heir = Lease(database, "work"), Lease(database, "work", silence_seconds=SHORT)
    assert await stalled.take()
    assert await heir.take()
    async with database.sessions() as session:
        with pytest.raises(LeaseLostError):
            await stalled.fence(session)
    async with database.sessions() as session:
        await heir.fence(session)
        await session.commit()


async def test_work_is_cancelled_when_its_lease_is_lost(database: Database) -> None:
    lease, heir = Lease(database, "work"), Lease(database, "work", silence_seconds=SHORT)
    ended: list[str] = []

    async def work() -> None:
        assert await heir.take()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    assert await lease.take()
    with pytest.raises(LeaseLostError):
        await work_alone(lease, work)
    assert ended == ["cancelled"]
    async with database.sessions() as session:
        row = await session.get_one(LeaseRow, "work")
    assert row.holder == heir.holder, "the heir's lease was not given back for it"


async def test_the_lease_is_given_back_when_the_work_fails(database: Database) -> None:
    lease, other = Lease(database, "work", silence_seconds=LONG), Lease(database, "work", silence_seconds=LONG)

    async def work() -> None:
        raise RuntimeError("no luck")

    assert await lease.take()
    with pytest.raises(RuntimeError, match="no luck"):
        await work_alone(lease, work)
    assert await other.take()
