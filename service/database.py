"""The database: engine, sessions, and where SQLite and PostgreSQL differ.

Both dialects run the same tables and queries. What differs is here: the driver behind a URL, SQLite's pragmas,
how a transaction starts, and how one process keeps the others out while it prepares the schema.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Integer,
    MetaData,
    SQLColumnExpression,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import Insert as PostgresqlInsert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import URL, Connection, Dialect, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

logger = logging.getLogger(__name__)

BUSY_TIMEOUT_MILLISECONDS = 60_000
"""How long a SQLite writer waits for another; a first start seeds for a few seconds."""

SCHEMA_LOCK = 0x7472_6169_6E63
"""PostgreSQL advisory lock that whoever migrates and seeds holds (the letters "trainc")."""

IMMEDIATE = {"traincast_begin": "BEGIN IMMEDIATE"}
"""Execution options of a transaction that will write: SQLite then waits for other writers at its start instead of
failing at its first write, once it has read. PostgreSQL ignores them."""


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time; aware and in UTC on both dialects (SQLite stores no zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """What all tables share: type mapping and names of constraints that migrations can refer to."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 -- read by SQLAlchemy at class creation
        dict[str, Any]: JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
        datetime: UtcDateTime(),
    }


RowNumber = BigInteger().with_variant(Integer(), "sqlite")
"""A key the database counts up itself; SQLite does so for INTEGER only."""


def driver_url(url: str) -> URL:
    """The URL with the asynchronous driver the service uses.

    ``sqlite:`` becomes ``sqlite+aiosqlite:``; ``postgresql:`` and ``postgres:`` become ``postgresql+psycopg:``.

    Raises:
        ValueError: if the URL is neither SQLite's nor PostgreSQL's.
    """
    way_out = "use sqlite:///FILE or postgresql://USER@HOST/NAME"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Without what was given, which may hold a password.
        raise ValueError(f"no URL of a database: {way_out}") from None
    backend = parsed.drivername.partition("+")[0]
    if backend == "sqlite":
        return parsed.set(drivername="sqlite+aiosqlite")
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise ValueError(f"unsupported database {backend!r}: {way_out}")


def insert_or_pass(session: AsyncSession, table: type[Base]) -> PostgresqlInsert | SqliteInsert:
    """An INSERT that passes over rows that a unique constraint forbids, in the session's dialect."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql_insert(table).on_conflict_do_nothing()
    return sqlite_insert(table).on_conflict_do_nothing()


class Unindexed(FunctionElement[Any]):
    """A column's value, on SQLite by no index of it: that knows nothing of how many rows have a value, and may begin
    with an index that gives half of them. PostgreSQL does know."""

    inherit_cache = True

    def __init__(self, column: SQLColumnExpression[Any]) -> None:
        super().__init__(column)
        (value,) = self.clauses
        self.type = value.type


@compiles(Unindexed)
def _as_it_is(element: Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(Unindexed, "sqlite")
def _by_no_index(element: Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"


class Database:
    """One database: its engine and the factory of its sessions."""

    def __init__(self, url: str, *, pool_size: int = 10, slow_query_seconds: float | None = None) -> None:
        """Opens no connection yet; creates the folder of a SQLite file.

        Args:
            url: ``sqlite:///FILE`` or ``postgresql://...``.
            pool_size: PostgreSQL connections kept open.
            slow_query_seconds: queries that take longer are logged; none if None.

        Raises:
            ValueError: if the URL is neither SQLite's nor PostgreSQL's.
        """
        self.url = driver_url(url)
        options: dict[str, Any] = {"pool_pre_ping": True}
        if self.is_sqlite:
            if self.url.database and self.url.database != ":memory:":
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        else:
            options |= {"pool_size": pool_size, "max_overflow": pool_size}
        self.engine: AsyncEngine = create_async_engine(self.url, **options)
        if self.is_sqlite:
            _configure_sqlite(self.engine)
        if slow_query_seconds is not None:
            _log_slow_queries(self.engine, slow_query_seconds)
        self.sessions: async_sessionmaker[AsyncSession] = async_sessionmaker(self.engine, expire_on_commit=False)
        self.writing: async_sessionmaker[AsyncSession] = async_sessionmaker(
            self.engine.execution_options(**IMMEDIATE), expire_on_commit=False
        )
        """Sessions of what is sure to write; on SQLite they wait for other writers at their first statement."""

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a SQLite file."""
        return self.url.get_backend_name() == "sqlite"

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    async def ping(self) -> None:
        """Asks the database for an answer.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: if it gives none.
        """
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def forget(self) -> None:
        """Takes what was erased out of SQLite's journal too; PostgreSQL recycles its own.

        Readers that are busy put it off to the next checkpoint.
        """
        if self.is_sqlite:
            async with self.engine.connect() as connection:
                raw = await connection.get_raw_connection()
                assert raw.driver_connection is not None
                # Past SQLAlchemy, which would begin a transaction, and in one nothing is checkpointed.
                await raw.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def pool(self) -> tuple[Callable[[], int], int]:
        """How to count the connections in use, and how many are kept open."""
        pool = self.engine.pool
        assert isinstance(pool, QueuePool)
        return pool.checkedout, pool.size()

    async def close(self) -> None:
        """Closes all connections."""
        await self.engine.dispose()


async def lock_schema(connection: AsyncConnection) -> None:
    """Keeps every other process from preparing the database until this connection's transaction ends.

    On SQLite the transaction itself does so, if it began with ``IMMEDIATE``.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})


def _log_slow_queries(engine: AsyncEngine, seconds: float) -> None:
    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def _on_start(connection: Connection, *_: Any) -> None:
        connection.info["traincast_started"] = time.perf_counter()

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def _on_end(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        taken = time.perf_counter() - connection.info["traincast_started"]
        if taken > seconds:
            # The statement has placeholders where its values go: what callers sent is in no log.
            logger.warning(
                "a query took %.3f s: %s", taken, " ".join(statement.split()), extra={"seconds": round(taken, 6)}
            )


def _configure_sqlite(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # The driver's own transaction handling starts none before DDL; SQLAlchemy's events below start them all.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MILLISECONDS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        # What was acknowledged is on disk: in WAL mode, NORMAL would lose the last commits with the power.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA secure_delete = ON")  # what is purged is overwritten
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("traincast_begin", "BEGIN"))
