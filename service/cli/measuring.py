"""`traincast submit`, `import` and `export`: measurements in and out."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from service.cli.words import (
    LOCAL,
    Json,
    Key,
    Url,
    fail,
    fail_with,
    object_of,
    on_database,
    pair,
    service_at,
)

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from service.database import Database
    from service.submissions.schemas import ImportReport


def submit(
    file: Annotated[
        Path, typer.Argument(help="One measurement as JSON, as POST /v1/measurements takes it; - for standard input.")
    ],
    url: Url = LOCAL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Submit one measurement to a service. Needs a key with the scope `submit`.

    Example: `echo '{"model": {"name": "resnet-50"}, "hardware": {"accelerator": "T4"}, "result": {"value": 300, "unit":
    "samples_per_second"}}' | traincast submit - --key KEY`
    """
    parts = {"model": {}, "hardware": {}, "result": {}, **object_of(file, "a measurement")}
    with service_at(url, key) as service:
        stored = service.submit(**parts)
    if as_json:
        print(stored.model_dump_json(indent=2, exclude_unset=True))
    else:
        told = f": {stored.status_reason}" if stored.status_reason else ""
        print(f"{stored.id} {'submitted before, ' if stored.duplicate else ''}{stored.status}{told}")
        for warning in stored.warnings:
            print(warning)


def import_measurements(
    files: Annotated[
        list[Path], typer.Argument(help="Measurements: CSV with dotted columns, or NDJSON (.ndjson, .jsonl).")
    ],
    url: Url = LOCAL,
    key: Key = None,
    mode: Annotated[
        str,
        typer.Option(
            help="best_effort: each row on its own; atomic: all rows of a file or none; check: report, store nothing."
        ),
    ] = "best_effort",
    restore: Annotated[
        bool,
        typer.Option("--restore", help="Store rows of `export --complete` as they were; needs the scope `admin`."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Submit files of measurements to a service. Needs a key with the scope `submit`.

    Rows that the team has submitted before are not stored again: an import that was cut off is simply run again. Exits
    with 1 if rows were refused.

    Examples:

    - `traincast import runs.csv --mode check --key KEY`
    - `traincast import runs.csv --key KEY`
    - `traincast import everything.ndjson --restore --url https://traincast.example --key KEY`
    """
    from rich.progress import Progress

    from service import rendering
    from service.calls import ImportMode

    if mode not in get_args(ImportMode):
        raise typer.BadParameter(" or ".join(get_args(ImportMode)), param_hint="--mode")
    chosen = cast(ImportMode, mode)
    reports: dict[str, ImportReport] = {}
    with service_at(url, key) as service, Progress(console=rendering.console(stderr=True), transient=True) as progress:
        for file in files:
            try:
                task = progress.add_task(file.name, total=file.stat().st_size)
                sent = partial(_show_sent, progress, task)
                reports[str(file)] = service.import_rows(file, mode=chosen, restore=restore, sent=sent)
            except OSError as error:
                fail(f"{file} cannot be read: {error.strerror}")
    if as_json:
        print(json.dumps({name: report.model_dump(mode="json", exclude_none=True) for name, report in reports.items()}))
    else:
        for name, report in reports.items():
            _tell(name, report)
    if any(report.refused for report in reports.values()):
        raise typer.Exit(1)


def export(
    output: Annotated[Path | None, typer.Argument(help="File to write; standard output if none.")] = None,
    form: Annotated[str, typer.Option("--format", help="csv or ndjson. [default: by the file's name, else csv]")] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Only such measurements; FIELD.at_least, .at_most, .contains compare; repeatable.",
        ),
    ] = None,
    complete: Annotated[
        bool,
        typer.Option("--complete", help="Rows of every team and status, with ids, teams and times: for --restore."),
    ] = False,
) -> None:
    """Write the database's measurements, in the columns that an import takes.

    Examples:

    - `traincast export measurements.csv`
    - `traincast export --format ndjson --where model.family=decoder --where hardware.count.at_least=64 > large.ndjson`
    """
    named = form or ("ndjson" if output and output.suffix in (".ndjson", ".jsonl") else "csv")
    if named not in ("csv", "ndjson"):
        raise typer.BadParameter("csv or ndjson", param_hint="--format")
    pairs = [pair(text, "--where") for text in where or []]
    _export(output, named, pairs, complete)


def _export(output: Path | None, form: str, where: list[tuple[str, str]], complete: bool) -> None:
    from service.measurements.filters import read_filters
    from service.measurements.service import export as stream
    from service.problems import Problem

    try:
        filters = read_filters(where)
    except Problem as problem:
        fail_with(problem.document())
    target = output.open("wb") if output else sys.stdout.buffer

    async def write(database: Database) -> None:
        async for chunk in stream(database, filters, "ndjson" if form == "ndjson" else "csv", complete=complete):
            target.write(chunk)

    try:
        on_database(write)
    finally:
        if output:
            target.close()


def _show_sent(progress: Progress, task: TaskID, size: int) -> None:
    progress.update(task, completed=size)


def _tell(name: str, report: ImportReport) -> None:
    counts = {kind: getattr(report, kind) for kind in ("accepted", "quarantined", "duplicate", "refused", "restored")}
    print(f"{name}: {report.rows} rows, " + ", ".join(f"{count} {kind}" for kind, count in counts.items() if count))
    for item in report.items:
        if item.outcome in ("refused", "quarantined"):
            print(f"  row {item.row} {item.outcome}: {item.reason}", file=sys.stderr)
    if report.omitted:
        print(f"  and {report.omitted} rows that are not listed", file=sys.stderr)
