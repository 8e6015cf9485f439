"""Real processes: what was acknowledged survives kill -9, two replicas import one file once, a database comes back."""

import asyncio
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event, text

from service.app import create_app
from service.catalog.records import DATA
from service.database import Database
from service.settings import Settings
from tests.conftest import Databases, Team, make_key, serving
from tests.submissions.samples import USUAL_RATE, sample

PATH = "/v1/measurements"
KILLS = int(os.environ.get("TRAINCAST_TEST_KILLS", "2"))
"""How often the service is killed; `make kill-loop` does so more often."""


class Replica:
    """The service as a process of its own, which can be killed and started again on the same port."""

    def __init__(self, database: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = os.environ | {
            "TRAINCAST_DATABASE_URL": database,
            "TRAINCAST_PORT": str(self.port),
            "TRAINCAST_LOG_LEVEL": "error",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it can answer."""
        command = [str(Path(sys.executable).with_name("traincast")), "serve"]
        self.process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not self._is_ready():
            assert self.process.poll() is None, "the service ended by itself"
            time.sleep(0.1)

    def kill(self) -> None:
        """Ends it as a crash would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def replicas(database: str, count: int) -> Iterator[list[Replica]]:
    """Some running replicas on one database."""
    made = [Replica(database) for _ in range(count)]
    try:
        for replica in made:
            replica.start()
        yield made
    finally:
        for replica in made:
            replica.kill()


def ids_of_teams(database: str) -> list[str]:
    """The ids of all submitted measurements."""

    async def read() -> list[str]:
        opened = Database(database)
        async with opened.engine.connect() as connection:
            rows = await connection.execute(text("SELECT id FROM measurements WHERE team_id IS NOT NULL"))
            found = [str(row.id) for row in rows]
        await opened.close()
        return found

    return asyncio.run(read())


def test_what_was_acknowledged_survives_kills(seeded_database: str) -> None:
    """Three callers submit without pause, each retrying under its key until it is answered, while the service is killed
    at random moments."""
    key = make_key(seeded_database, "steadfast", "submit")
    done = threading.Event()
    acknowledged: dict[str, str] = {}

    def submit_on_and_on(caller: int) -> None:
        number = 0
        while not done.is_set():
            number += 1
            once = f"{caller}-{number}"
            body = sample(provenance={"source": once})
            headers = {"authorization": f"Bearer {key}", "idempotency-key": once}
            while not done.is_set():
                try:
                    answer = httpx.post(f"{replica.url}{PATH}", json=body, headers=headers, timeout=30)
                except httpx.TransportError:
                    time.sleep(0.05)
                    continue
                if answer.status_code in (200, 201):
                    acknowledged[once] = answer.json()["id"]
                    break
                assert answer.status_code == 503, answer.text

    with replicas(seeded_database, 1) as (replica,), ThreadPoolExecutor(3) as pool:
        callers = [pool.submit(submit_on_and_on, caller) for caller in range(3)]
        try:
            for _ in range(KILLS):
                before = len(acknowledged)
                while len(acknowledged) < before + 5 and not any(caller.done() for caller in callers):
                    time.sleep(0.01)
                time.sleep(random.uniform(0, 0.1))
                replica.kill()
                replica.start()
        finally:
            done.set()
        for caller in callers:
            caller.result()
    stored = ids_of_teams(seeded_database)
    assert len(stored) == len(set(stored))
    assert set(acknowledged.values()) <= set(stored)
    assert len(set(acknowledged.values())) == len(acknowledged) >= 5 * KILLS


def test_two_replicas_that_import_one_file_store_each_row_once(seeded_database: str) -> None:
    key = make_key(seeded_database, "twins", "submit")
    content = (DATA / "measurements" / "megatron-lm-repo.csv").read_bytes()

    def imported(replica: Replica) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {key}", "content-type": "text/csv"}
        answer = httpx.post(f"{replica.url}{PATH}/import", content=content, headers=headers, timeout=120)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    with replicas(seeded_database, 2) as pair, ThreadPoolExecutor(2) as pool:
        first, second = pool.map(imported, pair)
    stored = ids_of_teams(seeded_database)
    new = [report["accepted"] + report["quarantined"] for report in (first, second)]
    assert sum(new) == len(stored) == len(set(stored)) > 10
    same = [[item.get("id") for item in report["items"]] for report in (first, second)]
    assert same[0] == same[1], "both name the same rows, whoever stored them"


def test_a_restarted_database_is_waited_for(databases: Databases) -> None:
    if databases.server is None:
        pytest.skip("SQLite has no server to restart")
    url = databases.seeded()
    with serving(create_app(Settings(database_url=url))) as address:
        team = Team(address, url, "patient", "submit")
        with team.http as http:
            assert http.post(PATH, json=sample()).status_code == 201
            moved = databases.rename(url)
            answer = http.post(PATH, json=sample())
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["content-type"] == "application/problem+json"
            assert http.get("/readyz").status_code == 503
            databases.rename(moved)
            assert http.get("/readyz").status_code == 200
            assert http.post(PATH, json=sample()).status_code == 201


def test_a_full_disk_is_said_and_breaks_nothing(databases: Databases) -> None:
    """The file may not grow, which SQLite reports as it does a full disk."""
    if databases.server is not None:
        pytest.skip("PostgreSQL's disk cannot be filled from here")
    url = databases.seeded()
    app = create_app(Settings(database_url=url))
    with serving(app) as address:
        team = Team(address, url, "plenty", "submit")
        with team.http as http:
            kept = http.post(PATH, json=sample()).json()["id"]
            file = url.removeprefix("sqlite:///")
            _limit_pages(app.state.database, file, grown_by=0)
            rows = [sample(USUAL_RATE + number, provenance={"notes": "x" * 9000}) for number in range(50)]
            lots = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
            headers = {"content-type": "application/x-ndjson"}
            answer = http.post(f"{PATH}/import", content=lots, headers=headers)
            assert answer.status_code == 507, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert http.get(f"{PATH}/{kept}").status_code == 200
            _limit_pages(app.state.database, file, grown_by=100_000)
            assert http.post(f"{PATH}/import", content=lots, headers=headers).json()["accepted"] == 50
    assert len(ids_of_teams(url)) == 51


def _limit_pages(database: Database, path: str, *, grown_by: int) -> None:
    """Lets a SQLite file grow by so many pages and no more, on every connection that the service takes from now on."""
    with sqlite3.connect(path) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()

    def on_checkout(connection: Any, *_: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count = {pages + grown_by}")
        cursor.close()

    event.listen(database.engine.sync_engine, "checkout", on_checkout)
