"""Prepares a database: brings its tables to this release and fills in what ships.

One transaction does it all, under a lock that only one process holds: when two replicas start at once, the second
waits and then finds the work done. What was seeded is remembered by its fingerprint, so that a start with nothing new
takes milliseconds.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from service.calibrations.repository import CalibrationRepository
from service.calibrations.shipped import shipped_rows
from service.catalog.records import DATA
from service.database import IMMEDIATE, Database, lock_schema
from service.engine.forecast import Forecaster
from service.measurements.repository import MeasurementRepository, SourceRepository, columns_of
from service.measurements.tables import SeedRow

if TYPE_CHECKING:
    from alembic.config import Config

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent
CALIBRATION = DATA / "calibration.json.gz"
"""The calibration that ships, so that a first start needs no fit."""

NO_LONGER_SHIPPED = "no longer among the shipped measurements"


async def migrate_only(database: Database) -> None:
    """Brings the database's tables to this release and fills in nothing; idempotent.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: if the database cannot be reached or written; nothing is then changed.
    """
    async with database.engine.execution_options(**IMMEDIATE).begin() as connection:
        await lock_schema(connection)
        await connection.run_sync(migrate)


async def prepare(database: Database, *, data: Path = DATA) -> None:
    """Migrates the database and seeds it with the shipped sources, measurements and calibration; idempotent.

    Args:
        database: where to.
        data: folder of ``sources.csv``, ``measurements/*.csv`` and ``calibration.json.gz``.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: if the database cannot be reached or written; nothing is then changed.
        ValueError: if a shipped row cannot be read.
    """
    async with database.engine.execution_options(**IMMEDIATE).begin() as connection:
        await lock_schema(connection)
        await connection.run_sync(migrate)
        async with AsyncSession(bind=connection, expire_on_commit=False) as session:
            await _seed_measurements(session, data)
            await _seed_calibration(session, data)
            await session.flush()


def migrate(connection: Connection) -> None:
    """Brings the tables to this release, in the connection's open transaction."""
    if _is_migrated(connection):
        return
    from alembic import command

    command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration for an open connection; knows where the migrations lie."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_migrations()))
    config.attributes["connection"] = connection
    return config


def _is_migrated(connection: Connection) -> bool:
    """Whether the tables are this release's, told without Alembic: to import it takes longer than all else here."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    newest = max(path.name for path in (_migrations() / "versions").glob("[0-9]*.py")).partition("_")[0]
    return connection.scalars(text("SELECT version_num FROM alembic_version")).all() == [newest]


def _migrations() -> Path:
    installed = PACKAGE / "migrations"
    return installed if installed.is_dir() else PACKAGE.parent / "migrations"


async def _seed_measurements(session: AsyncSession, data: Path) -> None:
    files = [data / "sources.csv", *sorted((data / "measurements").glob("*.csv"))]
    fingerprint = _fingerprint(files)
    if await _is_seeded(session, "measurements", fingerprint):
        return
    await SourceRepository(session).put(_read_sources(files[0]))
    repository = MeasurementRepository(session)
    held = await repository.shipped()
    now = datetime.now(UTC)
    rows, ids = await asyncio.to_thread(shipped_rows, data)
    shipped = dict(zip(ids, rows, strict=True))
    new = [name for name in shipped if name not in held]
    await repository.add_many([columns_of(shipped[name], id=name, shipped=True, submitted_at=now) for name in new])
    gone = [name for name, status in held.items() if name not in shipped and status != "withdrawn"]
    await repository.set_status(gone, "withdrawn", NO_LONGER_SHIPPED)
    back = [name for name, status in held.items() if name in shipped and status == "withdrawn"]
    await repository.set_status(back, "accepted")
    await _remember(session, "measurements", fingerprint, now)
    logger.info("measurements: %d new, %d withdrawn, %d back", len(new), len(gone), len(back))


async def _seed_calibration(session: AsyncSession, data: Path) -> None:
    path = data / CALIBRATION.name
    if not path.exists():
        logger.warning("no calibration ships: estimates cannot be answered until one is fitted")
        return
    fingerprint = _fingerprint([path])
    if await _is_seeded(session, "calibration", fingerprint):
        return
    content = path.read_bytes()
    now = datetime.now(UTC)
    try:
        forecaster = await asyncio.to_thread(Forecaster.load, content)
    except ValueError as error:
        logger.error("the shipped calibration cannot be used: %s", error)
        return
    await CalibrationRepository(session).put(
        forecaster.calibration_version, content, fingerprint=forecaster.fingerprint, at=now
    )
    await _remember(session, "calibration", fingerprint, now)


async def _is_seeded(session: AsyncSession, kind: str, fingerprint: str) -> bool:
    seeded = await session.get(SeedRow, kind)
    return seeded is not None and seeded.fingerprint == fingerprint


async def _remember(session: AsyncSession, kind: str, fingerprint: str, now: datetime) -> None:
    await session.merge(SeedRow(kind=kind, fingerprint=fingerprint, seeded_at=now))


def _fingerprint(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _read_sources(path: Path) -> Iterator[dict[str, str | None]]:
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            yield {"name": row.pop("source"), **{column: value or None for column, value in row.items()}}
