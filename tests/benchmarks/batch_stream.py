"""What a long stream of estimates takes: `python -m tests.benchmarks.batch_stream --lines 10_000_000`.

A worker of its own answers NDJSON over HTTP. Printed as it goes: answers, answers a second by the clock and by the
worker's processor time (which what else the machine does hardly changes), and the worker's resident memory, which
should stay where it is however long the stream.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson

from service.estimates.batch import NDJSON
from tests.benchmarks.speed import QUESTION, memory
from tests.replicas import Replica

AT_ONCE = 1000
"""Lines that are sent as one piece."""
UNLIMITED = {
    "TRAINCAST_STREAM_LIMIT_MB": "100000",
    "TRAINCAST_STREAM_SECONDS": "86400",
    "TRAINCAST_ANONYMOUS_BUDGET_PER_HOUR": "1000000000",
}


def question(number: int, varied: bool) -> bytes:
    """A line; of those that are varied the amount of data, the count, the batch and the precision differ."""
    data = {"tokens": 1e12 + 1e6 * number, "sequence_length": 8192}
    if not varied:
        return orjson.dumps({**QUESTION, "data": data})
    hardware = {**QUESTION["hardware"], "count": 8 * (1 + number % 64)}
    training = {"precision": ("bf16", "fp8")[number % 2], "global_batch": 512 * (1 + number % 7)}
    return orjson.dumps({**QUESTION, "data": data, "hardware": hardware, "training": training})


def questions(lines: int, varied: bool) -> Iterator[bytes]:
    """The body, piece by piece."""
    for begin in range(0, lines, AT_ONCE):
        numbers = range(begin, min(begin + AT_ONCE, lines))
        yield b"".join(question(number, varied) + b"\n" for number in numbers)


def processor_seconds(process: int) -> float:
    """Processor time that a process has taken, where the system tells; else NaN."""
    status = Path(f"/proc/{process}/stat")
    if not status.exists():
        return float("nan")
    # Fields 14 and 15 of proc(5), counted after the name, which may hold spaces.
    user, system = status.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Report:
    """Prints how far a stream is, and how quick it was since the last time."""

    def __init__(self, process: int) -> None:
        self.process = process
        self.began = self._now()

    def _now(self) -> tuple[float, float]:
        return time.perf_counter(), processor_seconds(self.process)

    def print(self, answered: int, since: int = 0, began: tuple[float, float] | None = None) -> tuple[float, float]:
        """Says how quick the answers since `since` came, counted from `began`; gives the time."""
        then, now = began or self.began, self._now()
        wall, processor = ((answered - since) / (after - before) for before, after in zip(then, now, strict=True))
        speed = f"{wall:,.0f} per second, {processor:,.0f} per second of processor"
        print(f"{answered:,}: {speed}; {memory(self.process)}", flush=True)
        return now


def stream(service: Replica, arguments: argparse.Namespace) -> None:
    """Sends the stream, reads the answers, and prints what it takes."""
    sent = time.perf_counter()
    parameters = {"fields": arguments.fields} if arguments.fields else {}
    with httpx.stream(
        "POST",
        f"{service.url}/v1/estimates/batch",
        params=parameters,
        content=questions(arguments.lines, arguments.varied),
        headers={"content-type": NDJSON},
        timeout=None,
    ) as answer:
        answer.raise_for_status()
        print(f"sent in {time.perf_counter() - sent:.1f} s; {memory(service.process.pid)}", flush=True)
        report = Report(service.process.pid)
        last, told, answered = report.began, 0, 0
        for piece in answer.iter_bytes():
            answered += piece.count(b"\n")
            if answered - told >= arguments.every:
                last, told = report.print(answered, told, last), answered
    print("all of it:", end=" ")
    report.print(answered)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=300_000, help="how many")
    parser.add_argument("--every", type=int, default=50_000, help="answers between two lines of the report")
    parser.add_argument("--fields", help="members to answer with (the query parameter); all by default")
    parser.add_argument("--varied", action="store_true", help="differ in more than the amount of data")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        service = Replica(f"sqlite:///{Path(folder) / 'bench.sqlite3'}", **UNLIMITED)
        try:
            service.wait_until_ready()
            stream(service, arguments)
        finally:
            service.stop()


if __name__ == "__main__":
    main()
