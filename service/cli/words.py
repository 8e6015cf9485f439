"""What the commands share: how they read arguments and files, how they say what cannot be done."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from service.client import Traincast
    from service.database import Database
    from service.engine.forecast import Forecaster
    from service.settings import Settings

Made = TypeVar("Made")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Url = Annotated[
    str,
    typer.Option(help="Where the service is.", envvar="TRAINCAST_URL", show_envvar=True),
]
Key = Annotated[str | None, typer.Option(help="API key.", envvar="TRAINCAST_KEY", show_envvar=True, show_default=False)]
LOCAL = "http://127.0.0.1:8000"


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        fail(f"{path} is not text in UTF-8")
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")


def object_of(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file, or on standard input where the file is `-`; `what` says what it should be."""
    try:
        read = json.loads(sys.stdin.read() if str(path) == "-" else text_of(path))
    except (ValueError, RecursionError) as error:
        fail(f"{path} is not JSON: {error}")
    if not isinstance(read, dict):
        fail(f"{path}: {what} is a JSON object")
    return read


def pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not FIELD=VALUE", param_hint=option)
    return name.strip(), value.strip()


def literal(text: str) -> object:
    """Numbers, booleans and objects as JSON has them; anything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def shipped_forecaster() -> Forecaster:
    from service.engine.forecast import Forecaster
    from service.seed import CALIBRATION

    if not CALIBRATION.exists():
        fail("no calibration ships with this installation: fit one with traincast calibrate")
    return Forecaster.load(CALIBRATION)


def fail_with(problem: dict[str, Any]) -> NoReturn:
    """Says what the problem document says, a line for each field at fault."""
    errors = problem.get("errors") or []
    lines = [
        f"{error['field']}: {error['message']}" + (f" ({error['hint']})" if error.get("hint") else "")
        for error in errors
    ]
    fail("\n".join(lines) or str(problem.get("detail", problem)))


def fail(message: str) -> NoReturn:
    plain = os.environ.get("NO_COLOR")
    typer.echo(message if plain else typer.style(message, fg=typer.colors.RED), err=True)
    raise typer.Exit(1)


def settings_of_environment() -> Settings:
    """The settings; ends the command where one is wrong, with its name and what it takes."""
    from pydantic import ValidationError

    from service.settings import PREFIX, get_settings

    try:
        return get_settings()
    except ValidationError as error:
        wrong = [
            f"{PREFIX}{str(flaw['loc'][0]).upper()}: {flaw['msg'].removeprefix('Value error, ')}"
            for flaw in error.errors(include_url=False, include_input=False)
        ]
        fail("\n".join(wrong))


def on_database(work: Callable[[Database], Awaitable[Made]]) -> Made:
    """Does the work on the database of the settings and closes it; ends the command where that cannot be used."""
    import asyncio

    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    from service.database import Database

    settings = settings_of_environment()
    try:
        database = Database(settings.database)
    except OSError as error:
        fail(f"TRAINCAST_HOME, TRAINCAST_DATABASE_URL: the database's folder cannot be made: {error}")

    async def run() -> Made:
        try:
            return await work(database)
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except SQLAlchemyError as error:
        # What the driver says names the server, and no password, which the URL may hold in more than one place.
        said = error.orig if isinstance(error, DBAPIError) else error
        names = "TRAINCAST_HOME, TRAINCAST_DATABASE_URL" if database.is_sqlite else "TRAINCAST_DATABASE_URL"
        fail(f"{names}: the database cannot be used: {' '.join(str(said).split())}")


@contextmanager
def service_at(url: str, key: str | None) -> Iterator[Traincast]:
    """The service, whose refusals end the command with what it says."""
    import httpx

    from service.client import Traincast, TraincastError

    try:
        with Traincast(url, key=key) as service:
            yield service
    except TraincastError as error:
        fail_with(error.problem)
    except httpx.HTTPError as error:
        fail(f"{url} cannot be reached: {error}")
