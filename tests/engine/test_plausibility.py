"""What can be and what the forecast expects, of the shipped measurements and of made-up ones."""

import numpy as np
import pytest

from service.calibrations.shipped import Measured, measured
from service.catalog.catalog import load_catalog
from service.engine.forecast import Forecaster
from service.engine.plausibility import DOUBTFUL_DEVIATIONS, LEAST_DOUBTFUL_LOG, Judge
from service.seed import CALIBRATION
from tests.conftest import ShippedRows


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    """The calibration that ships."""
    return Forecaster.load(CALIBRATION)


@pytest.fixture(scope="module")
def some(every_row: ShippedRows) -> Measured:
    """A few hundred shipped measurements of every kind, as a new site's."""
    rows, ids = every_row
    taken = slice(None, None, 61)
    asked = [{name: value for name, value in row.items() if name != "provenance.source"} for row in rows[taken]]
    return measured(asked, ids[taken], load_catalog())


def test_the_deviation_is_that_of_the_forecast(forecaster: Forecaster, some: Measured) -> None:
    forecast = forecaster.predict(some.table).step_seconds
    predicted = np.log(forecast.p50 / some.table["global_batch"])
    judged = Judge(forecaster).judge(some.table, some.log_seconds)
    known = np.isfinite(some.log_seconds)
    np.testing.assert_allclose(judged.deviation_log[known], (predicted - some.log_seconds)[known], atol=1e-9)


def test_what_is_doubtful_is_what_its_own_interval_says(forecaster: Forecaster, some: Measured) -> None:
    """The short cuts decide as the whole forecast would."""
    forecast = forecaster.predict(some.table).step_seconds
    own = np.maximum(DOUBTFUL_DEVIATIONS * np.log(forecast.p90 / forecast.p50) / 1.2815515655, LEAST_DOUBTFUL_LOG)
    for shift in (-2.0, -1.0, 0.0, 1.0, 2.0):
        judged = Judge(forecaster).judge(some.table, some.log_seconds + shift)
        distance = np.abs(judged.deviation_log)
        np.testing.assert_array_equal(distance > judged.doubtful_beyond_log, distance > own)


def test_a_judge_remembers_without_changing_its_mind(forecaster: Forecaster, some: Measured) -> None:
    judge = Judge(forecaster)
    first = judge.judge(some.table, some.log_seconds)
    again = judge.judge(some.table, some.log_seconds)
    np.testing.assert_array_equal(first.deviation_log, again.deviation_log)


def test_few_published_measurements_are_impossible(forecaster: Forecaster, some: Measured) -> None:
    judged = Judge(forecaster).judge(some.table, some.log_seconds)
    impossible = judged.times_peak > judged.impossible_beyond
    assert impossible.mean() < 0.01
    a_hundred_times = Judge(forecaster).judge(some.table, some.log_seconds - np.log(100.0))
    assert (a_hundred_times.times_peak > a_hundred_times.impossible_beyond).mean() > 0.8
