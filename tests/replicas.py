"""Replicas as they run in production: processes of their own, on one database; and what tests put into it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.database import Database
from service.measurements.repository import MeasurementRepository
from service.measurements.tables import MeasurementRow
from service.teams.repository import Actor, TeamRepository
from service.teams.service import SCOPES, create_key

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 600
"""How long a test waits for what must happen, on the slowest machine."""


class Replica:
    """One process of the service."""

    def __init__(self, database_url: str, **settings: str) -> None:
        port = self.free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.stated = {"TRAINCAST_DATABASE_URL": database_url, "TRAINCAST_PORT": str(port), **settings}
        self.start()

    def start(self) -> None:
        """Starts it, or starts it again at the same address."""
        command = "from service.cli import main; main()"
        self.process = subprocess.Popen([sys.executable, "-c", command, "serve"], env=os.environ | self.stated)

    @staticmethod
    def free_port() -> int:
        """A port of this machine that nobody listens on."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    def wait_until_ready(self) -> None:
        """Returns once it answers estimates."""

        def ready() -> bool:
            assert self.process.poll() is None, "the replica ended"
            try:
                return httpx.get(f"{self.url}/readyz").is_success
            except httpx.TransportError:
                return False

        wait_until(ready, "the replica is ready")

    def kill(self) -> None:
        """As a machine that fails: without a word."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """As a deployment does it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


@contextmanager
def replicas(database_url: str, count: int, **settings: str) -> Iterator[list[Replica]]:
    """So many replicas on one database, ready to answer."""
    started = [Replica(database_url, **settings) for _ in range(count)]
    try:
        for replica in started:
            replica.wait_until_ready()
        yield started
    finally:
        for replica in started:
            if replica.process.poll() is None:
                replica.stop()


def wait_until(met: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Returns once the condition is met; fails if it is not in time."""
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, f"{what}: not in {seconds:g} s"
        time.sleep(0.1)


def in_database(url: str, work: Callable[[AsyncSession], Awaitable[Answer]]) -> Answer:
    """Does something in a session of its own, and commits."""

    async def run() -> Answer:
        database = Database(url)
        try:
            async with database.sessions() as session:
                answer = await work(session)
                await session.commit()
                return answer
        finally:
            await database.close()

    return asyncio.run(run())


def make_key(url: str, team: str, scopes: Sequence[str] = SCOPES) -> tuple[dict[str, str], str]:
    """A new key of the team, as the header that carries it, and the team's id."""

    async def work(session: AsyncSession) -> tuple[dict[str, str], str]:
        made = await create_key(session, team, scopes, Actor())
        return {"authorization": f"Bearer {made.key}"}, (await TeamRepository(session).obtain(team)).id

    return in_database(url, work)


def keep_only(url: str, sources: Sequence[str]) -> None:
    """Withdraws what ships from other sources, so that a fit takes seconds."""

    async def work(session: AsyncSession) -> None:
        others = MeasurementRow.shipped.is_(True), MeasurementRow.source.not_in(sources)
        await session.execute(update(MeasurementRow).where(*others).values(status="withdrawn"))

    in_database(url, work)


def forget_all_but(url: str, sources: Sequence[str]) -> None:
    """Takes what ships from other sources out of the database, so that all of it is soon exported and restored."""

    async def work(session: AsyncSession) -> None:
        await session.execute(delete(MeasurementRow).where(MeasurementRow.source.not_in(sources)))

    in_database(url, work)


def submit(url: str, rows: Sequence[dict[str, Any]], **about: Any) -> list[str]:
    """Puts measurements into the database as the service does after vetting; gives their ids."""

    async def work(session: AsyncSession) -> list[str]:
        repository = MeasurementRepository(session)
        return [(await repository.add(row, **about)).id for row in rows]

    return in_database(url, work)
