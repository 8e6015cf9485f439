"""Configurations compared: what they share cancels, and the medians are those of the forecasts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.engine.comparison import log_ratio
from service.engine.forecast import Forecaster
from tests.engine.conftest import GPT3, LLAMA, RESNET, TableOf

PROPERTY = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)


@PROPERTY
@given(
    base=st.sampled_from([GPT3, LLAMA, RESNET]),
    chips=st.lists(st.sampled_from(["V100-SXM2-32GB", "A100-SXM4-80GB", "H100-SXM5-80GB"]), min_size=2, max_size=2),
    doublings=st.lists(st.integers(0, 4), min_size=2, max_size=2),
)
def test_medians_are_those_of_the_forecasts_and_intervals_no_wider_than_of_strangers(
    forecaster: Forecaster, table_of: TableOf, base: dict[str, Any], chips: list[str], doublings: list[int]
) -> None:
    count = base["hardware.count"]
    table, reference = (
        table_of({**base, "hardware.accelerator": chip, "hardware.count": count * 2**more})
        for chip, more in zip(chips, doublings, strict=True)
    )
    compared = log_ratio(forecaster, table, reference)
    ours, theirs = forecaster.predict(table), forecaster.predict(reference)
    expected = ours.samples_per_second.p50 / theirs.samples_per_second.p50
    assert compared.speedup.p50 == pytest.approx(expected, rel=1e-9)
    assert compared.seconds.p10[0] <= compared.seconds.p50[0] <= compared.seconds.p90[0]
    separate = sum(forecaster.log_seconds(one)[1][0] for one in (table, reference))
    assert compared.deviation[0] <= np.sqrt(separate) * (1.0 + 1e-9)
    assert (compared.deviation[0] == 0.0) == (chips[0] == chips[1] and doublings[0] == doublings[1])


@pytest.mark.parametrize("learned", [False, True])
def test_a_configuration_is_exactly_as_fast_as_itself(forecaster: Forecaster, table_of: TableOf, learned: bool) -> None:
    table = table_of(GPT3, LLAMA, RESNET)
    standing = forecaster.learn(table, forecaster.log_seconds(table)[0] + 0.3) if learned else forecaster
    compared = log_ratio(standing, table, table)
    for side in (compared.seconds.p10, compared.seconds.p50, compared.seconds.p90):
        assert (side == 1.0).all()


def test_own_runs_at_few_counts_teach_what_more_chips_bring(forecaster: Forecaster, table_of: TableOf) -> None:
    counts = [8, 16, 32, 64, 128, 256]
    table = table_of(*({**RESNET, "hardware.count": count, "training.global_batch": 256 * count} for count in counts))
    # A site that loses a tenth of its speed at every doubling beyond the forecast.
    truth = forecaster.log_seconds(table)[0] + 0.1 * np.arange(len(counts))
    learned = forecaster.learn(table.take(slice(0, 4)), truth[:4])
    first, last = table.take(slice(0, 1)), table.take(slice(5, None))
    before, after = log_ratio(forecaster, last, first), log_ratio(learned, last, first)
    measured = truth[5] - truth[0]
    assert abs(after.median[0] - measured) < abs(before.median[0] - measured)
    assert after.seconds.p10[0] <= np.exp(measured) <= after.seconds.p90[0]


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(
    "switch",
    [{"software.compile": True}, {"software.cuda_graphs": "full"}, {"software.memory_format": "channels_last"}],
)
def test_what_a_switch_of_software_brings_is_no_better_known_than_measured_pairs_agree(
    forecaster: Forecaster, table_of: TableOf, switch: dict[str, Any], learned: bool
) -> None:
    table = table_of(RESNET, {**RESNET, **switch}, {**RESNET, **switch, "model.name": "vgg16"})
    plain, switched, unlike = (table.take(slice(row, row + 1)) for row in range(3))
    if learned:
        forecaster = forecaster.learn(plain, forecaster.log_seconds(plain)[0])
    assert 0.1 < log_ratio(forecaster, switched, plain).deviation < log_ratio(forecaster, unlike, plain).deviation


def test_references_must_be_one_or_as_many(forecaster: Forecaster, table_of: TableOf) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        log_ratio(forecaster, table_of(GPT3), table_of(GPT3, LLAMA))
