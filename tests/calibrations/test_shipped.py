"""The calibration that ships: fitted on the measurements that ship, and better than what people use today."""

import numpy as np
import pytest

from service.calibrations.accuracy import README
from service.calibrations.accuracy_tables import with_tables
from service.calibrations.fit import CALIBRATION, load_shipped
from service.calibrations.shipped import Measured, measured, shipped_rows
from service.catalog.catalog import load_catalog
from service.engine.forecast import Forecaster


@pytest.fixture(scope="module")
def shipped() -> Forecaster:
    return Forecaster.load(CALIBRATION)


@pytest.fixture(scope="module")
def data() -> Measured:
    return load_shipped()


def test_it_was_fitted_on_the_measurements_that_ship(shipped: Forecaster, data: Measured) -> None:
    assert shipped.fingerprint == data.fingerprint, "the shipped data changed: run `make calibrate`"


@pytest.mark.parametrize("family", ["cnn", "decoder", "encoder", "detection", "segmentation", "vit", "rnn", "moe"])
def test_it_beats_the_rule_of_thumb_on_held_out_lineages(shipped: Forecaster, family: str) -> None:
    held_out = shipped.report["by_family_over_lineages"][family]
    assert held_out["median_ape"] < held_out["rule_of_thumb_median_ape"]


def test_its_intervals_cover_what_they_say_on_held_out_sources(shipped: Forecaster) -> None:
    for score in shipped.report["overall"].values():
        assert 0.72 <= score["coverage_80"] <= 0.90


def test_its_evidence_carries_the_ids_that_the_database_is_seeded_with(shipped: Forecaster, data: Measured) -> None:
    assert set(shipped.evidence.ids.tolist()) <= set(data.ids.tolist())


def test_preference_tuning_is_no_speed_of_fine_tuning() -> None:
    rows, ids = shipped_rows()
    others = [place for place, row in enumerate(rows) if row.get("training.objective") in ("dpo", "reward", "ppo")]
    of_others = measured([rows[place] for place in others], [ids[place] for place in others], load_catalog())
    assert others
    assert np.isnan(of_others.log_seconds).all()


def test_the_readme_tells_its_accuracy(shipped: Forecaster) -> None:
    readme = README.read_text(encoding="utf-8")
    assert with_tables(readme, shipped.report) == readme, "the calibration changed: run `make readme`"
