"""The gradient of a step's seconds is what moving each coefficient a little shows."""

import numpy as np
import pytest

from service.calibrations.shipped import measured
from service.catalog.catalog import Catalog
from service.engine.calibration import sensitivities
from service.engine.coefficients import COEFFICIENTS, HIGH, LOW
from service.engine.forecast import Forecaster
from service.engine.step_inputs import prepare
from service.engine.step_time import log_seconds_per_sample
from service.engine.table import Table, concatenate
from tests.conftest import ShippedRows
from tests.engine.conftest import GPT3, LLAMA, TableOf

SMALL = 1e-5


@pytest.fixture(scope="module")
def runs(catalog: Catalog, table_of: TableOf, every_row: ShippedRows) -> Table:
    """Measured runs of every kind, and layouts that few of them have."""
    rows, ids = every_row
    picked = slice(None, None, 151)
    wide = {"hardware.count": 512, "training.global_batch": 4096}
    layouts: list[dict[str, object]] = [
        {**GPT3, "training.precision": "bf16"},
        {**LLAMA, **wide, "training.sharding": "hsdp"},
        {**LLAMA, **wide, "training.offload": "cpu"},
        {**LLAMA, **wide, "model.name": "mixtral-8x7b", "training.expert_parallel": 8},
        {**LLAMA, **wide, "training.context_parallel": 4, "data.sequence_length": 65536},
        {**LLAMA, **wide, "training.tensor_parallel": 8, "training.pipeline_parallel": 4, "training.sharding": "zero1"},
    ]
    return concatenate([measured(rows[picked], ids[picked], catalog).table, table_of(*layouts)])


def test_the_gradient_is_that_of_finite_differences(forecaster: Forecaster, runs: Table) -> None:
    inputs, coefficients = prepare(runs), forecaster.posterior.coefficients(runs)
    _, derivative = sensitivities(inputs, coefficients)
    for position, coefficient in enumerate(COEFFICIENTS):
        less, more = coefficients.copy(), coefficients.copy()
        less[:, position] -= SMALL
        more[:, position] += SMALL
        shown = (log_seconds_per_sample(inputs, more) - log_seconds_per_sample(inputs, less)) / (2.0 * SMALL)
        assert derivative[:, position] == pytest.approx(shown, rel=1e-4, abs=1e-7), coefficient.name
        assert np.abs(derivative[:, position]).max() > 0.01, coefficient.name


def test_coefficients_beyond_their_range_change_nothing(forecaster: Forecaster, runs: Table) -> None:
    inputs, coefficients = prepare(runs), forecaster.posterior.coefficients(runs)
    for beyond in (np.broadcast_to(LOW - 1.0, coefficients.shape), np.broadcast_to(HIGH + 1.0, coefficients.shape)):
        assert not sensitivities(inputs, beyond)[1].any()


def test_a_forecast_is_linearised_as_a_fit_is(forecaster: Forecaster, runs: Table) -> None:
    mechanics = forecaster.mechanics(runs)
    median, derivative = sensitivities(prepare(runs), mechanics.coefficients)
    assert (mechanics.median == median).all()
    assert (mechanics.derivative == derivative).all()
    assert sum(mechanics.parts.values()) == pytest.approx(np.exp(median) * prepare(runs).layout.global_batch, rel=1e-9)
