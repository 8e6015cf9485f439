"""How fast the service is on this machine, and how much memory it takes: ``make bench``.

Prints a table; judges nothing, for clocks differ from machine to machine. What can be is stated as a ratio to something
that this machine does in the same run: calls of NumPy, or the least that FastAPI takes.
"""

import asyncio
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from service.catalog.catalog import load_catalog
from service.catalog.resolve import resolve
from service.database import Database
from service.engine.forecast import Forecaster
from service.engine.table import FloatArray, Names, Table
from service.estimates.schemas import EstimateRequest
from service.seed import CALIBRATION, prepare
from tests.benchmarks.callers import Load, load
from tests.replicas import Replica, wait_until

QUESTION: dict[str, Any] = {
    "model": {"name": "llama-3-8b"},
    "data": {"tokens": 1e12, "sequence_length": 8192},
    "hardware": {"accelerator": "H100-SXM5-80GB", "count": 256},
    "training": {"precision": "bf16", "global_batch": 512},
}
LAID_OUT = {
    "tensor_parallel": 1, "pipeline_parallel": 1, "micro_batch": 1, "sharding": "fsdp", "recompute": "full",
}  # fmt: skip
REQUESTS = 1500
STEPS = 300
ROUNDS = 3
CALLERS = 16
LINES = 20_000
ROWS = 100_000


def seconds(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def quickest(work: Callable[[], object], *, times: int, repeats: int = 7) -> float:
    """Seconds that the work takes at its quickest, of so many repeats of so many times: what others do adds to it."""
    return min(seconds(lambda: [work() for _ in range(times)]) for _ in range(repeats)) / times


def numpy_call() -> float:
    """Seconds of one call of NumPy on one number: what an engine of arrays cannot do with less of, row by row."""
    one = np.ones(1)
    return quickest(lambda: np.add(one, one), times=100_000)


def many(table: Table, count: int) -> Table:
    """So many configurations that differ in layout, batch, count and length, from a table of one."""
    generator = np.random.default_rng(0)

    def times(unit: float, most: int) -> FloatArray:
        return np.asarray(unit * generator.integers(1, most + 1, count), dtype=np.float64)

    def powers(most: int) -> FloatArray:
        return np.asarray(2.0 ** generator.integers(0, most + 1, count), dtype=np.float64)

    def names(*vocabulary: str) -> Names:
        return Names(vocabulary, generator.integers(0, len(vocabulary), count))

    return table.take(np.zeros(count, dtype=np.int64)).replace(
        tensor_parallel=powers(3),
        pipeline_parallel=powers(3),
        micro_batch=powers(4),
        count=16.0 * powers(7),
        global_batch=times(64.0, 32),
        sequence_length=times(1024.0, 16),
        sharding=names("ddp", "zero1", "zero2", "fsdp"),
        recompute=names("none", "selective", "full"),
    )


def engine(table: RichTable) -> None:
    """Rows about the engine alone."""
    table.add_row("load the catalogs", f"{seconds(load_catalog):.2f} s")
    table.add_row("load the calibration", f"{seconds(lambda: Forecaster.load(CALIBRATION)):.2f} s")
    forecaster = Forecaster.load(CALIBRATION)
    asked = EstimateRequest.model_validate({**QUESTION, "training": {**QUESTION["training"], **LAID_OUT}})
    one = Table.from_rows([resolve(asked.configuration(), load_catalog()).values])
    call = numpy_call()
    grade, grades = np.array(["measured"], dtype=object), np.full(ROWS, "measured", dtype=object)

    def fresh() -> Table:
        return one.take(slice(None))  # what is remembered of a table is not remembered of its copy

    def looked_up(table: Table) -> None:
        forecaster.nearest(table)
        forecaster.evidence.nearest_distance(table)

    alone = quickest(lambda: forecaster.predict(fresh(), grades=grade), times=50)
    evidence = quickest(lambda: looked_up(fresh()), times=50)
    table.add_row("one call of NumPy on one number", f"{call * 1e9:.0f} ns")
    table.add_row("engine, one configuration", f"{alone * 1e6:.0f} us: {alone / call:.0f} calls of NumPy")
    table.add_row("evidence, one configuration", f"{evidence * 1e6:.0f} us")
    rows = many(one, ROWS)
    spent = quickest(lambda: forecaster.predict(rows, grades=grades), times=1, repeats=3)
    table.add_row(f"engine, a table of {ROWS:,}", f"{ROWS / spent:,.0f} per second: {spent / ROWS / call:.0f} calls")
    spent = quickest(lambda: forecaster.predict(rows), times=1, repeats=2)
    table.add_row("the same, graded by its evidence", f"{ROWS / spent:,.0f} per second")


@contextmanager
def bare(answer: bytes, folder: Path) -> Iterator[str]:
    """The URL of an endpoint of FastAPI that answers with these bytes, in a process of its own."""
    held = folder / "answer.json"
    held.write_bytes(answer)
    port = Replica.free_port()
    command = ["-m", "uvicorn", "--factory", "tests.benchmarks.bare:create_app"]
    environment = os.environ | {"TRAINCAST_BARE_ANSWER": str(held)}
    process = subprocess.Popen(
        [sys.executable, *command, "--port", str(port)], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(f"{url}/readyz"), "the bare endpoint answers")
        yield url
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    """Whether a server answers there."""
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def side_by_side(ours: str, theirs: str, fresh: Callable[[], list[bytes]], callers: int) -> tuple[Load, Load]:
    """What callers meet at both, in turn, so that what else this machine does meets both alike.

    `fresh` gives the bodies of a round: what was asked in another is remembered.
    """
    found: tuple[list[Load], list[Load]] = ([], [])
    for _ in range(ROUNDS):
        bodies = fresh()
        for url, met in zip((ours, theirs), found, strict=True):
            met.append(load(f"{url}/v1/estimates", bodies, callers))
    first, second = (
        Load([one for met in rounds for one in met.seconds], statistics.median(met.per_second for met in rounds))
        for rounds in found
    )
    return first, second


def asked(**sections: Any) -> bytes:
    """The body of a request like `QUESTION`, but for some of its sections."""
    return json.dumps(QUESTION | sections).encode()


def amounts(first: int, count: int) -> list[bytes]:
    """Requests about the same step and different amounts of data."""
    return [asked(data={**QUESTION["data"], "tokens": 1e12 + 1e9 * (first + index)}) for index in range(count)]


def steps(first: int, count: int) -> list[bytes]:
    """Requests about different steps, whose layouts are to be searched."""
    training = QUESTION["training"]
    return [asked(training={**training, "global_batch": 256 + first + index}) for index in range(count)]


def http(table: RichTable, service: str, folder: Path) -> None:
    """Rows about the service beside the least that FastAPI takes."""
    new = itertools.count(step=REQUESTS)
    kinds: dict[str, Callable[[], list[bytes]]] = {
        "each another step": lambda: steps(next(new), STEPS),
        "the same step, other data": lambda: amounts(next(new), REQUESTS),
        "the same words": lambda: [asked()] * REQUESTS,
    }
    with bare(httpx.post(f"{service}/v1/estimates", json=QUESTION).content, folder) as least:
        for (kind, fresh), callers in itertools.product(kinds.items(), (1, CALLERS)):
            ours, theirs = side_by_side(service, least, fresh, callers)
            middle, high = (statistics.quantiles(met.seconds, n=100)[49:99:49] for met in (ours, theirs))
            table.add_row(
                f"POST /v1/estimates, {kind}, {callers} at once",
                f"{ours.per_second:.0f} per second, median {middle[0] * 1e3:.1f} ms, p99 {middle[1] * 1e3:.1f} ms: "
                f"{ours.per_second / theirs.per_second:.0%} of a bare endpoint's {theirs.per_second:.0f}, "
                f"p99 {middle[1] / high[1]:.1f} times its {high[1] * 1e3:.1f} ms",
            )
    content = b"\n".join(amounts(0, LINES))
    headers = {"content-type": "application/x-ndjson"}

    def stream() -> None:
        httpx.post(f"{service}/v1/estimates/batch", content=content, headers=headers, timeout=600).raise_for_status()

    table.add_row(f"POST /v1/estimates/batch, {LINES:,} lines", f"{LINES / seconds(stream):,.0f} per second")


def memory(process: int) -> str:
    """Resident memory of a process, and its most so far, where the system tells."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return "not told here"
    lines = (line.split() for line in status.read_text().splitlines())
    kilobytes = {line[0]: int(line[1]) * 1024 for line in lines if line[0] in ("VmRSS:", "VmHWM:")}
    return f"{kilobytes['VmRSS:'] / 1e6:.0f} MB, {kilobytes['VmHWM:'] / 1e6:.0f} MB at most"


async def seed(url: str) -> None:
    """Migrates and seeds a database."""
    database = Database(url)
    await prepare(database)
    await database.close()


def main() -> None:
    """Measures and prints."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "fastapi", "pydantic"))
    title = f"Traincast on {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"
    table = RichTable("what", "figure", title=title)
    engine(table)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'bench.sqlite3'}"
        table.add_row("first start: migrate and seed", f"{seconds(lambda: asyncio.run(seed(url))):.2f} s")
        starts = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            service = Replica(url, TRAINCAST_ANONYMOUS_REQUESTS_PER_MINUTE="10000000")
            service.wait_until_ready()
            starts.append(time.perf_counter() - began)
            if len(starts) < ROUNDS:
                service.stop()
        table.add_row("next start: process to ready", f"{statistics.median(starts):.2f} s")
        try:
            table.add_row("memory of a worker, ready", memory(service.process.pid))
            http(table, service.url, folder)
            table.add_row("memory of a worker, after all this", memory(service.process.pid))
        finally:
            service.stop()
    Console().print(table)


if __name__ == "__main__":
    main()
