"""Two replicas on one database: one fits at a time, the dead have heirs, and all serve what is current."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.calibrations.job import MOST_ATTEMPTS
from service.teams.tables import AuditRow
from tests.replicas import Replica, in_database, make_key, replicas, submit, wait_until

# Replicas are PostgreSQL's business; that SQLite, too, fits one at a time is left to the slow tests.
pytestmark = pytest.mark.slow_on("sqlite")

QUESTION = {"model": {"name": "resnet-50"}, "hardware": {"accelerator": "V100-SXM2-16GB"}}
RUN = {
    "provenance.source": "ours",
    "model.name": "resnet-50",
    "hardware.accelerator": "V100-SXM2-16GB",
    "hardware.count": 1,
    "training.precision": "fp16",
    "training.global_batch": 128,
    "result.value": 800.0,
    "result.unit": "samples_per_second",
}


def calibrations(replica: Replica) -> list[dict[str, Any]]:
    """All calibrations as a replica lists them, newest first."""
    found: list[dict[str, Any]] = httpx.get(f"{replica.url}/v1/calibrations").json()["items"]
    return found


def calibration(replica: Replica, version: str) -> dict[str, Any]:
    """One calibration as a replica tells of it."""
    found: dict[str, Any] = httpx.get(f"{replica.url}/v1/calibrations/{version}").json()
    return found


def request(replica: Replica, key: dict[str, str], *, force: bool) -> str:
    """Requests a fit; gives its version."""
    answer = httpx.post(f"{replica.url}/v1/calibrations", headers=key, json={"force": force})
    assert answer.status_code == 202
    version: str = answer.json()["version"]
    assert answer.headers["location"] == f"/v1/calibrations/{version}"
    return version


def served(replica: Replica) -> str:
    """The calibration that a replica answers with."""
    version: str = httpx.get(f"{replica.url}/readyz").json()["calibration"]
    return version


def fitting_process(replica: Replica) -> int | None:
    """The process that a replica has started to fit, if there is one."""
    for children in Path(f"/proc/{replica.process.pid}/task").glob("*/children"):
        for child in children.read_text().split():
            if b"service.calibrations.fitting" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def is_alive(process: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def asked_all_the_while(replica: Replica) -> Iterator[Counter[int]]:
    """Estimates asked for one after another; gives how many were answered with which status."""
    statuses: Counter[int] = Counter()
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=replica.url, timeout=60) as client:
            # A few callers' load: without a pause, these would leave the fit, which steps back, no processor.
            while not ended.wait(0.2):
                statuses[client.post("/v1/estimates", json=QUESTION).status_code] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        thread.join()


def test_one_is_fitted_at_a_time_and_every_replica_serves_what_is_current(small_database: str) -> None:
    key, team_id = make_key(small_database, "ours", ["calibrate"])
    with replicas(small_database, 2) as (first, second):
        shipped = served(first)
        with asked_all_the_while(first) as of_first, asked_all_the_while(second) as of_second:
            plain = request(first, key, force=False)
            wait_until(lambda: calibration(second, plain)["status"] == "running", "the first fit runs")
            forced = request(second, key, force=True)
            assert forced != plain, "the running one does not see what arrives now"
            assert request(first, key, force=False) == forced, "a request joins the one that waits"
            seen_running: set[int] = set()

            def both_done() -> bool:
                found = calibrations(second)
                seen_running.add(sum(one["status"] == "running" for one in found))
                assert all(one["status"] != "failed" for one in found), found
                return all(one["status"] == "succeeded" for one in found)

            wait_until(both_done, "both are fitted")
            for replica in (first, second):
                wait_until(lambda at=replica: served(at) == forced, "the forced one is served")  # type: ignore[misc]
            worse, better = calibration(first, plain), calibration(first, forced)
            rolled_back = httpx.post(f"{second.url}/v1/calibrations/{shipped}/activate", headers=key)
            assert rolled_back.json()["in_use"]
            for replica in (first, second):
                wait_until(lambda at=replica: served(at) == shipped, "the shipped one is served")  # type: ignore[misc]
        assert max(seen_running) == 1
        assert set(of_first) == set(of_second) == {200}, "no request was dropped"

    # A few sources know less than all that ship.
    assert worse["activated_at"] is None
    assert worse["verdict"].startswith("Not put in use")
    assert worse["comparison"]["after"]["median_ape"] > worse["comparison"]["before"]["median_ape"]
    assert better["verdict"].startswith("Put in use by force")
    assert better["activated_at"] is not None
    assert better["started_at"] >= worse["finished_at"]
    assert better["progress"] == 1.0
    assert better["content"]["coefficients"]
    # The same measurements give the same calibration to the bit.
    assert better["fingerprint"] == worse["fingerprint"]
    assert better["digest"] == worse["digest"]

    async def audited(session: AsyncSession) -> list[tuple[str, str, str | None]]:
        acts = select(AuditRow.action, AuditRow.subject, AuditRow.team_id).order_by(AuditRow.number)
        return [(row.action, row.subject, row.team_id) for row in await session.execute(acts)]

    assert ("calibration.activate", shipped, team_id) in in_database(small_database, audited)


def test_a_fit_survives_the_death_of_its_process_and_of_its_replica(small_database: str) -> None:
    key, _ = make_key(small_database, "ours", ["calibrate"])
    with replicas(small_database, 2) as (first, second):
        version = request(first, key, force=True)
        fitting: dict[str, int] = {}

        def started() -> bool:
            for replica in (first, second):
                process = fitting_process(replica)
                if process is not None and process not in fitting.values():
                    fitting[replica.url] = process
                    return True
            return False

        wait_until(started, "it is fitted")
        (killed,) = fitting.values()
        os.kill(killed, signal.SIGKILL)
        wait_until(started, "it is fitted again")
        (fitter,) = (replica for replica in (first, second) if fitting.get(replica.url) not in (None, killed))
        heir = second if fitter is first else first
        orphan = fitting[fitter.url]
        fitter.kill()
        wait_until(lambda: not is_alive(orphan), "the dead replica's fit ends, too")
        wait_until(lambda: calibration(heir, version)["status"] == "succeeded", "the other replica has fitted it")
        wait_until(lambda: served(heir) == version, "it is served")
        assert 3 <= calibration(heir, version)["attempts"] <= MOST_ATTEMPTS


def test_enough_new_measurements_are_fitted_by_themselves_and_any_by_command(small_database: str) -> None:
    key, team_id = make_key(small_database, "ours")
    rows = [RUN | {"training.global_batch": 8 * (number + 1)} for number in range(20)]
    ids = submit(small_database, rows[:10], team_id=team_id, site="ours")
    submit(small_database, rows[:15], team_id=team_id, site="ours", visibility="team")
    submit(small_database, rows[:15], team_id=team_id, site="ours", status="quarantined")
    with replicas(small_database, 1, TRAINCAST_CALIBRATE_AFTER="20") as (replica,):
        assert [one["trigger"] for one in calibrations(replica)] == ["shipped"], "ten usable ones are too few"
        ids += submit(small_database, rows[10:], team_id=team_id, site="ours")

        def fitted() -> list[dict[str, Any]]:
            return [one for one in calibrations(replica) if one["trigger"] == "automatic" and one["finished_at"]]

        wait_until(lambda: bool(fitted()), "a fit begins and ends by itself")
        (newest,) = fitted()
        command = "from service.cli import main; main()"
        flags = ["calibrate", "--url", replica.url, "--key", key["authorization"].removeprefix("Bearer "), "--json"]
        told = subprocess.run([sys.executable, "-c", command, *flags], capture_output=True, text=True, check=True)
    by_command = json.loads(told.stdout)
    assert (by_command["status"], by_command["trigger"]) == ("succeeded", "request")
    assert by_command["digest"] == newest["digest"], "the same measurements give the same calibration"
    assert newest["submitted_rows"] == len(ids)
