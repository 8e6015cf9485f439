"""Loss, parameters and tokens: the published figures come back, and each function undoes the other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.critical_batch import critical_batch_tokens, samples_ratio, steps_ratio
from service.engine.scaling_laws import (
    BESIROGLU,
    HOFFMANN,
    LAWS,
    PUBLISHED_ERRORS,
    OutsideLawError,
    ScalingLaw,
    check_range,
    compute_optimal,
    covariance,
    equal_loss_tokens,
    least_compute,
    loss,
    parameters_for,
    tokens_for,
    tokens_interval,
)

any_law = st.sampled_from(list(LAWS.values()))
any_parameters = st.floats(70e6, 70e9)
any_tokens = st.floats(5e9, 1.4e12)
factor = st.floats(1.01, 10.0)


@given(any_law, any_parameters, any_tokens)
def test_tokens_and_parameters_lead_back_to_the_loss(law: ScalingLaw, parameters: float, tokens: float) -> None:
    reached = loss(law, parameters, tokens)
    assert tokens_for(law, parameters, reached) == pytest.approx(tokens, rel=1e-6)
    assert parameters_for(law, tokens, reached) == pytest.approx(parameters, rel=1e-6)


@given(any_law, any_parameters, any_tokens, factor)
def test_more_of_either_loses_less_and_a_lower_loss_needs_more_tokens(
    law: ScalingLaw, parameters: float, tokens: float, more: float
) -> None:
    reached = loss(law, parameters, tokens)
    assert loss(law, parameters * more, tokens) < reached
    assert loss(law, parameters, tokens * more) < reached
    assert tokens_for(law, parameters, reached - 1e-3) > tokens


@given(any_law, st.floats(1e19, 1e24), factor)
def test_no_other_split_of_a_budget_loses_less(law: ScalingLaw, flops: float, away: float) -> None:
    parameters, tokens = compute_optimal(law, flops)
    assert 6.0 * parameters * tokens == pytest.approx(flops)
    best = loss(law, parameters, tokens)
    assert loss(law, parameters * away, tokens / away) > best
    assert loss(law, parameters / away, tokens * away) > best
    assert np.array(least_compute(law, best)) == pytest.approx(np.array([parameters, tokens]), rel=1e-6)


def test_the_published_optima_come_back() -> None:
    # Chinchilla's budget: about 20 tokens a parameter by the re-fit (Besiroglu et al. 2024, section 3.3), and three to
    # five times as many by the original's printed fit.
    for law, few, many in ((BESIROGLU, 15.0, 25.0), (HOFFMANN, 60.0, 100.0)):
        parameters, tokens = compute_optimal(law, 6.0 * 70e9 * 1.4e12)
        assert few < tokens / parameters < many
    # N grows as C^0.51 in the re-fit (table 1) and as C^0.46 in the original (section 3.3; 0.45 as rounded).
    for law, exponent in ((BESIROGLU, 0.5126), (HOFFMANN, 0.4516)):
        small, large = (compute_optimal(law, flops)[0] for flops in (1e20, 1e22))
        assert np.log10(large / small) / 2.0 == pytest.approx(exponent, abs=5e-4)


def test_the_errors_are_those_published() -> None:
    errors = np.sqrt(np.diag(covariance(BESIROGLU)))
    assert np.abs(np.log(errors / PUBLISHED_ERRORS)).max() < np.log(1.3)


@given(any_law, any_parameters, any_tokens)
def test_intervals_hold_their_median_and_a_model_needs_its_own_tokens_for_its_own_loss(
    law: ScalingLaw, parameters: float, tokens: float
) -> None:
    interval = tokens_interval(law, parameters, float(loss(law, parameters, tokens)))
    assert interval.p10[0] < interval.p50[0] == pytest.approx(tokens, rel=1e-6)
    assert interval.p50[0] < interval.p90[0]
    same = equal_loss_tokens(law, parameters, tokens, parameters)
    assert (same.p10[0], same.p90[0]) == pytest.approx((tokens, tokens), rel=1e-6)


def test_a_loss_below_what_text_allows_is_never_reached() -> None:
    assert tokens_for(BESIROGLU, 1e9, 1.8) == np.inf
    assert tokens_interval(BESIROGLU, 1e9, 1.8).p10[0] == np.inf


def test_the_range_is_that_of_the_experiments_and_chinchilla() -> None:
    assert check_range(8e9, 160e9)
    assert not check_range(70e9, 1.4e12)
    with pytest.raises(OutsideLawError, match="parameters"):
        check_range(175e9, 300e9)
    with pytest.raises(OutsideLawError, match="tokens"):
        check_range(8e9, 15e12)


@given(st.floats(1e3, 1e7), st.floats(1e3, 1e7), st.floats(1e3, 1e8))
def test_batches_trade_steps_for_samples(batch: float, other: float, critical: float) -> None:
    steps, samples = steps_ratio(batch, other, critical), samples_ratio(batch, other, critical)
    assert samples == pytest.approx(steps * batch / other)
    assert (steps <= 1.0) == (samples >= 1.0) or batch == pytest.approx(other)
    # (S / S_min - 1) (E / E_min - 1) = 1, McCandlish et al. 2018, eq. 2.11
    over_fewest_samples = samples_ratio(batch, 0.0, critical)
    over_fewest_steps = steps_ratio(batch, 1e9 * critical, critical)
    assert (over_fewest_steps - 1.0) * (over_fewest_samples - 1.0) == pytest.approx(1.0, rel=1e-3)


def test_the_critical_batch_doubles_for_every_13_percent_of_loss() -> None:
    # Kaplan et al. 2020, section 5.1
    assert critical_batch_tokens(0.866) / critical_batch_tokens(1.0) == pytest.approx(2.0, rel=0.02)
    assert critical_batch_tokens(2.0) == pytest.approx(7.4e6, rel=0.02)
