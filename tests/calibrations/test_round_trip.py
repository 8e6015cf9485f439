"""A complete export, restored in a new service: the same rows, and from them the same calibration to the bit."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.client import Traincast
from service.settings import Settings
from tests.calibrations.conftest import FEWEST_SOURCES, SMALL_SOURCES
from tests.conftest import Databases, make_key, serving
from tests.replicas import forget_all_but, keep_only, wait_until


@contextmanager
def service_on(url: str, team: str) -> Iterator[Traincast]:
    """A team's client of a service on that database; its key has every scope."""
    key = make_key(url, team, "submit", "curate", "calibrate", "admin")
    with serving(create_app(Settings(database_url=url))) as address, Traincast(address, key=key) as traincast:
        yield traincast


def run(batch: int, **more: Any) -> dict[str, Any]:
    """A measurement that a team submits; a fit that forgot one, or took one too many, would come out differently."""
    return {
        "model": {"name": "resnet-50"},
        "data": {"image_size": 224},
        "hardware": {"accelerator": "V100-SXM2-16GB", "count": 8},
        "training": {"precision": "fp16", "global_batch": batch},
        "result": {"value": 9800, "unit": "samples_per_second"},
    } | more


def calibrated(traincast: Traincast) -> dict[str, Any]:
    """A calibration fitted on what the service holds now."""
    version = traincast.calibrate(force=True)["version"]

    def ended() -> bool:
        found: str = traincast.get(f"/v1/calibrations/{version}")["status"]
        assert found != "failed"
        return found == "succeeded"

    wait_until(ended, "it is fitted")
    made: dict[str, Any] = traincast.get(f"/v1/calibrations/{version}")
    return made


@pytest.mark.slow_on("postgresql")
def test_what_is_restored_is_calibrated_to_the_same_bits(databases: Databases, tmp_path: Path) -> None:
    file = tmp_path / "everything.ndjson"
    fresh = databases.seeded()
    forget_all_but(fresh, SMALL_SOURCES)
    used = databases.copy(fresh)
    keep_only(used, FEWEST_SOURCES)
    with service_on(used, "ours") as here:
        kept = [here.submit(**run(batch, site="lab")) for batch in (512, 1024, 2048)]
        here.submit(**run(256, visibility="team"))
        here.withdraw(here.submit(**run(128)).id)
        here.reject(here.submit(**run(64)).id, "a slip")
        file.write_bytes(b"".join(here.export(complete=True, format="ndjson")))
        before = calibrated(here)
    # As of a service that starts on an empty database: what ships, all of it in use, and nothing else.
    with service_on(fresh, "administrators") as there:
        there.import_rows(file, restore=True)
        again = b"".join(there.export(complete=True, format="ndjson"))
        after = calibrated(there)
    assert sorted(again.splitlines()) == sorted(file.read_bytes().splitlines())
    assert before["submitted_rows"] == after["submitted_rows"] == len(kept)
    assert after["content"]["coefficients"] == before["content"]["coefficients"]
    # The digest is of all that the forecaster holds: coefficients, effects, spreads, evidence, accuracy.
    for what in ("fingerprint", "digest", "rows"):
        assert after[what] == before[what], what
