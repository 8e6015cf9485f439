"""`make accuracy`: what it holds out, writes, compares and draws."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from service.calibrations import accuracy
from service.calibrations.accuracy_tables import (
    README_BEGIN,
    README_END,
    moved,
    moved_tables,
    read_report,
    readme_tables,
    tables,
    with_tables,
)
from service.calibrations.fit import CALIBRATION, Calibrated, hold_out
from service.calibrations.schemas import Accuracy
from service.calibrations.shipped import Measured, configuration_digest
from service.engine.held_out import leave_lineages_out

LEFT_OUT = "internevo-train-performance"


@pytest.fixture(scope="module")
def result(few: Measured) -> Calibrated:
    return hold_out(few, [LEFT_OUT], processes=1)


@pytest.fixture(scope="module")
def report(result: Calibrated) -> dict[str, Any]:
    return result.forecaster.report


def text(*printed: Any) -> str:
    console = Console(width=250, record=True, file=None, quiet=False)
    with console.capture() as capture:
        for one in printed:
            console.print(one)
    return capture.get()


def test_only_what_was_asked_for_is_held_out(result: Calibrated, few: Measured, report: dict[str, Any]) -> None:
    timed = np.isfinite(few.log_seconds)
    left = few.table.take(timed).text("lineage") == LEFT_OUT
    assert np.isfinite(result.held_out.predicted[left]).all()
    assert np.isnan(result.held_out.predicted[~left]).all()
    assert list(report["by_source"]) == [LEFT_OUT]
    assert report["by_source"][LEFT_OUT]["n"] == left.sum()
    # Twenty of them were learned, and the rest is scored.
    assert report["warm"]["by_source"][LEFT_OUT]["n"] == left.sum() - 20


def test_a_calibration_tells_how_many_lineages_are_done(result: Calibrated, few: Measured) -> None:
    timed = np.isfinite(few.log_seconds)
    told: list[float] = []
    leave_lineages_out(
        few.table.take(timed),
        few.log_seconds[timed],
        result.fitted,
        lineages=[LEFT_OUT, "mxnet-perf-faq"],
        processes=1,
        progress=told.append,
    )
    assert told == [0.5, 1.0]


def test_the_report_is_what_the_api_promises(report: dict[str, Any]) -> None:
    assert Accuracy.model_validate(report).by_source[LEFT_OUT].class_ == "transformer"


def test_the_report_is_printed_by_every_name(report: dict[str, Any]) -> None:
    printed = text(*tables(report))
    for title in ("Overall", "By family", "By grade", "By accelerator", "Warm, by source"):
        assert title in printed
    assert LEFT_OUT in printed


def test_what_moved_is_said_for_names_that_both_reports_have(report: dict[str, Any]) -> None:
    before = json.loads(json.dumps(report))
    before["by_source"][LEFT_OUT]["mape"] = 0.5
    before["by_source"]["gone"] = {**before["by_source"][LEFT_OUT], "mape": 9.0}
    differences = moved(report, before)
    now = report["by_source"][LEFT_OUT]["mape"]
    assert list(differences["By source, cold"]) == [LEFT_OUT]
    assert differences["By source, cold"][LEFT_OUT]["mape"] == [0.5, now]
    # Overall is of the sources that both know, or a report of one lineage could not be compared.
    assert differences["Overall, cold"]["Transformers (1 sources)"]["mape"] == [0.5, now]
    assert f"0.500 → {now:.3f}" in text(*moved_tables(differences))


def test_the_command_writes_report_differences_and_figures(
    result: Calibrated, report: dict[str, Any], tmp_path: Path
) -> None:
    accuracy.write(result, tmp_path, report, Console(quiet=True))
    assert read_report(tmp_path / "report.json") == json.loads(json.dumps(report))
    assert (tmp_path / "moved.json").exists()
    figures = {path.name for path in tmp_path.glob("*.png")}
    assert figures == {
        "predicted_against_measured.png",
        "predicted_by_family.png",
        "reliability.png",
        "error_by_source.png",
    }
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in figures)


def test_a_lineage_that_does_not_exist_is_named(few: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "load_shipped", lambda: few)
    with pytest.raises(SystemExit, match="no such lineage: nowhere"):
        accuracy.main(["--leave", "nowhere"])


def test_the_readme_has_a_place_for_its_tables(report: dict[str, Any]) -> None:
    readme = f"before\n{README_BEGIN}old\n{README_END}\nafter\n"
    filled = with_tables(readme, report)
    assert filled == f"before\n{readme_tables(report)}\nafter\n"
    assert with_tables(filled, report) == filled
    with pytest.raises(ValueError, match="no place"):
        with_tables("nothing", report)


def test_peak_memory_is_told_where_it_was_judged(report: dict[str, Any]) -> None:
    lineage = {"n": 9, "mape": 0.2, "median_ape": 0.1, "fit_share": 0.9}
    whole = {"rows": 9, "mape": 0.123, "fit_share": 0.97, "by_lineage": {"somebody": lineage}}
    told = readme_tables({**report, "memory": whole})
    assert "mean APE 12 %, the mean over 1 lineages; of the runs that ran, 97 % are predicted to fit" in told
    assert "somebody" in text(*tables({**report, "memory": whole}))


def test_the_shipped_calibration_can_be_compared_with_whatever_engine_reads_it() -> None:
    assert read_report(CALIBRATION)["by_source"]


def test_repeats_state_the_same_run_whatever_came_of_it() -> None:
    run = {"model.name": "resnet-50", "hardware.count": 8, "result.unit": "samples_per_second"}
    again = {**run, "result.value": 7.0, "provenance.notes": "again", "provenance.locator": "table 2"}
    assert configuration_digest(run) == configuration_digest(again)
    assert configuration_digest(run) != configuration_digest({**run, "hardware.count": 4})
    assert configuration_digest(run) != configuration_digest({**run, "provenance.measured_on": "2020-01-01"})
