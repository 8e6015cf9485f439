"""`traincast keys`: made, listed and revoked on the database of the settings."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.words import Json, Made, fail, on_database

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from service.database import Database

keys = typer.Typer(name="keys", help="API keys: who may submit, decide, calibrate, administer.", no_args_is_help=True)


@keys.command()
def create(
    team: Annotated[str, typer.Option(help="Team that the key acts for; made if there is none of that name.")],
    scope: Annotated[list[str], typer.Option(help="What it allows: submit, curate, calibrate, admin; repeatable.")],
    as_json: Json = False,
) -> None:
    """Make a key and print it, once: only its hash is stored.

    Example: `traincast keys create --team vision --scope submit --scope curate`
    """
    from service.teams.repository import Actor
    from service.teams.service import create_key

    try:
        made = _on_database(lambda session: create_key(session, team, scope, Actor()))
    except ValueError as error:
        fail(str(error))
    if as_json:
        print(json.dumps({"id": made.id, "key": made.key, "team": made.team, "scopes": list(made.scopes)}))
    else:
        print(made.key)
        typer.echo(f"Key {made.id} of team {made.team} ({', '.join(made.scopes)}); it is not shown again.", err=True)


@keys.command(name="list")
def list_keys(
    team: Annotated[str | None, typer.Option(help="Only this team's.")] = None, as_json: Json = False
) -> None:
    """List keys: team, scopes, when made, last used and revoked. The keys themselves are not known.

    Example: `traincast keys list --team vision --json`
    """
    from service.teams.repository import TeamRepository
    from service.teams.service import described

    held = [described(key) for key in _on_database(lambda session: TeamRepository(session).keys(team))]
    if as_json:
        print(json.dumps(held))
        return
    from rich.table import Table

    from service import rendering

    columns = ("id", "team", "scopes", "created_at", "last_used_at", "revoked_at")
    table = Table(*columns, box=None, pad_edge=False)
    for key in held:
        scopes = key["scopes"]
        shown = {**key, "scopes": " ".join(scopes) if isinstance(scopes, list) else ""}
        table.add_row(*(str(shown[column] or "") for column in columns))
    rendering.console().print(table)


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, as `keys list` shows it.")],
    as_json: Json = False,
) -> None:
    """Revoke a key; every replica refuses it within 5 seconds.

    Example: `traincast keys revoke k_2f1d0c9b8a7e`
    """
    from service.teams.repository import Actor
    from service.teams.service import revoke_key

    try:
        row = _on_database(lambda session: revoke_key(session, key_id, Actor()))
    except LookupError as error:
        fail(str(error))
    revoked = row.revoked_at.isoformat() if row.revoked_at else None
    print(json.dumps({"id": row.id, "revoked_at": revoked}) if as_json else f"Key {row.id} is revoked.")


def _on_database(work: Callable[[AsyncSession], Awaitable[Made]]) -> Made:
    """Does the work in one transaction, on tables brought to this release."""
    from service.seed import migrate_only

    async def run(database: Database) -> Made:
        await migrate_only(database)
        async with database.writing() as session:
            made = await work(session)
            await session.commit()
            return made

    return on_database(run)
