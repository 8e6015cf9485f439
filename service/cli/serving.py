"""`traincast serve`, and what prepares a database and the specification."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.words import on_database, settings_of_environment
from service.threads import ONE_THREAD

if TYPE_CHECKING:
    from service.database import Database

LARGEST_HEADERS = 64 * 1024
"""Bytes of a request's line and headers."""
KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than a proxy's own (nginx: 60 s), so that it sends into no closed one."""


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. [default: TRAINCAST_HOST or 127.0.0.1]")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [default: TRAINCAST_PORT or 8000]")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Serve the HTTP API; migrate and seed the database first.

    Examples:

    - `traincast serve`
    - `TRAINCAST_DATABASE_URL=postgresql://me@db/traincast traincast serve --host 0.0.0.0 --port 80`
    """
    # Until the service is ready, which allows it again, hardly anything becomes garbage: to look for it takes a tenth
    # of the start.
    gc.disable()
    os.environ |= {name: value for name, value in ONE_THREAD.items() if name not in os.environ}
    import uvicorn

    from service.logs import logging_config
    from service.settings import misspelt

    settings = settings_of_environment()
    for name, meant in misspelt(os.environ).items():
        typer.echo(f"{name} is no setting and changes nothing: did you mean {meant}?", err=True)
    _first_key()
    uvicorn.run(
        "service.app:create_app",
        factory=True,
        host=host or settings.host,
        port=settings.port if port is None else port,
        workers=workers,
        log_level=settings.log_level,
        log_config=logging_config(settings),
        access_log=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        # httptools would read a request faster, but knows no largest head, and drops the body of one that offers
        # another protocol (`Upgrade: h2c`, which some clients send first).
        http="h11",
        ws="none",
        h11_max_incomplete_event_size=LARGEST_HEADERS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )


def migrate() -> None:
    """Bring the database's tables to this release. `serve` does so by itself.

    Example: `TRAINCAST_DATABASE_URL=postgresql://me@db/traincast traincast migrate`
    """
    from service.seed import migrate_only

    on_database(migrate_only)


def seed() -> None:
    """Fill the database with the measurements and the calibration that ship. `serve` does so by itself.

    Example: `TRAINCAST_HOME=/var/lib/traincast traincast seed`
    """
    import logging.config

    from service.logs import logging_config
    from service.seed import prepare

    logging.config.dictConfig(logging_config(settings_of_environment()))
    on_database(prepare)


def openapi() -> None:
    """Write `openapi/openapi.json` as the service serves it.

    Example: `traincast openapi`
    """
    from service.openapi import main as write

    write()


def dashboard() -> None:
    """Write a Grafana dashboard of the service's metrics, as JSON that Grafana imports.

    Example: `traincast dashboard > dashboard.json`
    """
    from service.dashboard import main as write

    write()


def _first_key() -> None:
    """On a new SQLite database, makes and prints a key; whoever runs a shared database makes their own."""
    from service.seed import prepare
    from service.teams.service import NewKey, first_key

    async def run(database: Database) -> NewKey | None:
        if not database.is_sqlite:
            await database.ping()
            return None
        await prepare(database)
        async with database.writing() as session:
            made = await first_key(session)
            await session.commit()
            return made

    made = on_database(run)
    if made is not None:
        gc.collect()  # for once: what seeding a new database left would stay for good
        typer.echo(f"API key for this service (team {made.team}, all scopes; it is not shown again): {made.key}")
