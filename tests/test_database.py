"""The database of each dialect: schema, pragmas, URLs."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from alembic.util import CommandError
from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from service.database import Database, driver_url
from service.estimates.tables import EstimateRow
from service.seed import alembic_config, migrate

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:////srv/t.sqlite3", "sqlite+aiosqlite"),
        ("postgresql://me:secret@host/db", "postgresql+psycopg"),
        ("postgres://me@host/db", "postgresql+psycopg"),
        ("postgresql+psycopg2://me@host/db", "postgresql+psycopg"),
    ],
)
def test_usual_urls_get_the_asynchronous_driver(url: str, driver: str) -> None:
    assert driver_url(url).drivername == driver


def test_an_unsupported_database_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="mysql"):
        driver_url("mysql://host/db")


def test_the_password_is_not_shown() -> None:
    assert "secret" not in str(Database("postgresql://me:secret@host/db"))


async def test_migrations_and_tables_agree(empty_database: str) -> None:
    def check(connection: Connection) -> None:
        migrate(connection)
        try:
            command.check(alembic_config(connection))
        except CommandError as error:
            pytest.fail(f"{error}: write a migration with `.venv/bin/alembic revision --autogenerate`")

    database = Database(empty_database)
    async with database.engine.begin() as connection:
        await connection.run_sync(check)
    await database.close()


async def test_migrations_can_be_taken_back(empty_database: str) -> None:
    def there_and_back(connection: Connection) -> list[str]:
        migrate(connection)
        command.downgrade(alembic_config(connection), "base")
        return inspect(connection).get_table_names()

    database = Database(empty_database)
    async with database.engine.begin() as connection:
        assert await connection.run_sync(there_and_back) == ["alembic_version"]
    await database.close()


async def test_sqlite_keeps_foreign_keys_and_lets_readers_in_while_writing(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'folder' / 'is made.sqlite3'}")
    async with database.engine.connect() as connection:
        assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert await connection.scalar(text("PRAGMA foreign_keys")) == 1
    await database.close()


async def test_times_come_back_in_utc(seeded_database: str) -> None:
    noon_in_kolkata = datetime(2026, 1, 2, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    database = Database(seeded_database)
    async with database.sessions() as session:
        session.add(EstimateRow(id="e", created_at=noon_in_kolkata, calibration="c", request={"a": 300e9}, answer={}))
        await session.commit()
    async with database.sessions() as session:
        row = await session.get_one(EstimateRow, "e")
    await database.close()
    assert row.created_at == datetime(2026, 1, 2, 6, 30, tzinfo=UTC)
    assert row.created_at.tzinfo is UTC
    assert row.request == {"a": 300e9}


async def test_a_time_without_a_zone_is_refused(seeded_database: str) -> None:
    database = Database(seeded_database)
    async with database.sessions() as session:
        session.add(EstimateRow(id="e", created_at=datetime(2026, 1, 2), calibration="c", request={}, answer={}))  # noqa: DTZ001
        with pytest.raises(Exception, match="without a zone"):
            await session.commit()
    await database.close()
