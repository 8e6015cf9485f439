"""Scores, reliability, repeats and the report, on figures that can be checked by hand."""

from typing import Any

import numpy as np
import pytest

from service.engine import accuracy
from service.engine.accuracy_report import report
from service.engine.evidence import GRADES
from service.engine.held_out import HeldOut
from service.engine.table import Table, TextArray

from .conftest import LLAMA, RESNET, TableOf


def texts(*values: str) -> TextArray:
    return np.array(values, dtype=object)


def test_scores_are_of_time() -> None:
    entry = accuracy.score(np.log([2.0, 1.0, 0.5]), np.log([1.0, 1.0, 1.0]), np.full(3, 0.6))
    assert entry["n"] == 3
    assert entry["mape"] == pytest.approx(0.5)  # twice as long: 100 %; half: 50 %
    assert entry["median_ape"] == pytest.approx(0.5)
    assert entry["bias"] == pytest.approx(0.0)
    assert entry["coverage_80"] == pytest.approx(1.0)  # 1.28 x 0.6 > ln 2
    assert entry["median_interval_ratio"] == pytest.approx(np.exp(2 * 1.2816 * 0.6), rel=1e-3)


def test_what_was_not_predicted_is_not_scored() -> None:
    assert accuracy.score(np.array([np.nan]), np.array([0.0]))["n"] == 0
    assert accuracy.score(np.array([0.0, np.nan]), np.array([0.0, 0.0]))["n"] == 1


def test_averages_count_every_source_once() -> None:
    few, many = ({"n": n, "mape": mape, "median_ape": mape} for n, mape in ((20, 0.1), (10_000, 0.3)))
    mean = accuracy.mean_over([few, many])
    assert (mean["sources"], mean["rows"]) == (2, 10_020)
    assert mean["mape"] == pytest.approx(0.2)


def test_honest_intervals_lie_on_the_diagonal() -> None:
    generator = np.random.default_rng(1)
    spread = generator.uniform(0.1, 1.0, 20_000)
    points = accuracy.reliability(generator.normal(0.0, spread), np.zeros(20_000), spread, texts(*["a"] * 20_000))
    assert [point["nominal"] for point in points] == list(accuracy.NOMINAL)
    for point in points:
        assert point["observed"] == pytest.approx(point["nominal"], abs=0.02)
    assert accuracy.reliability(np.full(2, np.nan), np.zeros(2), np.ones(2), texts("a", "a")) == []


def test_repeats_are_rows_that_state_the_same_but_another_value() -> None:
    seconds = np.log([0.9, 1.0, 1.1, 5.0, 2.0, 2.0, 7.0])
    runs = texts("x", "x", "x", "y", "z", "z", "x")
    sources = texts("a", "a", "a", "a", "a", "a", "b")
    # z repeats its figure, y and b's x have no sibling: only the three of a's x are repeats.
    found = accuracy.repeat_scatter(sources, runs, seconds)
    assert list(found) == ["a"]
    assert found["a"]["groups"] == 1
    assert found["a"]["rows"] == 3
    assert found["a"]["mape"] == pytest.approx(0.2 / 3, abs=1e-4)


@pytest.fixture
def two_sites(table_of: TableOf) -> Table:
    table = table_of(*[LLAMA] * 40, *[RESNET] * 30)
    site = texts(*["llm"] * 40, *["vision"] * 30)
    return table.replace(site=site, lineage=site)


def held_out(predicted: Any, warm: Any) -> HeldOut:
    variance = np.full(len(predicted), 0.04)
    return HeldOut(predicted, variance, warm, variance, predicted)


def whole_report(table: Table, predictions: HeldOut) -> dict[str, Any]:
    factors = {f"{kind}/{level}": 1.0 for kind in (*accuracy.CLASSES, "own") for level in GRADES}
    grades = np.full(len(table), "interpolated", dtype=object)
    runs = np.array([f"{index // 2}" for index in range(len(table))], dtype=object)
    measured = np.tile([0.0, 0.1], len(table) // 2)
    return report(table, measured, predictions, factors, grades, runs)


def test_the_report_says_the_same_by_every_name(two_sites: Table) -> None:
    found = whole_report(two_sites, held_out(np.full(70, 0.05), np.full(70, 0.05)))
    ape = found["by_source"]["llm"]["mape"]
    assert found["overall"]["transformer"]["mape"] == ape
    assert found["overall"]["other"]["sources"] == 1
    for part in ("by_family", "by_family_over_lineages"):
        assert found[part]["decoder"]["mape"] == ape
    assert found["by_accelerator"]["H100-SXM5-80GB"]["rows"] == 40
    assert found["by_grade"]["interpolated"]["sources"] == 2
    assert found["warm"]["by_grade"]["interpolated"]["rows"] == 70
    assert {"n", "class", "lineage"} <= set(found["by_source"]["vision"])
    assert len(found["reliability"]["other"]) == len(found["warm"]["reliability"]["other"]) == 9
    assert found["repeat_scatter"]["vision"]["groups"] == 15


def test_warm_goals_are_no_stricter_than_a_source_agrees_with_itself(two_sites: Table) -> None:
    found = whole_report(two_sites, held_out(np.full(70, 0.05), np.full(70, 0.05)))["warm"]["by_source"]
    assert found["llm"]["repeat_scatter"] == pytest.approx(0.05, abs=2e-3)
    assert found["llm"]["goal"] == pytest.approx(max(0.07, 1.3 * found["llm"]["repeat_scatter"]), abs=1e-3)
    assert found["vision"]["goal"] == pytest.approx(0.10)


def test_lineages_that_were_not_left_out_are_not_reported(two_sites: Table) -> None:
    predicted = np.where(np.arange(70) < 40, 0.05, np.nan)
    found = whole_report(two_sites, held_out(predicted, np.full(70, np.nan)))
    assert list(found["by_source"]) == ["llm"]
    assert found["overall"]["other"]["mape"] is None
    assert found["warm"]["by_source"] == {}
    assert found["reliability"]["other"] == []
