"""Alembic's entry: brings a database to the tables of this release.

``service.seed`` passes its open connection (and commits it); the ``alembic`` command passes none and gets one to the
database of the settings.
"""

import asyncio

from alembic import context
from sqlalchemy.engine import Connection

import service.calibrations.tables
import service.estimates.tables
import service.jobs
import service.measurements.tables
import service.teams.tables  # noqa: F401 -- the imports register the tables
from service.database import Base, Database
from service.settings import get_settings


def migrate(connection: Connection) -> None:
    """Runs the migrations on an open connection."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_configured_database() -> None:
    """Runs the migrations on the database of the settings."""
    database = Database(get_settings().database)
    async with database.engine.begin() as connection:
        await connection.run_sync(migrate)
    await database.close()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    asyncio.run(migrate_configured_database())
