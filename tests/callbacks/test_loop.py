"""A plain loop, measured and submitted to a running service."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from service.callbacks import TrainingTimer, surroundings
from tests.conftest import Team

RUN: dict[str, Any] = {
    "model": "resnet-50",
    "data": {"image_size": 224},
    "hardware": {"accelerator": "T4", "count": 1},
    "training": {"precision": "fp16"},
}


def timed(**more: Any) -> TrainingTimer:
    """A timer of that run, by whose clock a step takes a fifth of a second: as fast as a T4 is."""
    ticks = itertools.count()
    return TrainingTimer(**RUN | {"warm_up_steps": 1, "window_steps": 4, "clock": lambda: next(ticks) * 0.8} | more)


def train(timer: TrainingTimer) -> None:
    with timer:
        for _ in range(14):
            timer.step(samples=64)


def test_a_dry_run_says_what_it_would_submit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "measured.json"
    timer = timed(file=file)
    train(timer)
    assert timer.measurement is not None
    assert timer.measurement["result"] == {
        "value": pytest.approx(320),
        "unit": "samples_per_second",
        "basis": "steps",
    }
    assert timer.measurement["training"] == {"precision": "fp16", "global_batch": 64}
    assert json.loads(file.read_text()) == timer.measurement
    assert "dry run" in capsys.readouterr().err


def test_a_count_that_this_process_cannot_see_says_nothing_of_its_machines() -> None:
    timer = timed(hardware={"accelerator": "T4", "count": 8})
    train(timer)
    assert timer.measurement is not None
    assert timer.measurement["hardware"] == {"accelerator": "T4", "count": 8}


def test_it_submits_what_it_measured(ours: Team) -> None:
    timer = timed(url=str(ours.http.base_url), key=ours.key, submit=True, visibility="team")
    train(timer)
    assert timer.reporter.stored is not None
    stored = ours.http.get(f"/v1/measurements/{timer.reporter.stored.id}").json()
    assert stored["model"]["name"] == "resnet-50"
    assert stored["result"]["value"] == pytest.approx(320)
    assert (stored["status"], stored["visibility"]) == ("accepted", "team")
    assert "windows" in stored["provenance"]["notes"]


def test_a_service_that_is_away_does_not_end_the_training(caplog: pytest.LogCaptureFixture) -> None:
    timer = timed(url="http://127.0.0.1:9/nowhere", key="k", submit=True)
    train(timer)
    assert timer.measurement is not None
    assert timer.reporter.stored is None
    assert "training goes on" in caplog.text


def test_what_was_stated_wrongly_is_logged_and_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    timer = timed(data={"seq_len": 5})
    train(timer)
    assert timer.measurement is None
    assert "seq_len" in caplog.text


def test_a_loop_that_fails_is_not_reported_and_its_error_is_its_own() -> None:
    timer = timed()

    def fails() -> None:
        with timer:
            for _ in range(14):
                timer.step(samples=64)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert timer.measurement is None


def test_a_submission_that_cannot_be_is_refused_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINCAST_KEY", raising=False)
    with pytest.raises(ValueError, match="key"):
        TrainingTimer(**RUN, submit=True, url="http://127.0.0.1:9")
    with pytest.raises(TypeError, match="modle"):
        TrainingTimer(modle="resnet-50")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Intel(R) Xeon(R) Platinum 8480+", "Intel Xeon Platinum 8480+"),
        ("AMD EPYC 7742 64-Core Processor", "AMD EPYC 7742"),
        ("model name\t: Intel(R) Xeon(R) CPU E5-2699 v4 @ 2.20GHz\nphysical id\t: 0\n", "Intel Xeon E5-2699 v4"),
        (
            "model name\t: AMD EPYC 7763 64-Core Processor\nphysical id\t: 0\n\n"
            "model name\t: AMD EPYC 7763 64-Core Processor\nphysical id\t: 1\n",
            "2x AMD EPYC 7763",
        ),
    ],
)
def test_a_processor_is_named_as_the_catalog_names_it(text: str, name: str) -> None:
    from service.catalog.catalog import load_catalog

    assert surroundings.processor_name(text) == name
    assert load_catalog().accelerator(name) is not None


def test_a_launchers_environment_tells_how_many_machines() -> None:
    environment = {"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}
    assert surroundings.hardware("cpu", environment) | {"accelerator": ""} == {
        "accelerator": "",
        "count": 2,
        "per_node": 1,
    }
    assert surroundings.world_size(environment) == 16
