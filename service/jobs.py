"""Background work that exactly one replica does at a time, agreed upon through the database.

A lease is a row: who holds it, and a count of its holder's heartbeats. A lease, not a PostgreSQL advisory lock, since
SQLite has none of those, and connection poolers between a replica and PostgreSQL break them; and a count, not a time,
since replicas' clocks disagree: whoever has watched the count stand still for ``LEASE_SECONDS`` of its own clock takes
the lease over. Each heartbeat, takeover and final write names the count or the holder that it expects, so that a holder
that was stalled and comes back finds its lease gone and can write nothing any more.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, cast

from sqlalchemy import BigInteger, CursorResult, String, insert, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from service.database import IMMEDIATE, Base, Database

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How often a replica looks for work."""
BEAT_SECONDS = 1.0
"""How often a holder says that it lives."""
LEASE_SECONDS = 10.0
"""Silence after which a holder counts as dead. Judgement: ten heartbeats, longer than a database's restart."""


class LeaseRow(Base):
    """Who does one kind of work now."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    holder: Mapped[str | None] = mapped_column(String(40))
    """The replica that holds it; None if it is free."""
    beat: Mapped[int] = mapped_column(BigInteger)
    """Grows with every change, so that an update that expects a count meets the row that was read."""


class LeaseLostError(RuntimeError):
    """Another replica has taken the lease over, or the database was away too long to be sure that none has."""


class Lease:
    """One replica's claim to do one kind of work."""

    def __init__(self, database: Database, name: str, *, silence_seconds: float = LEASE_SECONDS) -> None:
        """
        Args:
            database: where the lease is kept.
            name: the kind of work.
            silence_seconds: after how long without a heartbeat another holder counts as dead.
        """
        self.database = database
        self.name = name
        self.silence_seconds = silence_seconds
        self.holder = uuid.uuid4().hex
        self._seen: tuple[str, int] | None = None
        self._seen_at = 0.0

    async def take(self) -> bool:
        """Takes the lease if it is free, ours, or its holder has been silent too long.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: if the database cannot be reached.
        """
        async with self.database.sessions() as session:
            row = await session.get(LeaseRow, self.name)
        if row is None:
            await self._create()
            return await self.take()
        if row.holder is not None and row.holder != self.holder and not self._is_silent(row.holder, row.beat):
            return False
        taken = await self._change(LeaseRow.beat == row.beat, holder=self.holder, beat=row.beat + 1)
        if taken and row.holder not in (None, self.holder):
            logger.warning("lease %s: taken over from %s, which fell silent", self.name, row.holder)
        return taken

    async def renew(self) -> bool:
        """Says that the holder lives; False if the lease is another's by now."""
        return await self._change(LeaseRow.holder == self.holder, beat=LeaseRow.beat + 1)

    async def release(self) -> None:
        """Gives the lease back, if it is still ours."""
        await self._change(LeaseRow.holder == self.holder, holder=None, beat=LeaseRow.beat + 1)

    async def fence(self, session: AsyncSession) -> None:
        """Makes a transaction's writes depend on the lease: it keeps others from taking it until the commit.

        To be called before anything else in the transaction.

        Raises:
            LeaseLostError: if the lease is another's by now.
        """
        held = update(LeaseRow).where(LeaseRow.name == self.name, LeaseRow.holder == self.holder)
        outcome = cast(CursorResult[Any], await session.execute(held.values(beat=LeaseRow.beat + 1)))
        if outcome.rowcount != 1:
            raise LeaseLostError(f"another replica holds the lease {self.name!r}")

    def _is_silent(self, holder: str, beat: int) -> bool:
        now = time.monotonic()
        if self._seen != (holder, beat):
            self._seen, self._seen_at = (holder, beat), now
        return now - self._seen_at >= self.silence_seconds

    async def _create(self) -> None:
        try:
            async with self.database.engine.begin() as connection:
                await connection.execute(insert(LeaseRow).values(name=self.name, holder=None, beat=0))
        except IntegrityError:
            logger.debug("lease %s: another replica has created it just now", self.name)

    async def _change(self, expected: Any, **values: Any) -> bool:
        changed = update(LeaseRow).where(LeaseRow.name == self.name, expected).values(**values)
        async with self.database.engine.execution_options(**IMMEDIATE).begin() as connection:
            return (await connection.execute(changed)).rowcount == 1


async def work_alone(lease: Lease, work: Callable[[], Awaitable[None]]) -> None:
    """Does the work under the lease, which must be ours: renews it meanwhile, gives it back at the end.

    Raises:
        LeaseLostError: if the lease was lost meanwhile; the work was then cancelled.
    """
    task = asyncio.ensure_future(work())
    renewed_at = time.monotonic()
    try:
        while not task.done():
            await asyncio.wait([task], timeout=BEAT_SECONDS)
            try:
                if not task.done() and not await lease.renew():
                    raise LeaseLostError(f"another replica has taken the lease {lease.name!r} over")
                renewed_at = time.monotonic()
            except (SQLAlchemyError, OSError) as error:
                logger.warning("lease %s cannot be renewed: %s", lease.name, error)
                if time.monotonic() - renewed_at > lease.silence_seconds:
                    raise LeaseLostError(f"the lease {lease.name!r} could not be renewed in time") from error
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        try:
            await lease.release()
        except (SQLAlchemyError, OSError) as error:
            logger.warning("lease %s cannot be given back: %s", lease.name, error)


async def keep_working(lease: Lease, due: Callable[[], Awaitable[bool]], work: Callable[[], Awaitable[None]]) -> None:
    """Looks for work until it is cancelled, and does it whenever it is due and no other replica does.

    A fault of the database or of the work is logged and passes: the work is then still due, for this replica or
    another.
    """
    while True:
        try:
            if await due() and await lease.take():
                await work_alone(lease, work)
        except LeaseLostError as error:
            logger.warning("%s", error)
        except (SQLAlchemyError, OSError) as error:
            logger.warning("background work %s has to wait for the database: %s", lease.name, error)
        except Exception:
            # A bug in one job must not end all background work of this replica.
            logger.exception("background work %s failed", lease.name)
        await asyncio.sleep(POLL_SECONDS)
