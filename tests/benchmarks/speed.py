"""How fast the service is on this machine, and how much memory it takes: ``make bench``.

Prints a table; judges nothing, for clocks differ from machine to machine.
"""

import asyncio
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from service.app import create_app
from service.catalog.catalog import load_catalog
from service.database import Database
from service.engine.forecast import Forecaster
from service.seed import CALIBRATION, prepare
from service.settings import Settings
from tests.conftest import serving

QUESTION = {
    "model": {"name": "llama-3-8b"},
    "data": {"tokens": 1e12, "sequence_length": 8192},
    "hardware": {"accelerator": "H100-SXM5-80GB", "count": 256},
    "training": {"precision": "bf16", "global_batch": 512},
}
REQUESTS = 300
CALLERS = 8
LINES = 5000


def seconds(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def latencies(url: str, callers: int) -> tuple[list[float], float]:
    """Seconds of each of ``REQUESTS`` estimates asked for by some callers at once, and of all together."""
    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(callers) as pool:

        def ask(_: int) -> float:
            return seconds(lambda: client.post("/v1/estimates", json=QUESTION).raise_for_status())

        started = time.perf_counter()
        found = list(pool.map(ask, range(REQUESTS)))
        return found, time.perf_counter() - started


def stream(url: str) -> None:
    """Asks for ``LINES`` estimates as one NDJSON stream."""
    line = json.dumps(QUESTION) + "\n"
    headers = {"content-type": "application/x-ndjson"}
    answer = httpx.post(f"{url}/v1/estimates/batch", content=line * LINES, headers=headers, timeout=600)
    answer.raise_for_status()


async def seed(url: str) -> None:
    """Migrates and seeds a database."""
    database = Database(url)
    await prepare(database)
    await database.close()


def main() -> None:
    """Measures and prints."""
    table = Table("what", "figure", title="Traincast on this machine")
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'bench.sqlite3'}"
        table.add_row("load the catalogs", f"{seconds(load_catalog):.2f} s")
        table.add_row("load the calibration", f"{seconds(lambda: Forecaster.load(CALIBRATION)):.2f} s")
        table.add_row("first start: migrate and seed", f"{seconds(lambda: asyncio.run(seed(url))):.2f} s")
        table.add_row("next start: find it done", f"{seconds(lambda: asyncio.run(seed(url))):.3f} s")
        with serving(create_app(Settings(database_url=url))) as address:
            latencies(address, 1)
            for callers in (1, CALLERS):
                found, total = latencies(address, callers)
                centiles = statistics.quantiles(found, n=100)
                table.add_row(
                    f"POST /v1/estimates, {callers} at once",
                    f"median {centiles[49] * 1e3:.1f} ms, 95th centile {centiles[94] * 1e3:.1f} ms, "
                    f"{REQUESTS / total:.0f} per second",
                )
            spent = seconds(lambda: stream(address))
            table.add_row(f"POST /v1/estimates/batch, {LINES} lines", f"{LINES / spent:.0f} per second")
    # Linux counts kilobytes of 1024 bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    table.add_row("peak memory, callers included", f"{peak:.2f} GB")
    Console().print(table)


if __name__ == "__main__":
    main()
