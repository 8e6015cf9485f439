"""`make accuracy-full`: its rules, and that what it compares can win."""

from typing import Any

import numpy as np
import pytest
from rich.console import Console

from service.calibrations import research
from service.calibrations.fit import hold_out
from service.calibrations.goodput_check import REPORTED, published_shares, whole_runs
from service.calibrations.residual_layers import compare
from service.calibrations.shipped import Measured
from service.catalog.catalog import Catalog
from service.engine.calibration import fit
from service.engine.held_out import CURVE_ROWS, HeldOut, learning_curve


@pytest.mark.parametrize("slug", ["A100-SXM4-80GB", "H100-PCIe-80GB", "V100-SXM2-16GB", "Gaudi2", "A40", "MI300X"])
def test_chips_of_data_centres_with_a_whole_data_sheet_are_left_out(catalog: Catalog, slug: str) -> None:
    assert research.complete_data_sheet(catalog.accelerators[slug])


@pytest.mark.parametrize("slug", ["RTX-3090", "RTX-A6000", "TITAN-RTX", "Quadro-RTX-8000", "T4", "EPYC-7742", "K80"])
def test_cards_of_desks_and_chips_known_in_part_are_not(catalog: Catalog, slug: str) -> None:
    assert not research.complete_data_sheet(catalog.accelerators[slug])


def test_levels_are_scored_as_means_over_their_sources(few: Measured) -> None:
    timed = np.isfinite(few.log_seconds)
    table, measured = few.table.take(timed), few.log_seconds[timed]
    found = research.levels(table, measured, "accelerator", ["A100-SXM4-80GB"], measured + np.log(2.0), measured)
    entry = found["by_level"]["A100-SXM4-80GB"]
    assert entry["known_site_mape"] == pytest.approx(1.0)
    assert entry["new_site_mape"] == pytest.approx(0.0)
    assert found["mean"]["known_site_mape"] == pytest.approx(1.0)
    assert entry["rule_of_thumb_mape"] > 0


def test_repeats_are_shown_beside_the_warm_score_and_the_goal(few: Measured) -> None:
    result = hold_out(few, ["mxnet-perf-faq"], processes=1)
    found = research.study("repeats", result, None)  # type: ignore[arg-type]
    assert set(found["by_source"]["mxnet-perf-faq"]) >= {"repeat_scatter", "warm_mape", "goal"}
    assert found["reached"]["other"] in (0, 1)


def test_the_learning_curve_judges_every_point_on_the_same_rows(few: Measured) -> None:
    timed = np.isfinite(few.log_seconds)
    table, measured = few.table.take(timed), few.log_seconds[timed]
    predicted = learning_curve(table, measured, fit(table, measured), lineages=["mxnet-perf-faq"], processes=1)
    assert predicted.shape == (len(CURVE_ROWS), len(table))
    assert (np.isfinite(predicted) == np.isfinite(predicted[0])).all()
    few_rows = table.text("lineage") == "mxnet-perf-faq"
    expected = few_rows.sum() - CURVE_ROWS[-1] if few_rows.sum() >= 2 * CURVE_ROWS[-1] else 0
    assert np.isfinite(predicted[0]).sum() == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_layer_that_learns_what_is_there_wins(few: Measured) -> None:
    timed = np.isfinite(few.log_seconds)
    many = np.tile(np.flatnonzero(timed), 6)
    lineages = np.array([f"{number}" for number in np.random.default_rng(0).integers(0, 30, len(many))], dtype=object)
    table, measured = few.table.take(many).replace(lineage=lineages), few.log_seconds[many]
    # What the mechanics leave here is a matter of the batch, the same in every lineage.
    batch = np.log(table["global_batch"])
    left = 0.5 * np.sign(batch - np.median(batch))
    mechanics = measured - left
    found = compare(table, measured, HeldOut(mechanics, left, mechanics, left, mechanics))
    plain = found["mechanics with pooled effects"]["other"]["mape"]
    assert found["+ boosted trees"]["other"]["mape"] < 0.5 * plain
    assert found["+ Gaussian process"]["other"]["mape"] < 0.5 * plain


def test_every_reported_goodput_is_in_the_facts(catalog: Catalog) -> None:
    entries = published_shares(catalog)
    assert len(entries) == len(REPORTED)
    for entry in entries:
        assert 0.0 < entry["predicted"]["p10"] <= entry["predicted"]["p50"] <= entry["predicted"]["p90"] <= 1.0
        assert 0.0 < entry["reported"] <= 1.0


def test_whole_runs_are_paired_with_step_speeds_of_the_same_source(catalog: Catalog) -> None:
    entries = whole_runs(catalog)
    assert entries
    for entry in entries:
        low, high = entry["reported_range"]
        assert 0.0 < low <= entry["reported"] <= high
        assert 0.9 < entry["predicted"] < 1.0


def test_every_part_can_be_printed(catalog: Catalog) -> None:
    parts: dict[str, Any] = {
        "chips": {"mean": {"levels": 1, "new_site_mape": 0.2}, "by_level": {"A100": {"new_site_mape": 0.2}}},
        "layers": {"mechanics": {"transformer": {"sources": 3, "mape": 0.2}}},
        "curve": {"other": {"5": {"sources": 3, "mape": 0.2}}},
        "repeats": {"reached": {"other": 1}, "by_source": {"a": {"goal": 0.1}}},
        "goodput": {"published": published_shares(catalog), "whole_runs": []},
    }
    console = Console(width=250)
    with console.capture() as capture:
        for part, found in parts.items():
            for table in research.tables(part, found):
                console.print(table)
    assert "Llama 3 405B" in capture.get()
