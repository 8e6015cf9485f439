"""What any prediction must obey, whatever the calibration learned."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.catalog.catalog import Catalog
from service.catalog.resolution import Unresolvable
from service.catalog.resolve import resolve
from service.engine.forecast import Forecaster
from service.engine.roofline import BEYOND_BEST_MATMUL
from service.engine.step_time import PARTS
from service.engine.table import Table, concatenate
from tests.engine.conftest import GPT3, LLAMA, RESNET, TableOf

PROPERTY = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
A100, MI300X = "A100-SXM4-80GB", "MI300X"
CHIPS = ("V100-SXM2-32GB", "A100-SXM4-80GB", "H100-SXM5-80GB", "MI300X", "L40S", "T4", "TPU-v5p", "Gaudi2")


def seconds(forecaster: Forecaster, table: Table) -> np.ndarray:
    return 1.0 / forecaster.predict(table).samples_per_second.p50


def test_parts_of_a_step_and_of_memory_sum_to_their_totals(forecaster: Forecaster, table_of: TableOf) -> None:
    forecast = forecaster.predict(table_of(GPT3, LLAMA, RESNET))
    assert set(forecast.breakdown) == set(PARTS)
    assert np.allclose(sum(forecast.breakdown.values()), forecast.step_seconds.p50)
    assert np.allclose(sum(forecast.memory_parts.values()), forecast.memory_gb.p50)
    assert all((part >= -1e-12).all() for part in forecast.breakdown.values())


def test_intervals_are_ordered_and_not_points(forecaster: Forecaster, table_of: TableOf) -> None:
    forecast = forecaster.predict(table_of(GPT3, LLAMA, RESNET))
    for quantity in (forecast.step_seconds, forecast.samples_per_second, forecast.memory_gb, forecast.mfu):
        assert (quantity.p10 < quantity.p50).all()
        assert (quantity.p50 < quantity.p90).all()


def test_many_rows_are_predicted_as_each_alone(forecaster: Forecaster, table_of: TableOf) -> None:
    rows = [table_of(flat) for flat in (GPT3, LLAMA, RESNET)]
    together = seconds(forecaster, concatenate(rows))
    assert np.allclose(together, [seconds(forecaster, row)[0] for row in rows], rtol=1e-12)


def test_a_stored_calibration_predicts_what_it_did_before(forecaster: Forecaster, table_of: TableOf) -> None:
    table = table_of(GPT3, LLAMA, RESNET)
    stored = forecaster.dump()
    again = Forecaster.load(stored)
    assert np.allclose(seconds(again, table), seconds(forecaster, table))
    assert again.dump() == stored


def test_a_file_that_is_no_calibration_is_refused(forecaster: Forecaster) -> None:
    import gzip

    with pytest.raises(ValueError, match="another version"):
        Forecaster.load(gzip.compress(b'{"terms": [], "coefficients": []}'))


@PROPERTY
@given(layers=st.integers(4, 100), chip=st.sampled_from(CHIPS))
def test_a_deeper_model_is_never_faster(forecaster: Forecaster, table_of: TableOf, layers: int, chip: str) -> None:
    base = {
        "model.family": "decoder", "model.hidden_size": 2048, "model.attention_heads": 16, "model.vocab_size": 32000,
        "data.sequence_length": 1024, "hardware.accelerator": chip, "training.micro_batch": 1,
        "training.global_batch": 8, "training.recompute": "full", "training.precision": "fp32",
    }  # fmt: skip
    shallow, deep = seconds(
        forecaster, table_of({**base, "model.layers": layers}, {**base, "model.layers": layers + 1})
    )
    assert deep >= shallow


@PROPERTY
@given(
    chip=st.sampled_from(CHIPS),
    factor=st.floats(1.0, 8.0),
    column=st.sampled_from(["memory_bandwidth_gbs", "intra_gbs", "inter_gbs"]),
    base=st.sampled_from([GPT3, LLAMA, RESNET]),
)
def test_more_bandwidth_is_never_slower(
    forecaster: Forecaster, catalog: Catalog, chip: str, factor: float, column: str, base: dict[str, Any]
) -> None:
    flat = {**base, "hardware.accelerator": chip, "training.precision": "fp32"}
    try:
        table = Table.from_rows([resolve(flat, catalog).values])
    except Unresolvable:
        return
    faster = table.replace(**{column: table[column] * factor})
    assert seconds(forecaster, faster)[0] <= seconds(forecaster, table)[0] * 1.0001


@PROPERTY
@given(count=st.sampled_from([8, 16, 64, 256, 1024]))
def test_strong_scaling_is_never_better_than_linear(forecaster: Forecaster, table_of: TableOf, count: int) -> None:
    base = {**LLAMA, "training.global_batch": 4096, "training.tensor_parallel": 1, "training.pipeline_parallel": 1}
    few, many = seconds(forecaster, table_of({**base, "hardware.count": count}, {**base, "hardware.count": 2 * count}))
    assert few / many <= 2.0


@PROPERTY
@given(chip=st.sampled_from(CHIPS), base=st.sampled_from([GPT3, LLAMA, RESNET]))
def test_no_prediction_beats_the_chips_peak(
    forecaster: Forecaster, catalog: Catalog, chip: str, base: dict[str, Any]
) -> None:
    flat = {name: value for name, value in base.items() if name != "training.precision"}
    try:
        table = Table.from_rows([resolve({**flat, "hardware.accelerator": chip}, catalog).values])
    except Unresolvable:
        return
    assert forecaster.predict(table).mfu.p50[0] <= 1.0


@pytest.mark.parametrize(
    "chip", ["A100-SXM4-80GB", "H100-SXM5-80GB", "MI210", "MI300X", "MI325X", "B200-SXM-180GB", "Gaudi3"]
)
def test_no_new_site_is_expected_to_beat_the_best_matrix_product_of_its_chip(
    forecaster: Forecaster, table_of: TableOf, chip: str
) -> None:
    flat = {"model.name": "llama-2-7b", "data.sequence_length": 2048, "training.global_batch": 128}
    table = table_of({**flat, "hardware.accelerator": chip, "hardware.count": 8, "training.precision": "bf16"})
    mfu, best = forecaster.predict(table).mfu, table["matmul_share"][0]
    # By convention utilisation counts the attention that a causal mask spares, and embeddings: 6 % of the FLOPs here.
    assert mfu.p50[0] <= 1.06 * best
    assert mfu.p90[0] <= 1.06 * BEYOND_BEST_MATMUL * best


@pytest.mark.parametrize("batch", [32, 256])
def test_a_chip_with_every_figure_better_is_not_slower_where_the_host_sets_the_pace(
    forecaster: Forecaster, table_of: TableOf, batch: int
) -> None:
    flat = {"model.name": "bert-base", "data.sequence_length": 128, "training.global_batch": batch}
    old, new = seconds(
        forecaster,
        table_of(*({**flat, "hardware.accelerator": chip, "training.precision": "bf16"} for chip in (A100, MI300X))),
    )
    assert new < old


def test_intervals_widen_where_nothing_was_measured(forecaster: Forecaster, table_of: TableOf) -> None:
    known = forecaster.predict(table_of(RESNET))
    strange = forecaster.predict(
        table_of({**RESNET, "hardware.accelerator": "Arc-B580", "hardware.count": 1, "training.global_batch": 64})
    )
    width = [forecast.step_seconds.p90[0] / forecast.step_seconds.p10[0] for forecast in (known, strange)]
    assert width[1] > width[0]
    assert known.grade[0] == "measured"
    assert strange.grade[0] != "measured"


def test_frozen_backbones_say_that_they_are_extrapolated(forecaster: Forecaster, table_of: TableOf) -> None:
    assert forecaster.predict(table_of({**RESNET, "training.mode": "frozen"})).grade[0] == "extrapolated"


def test_twenty_own_runs_pull_a_site_to_its_own_speed_and_tighten_its_intervals(
    forecaster: Forecaster, table_of: TableOf
) -> None:
    sizes = [(layers, batch) for layers in (8, 12, 16, 20, 24, 32) for batch in (8, 16, 32, 64)]
    flats = [
        {
            "model.family": "decoder", "model.layers": layers, "model.hidden_size": 2048, "model.attention_heads": 16,
            "model.vocab_size": 32000, "data.sequence_length": 2048, "hardware.accelerator": "A100-SXM4-80GB",
            "training.micro_batch": 4, "training.global_batch": batch, "training.precision": "bf16",
            "software.framework": "pytorch",
        }
        for layers, batch in sizes
    ]  # fmt: skip
    table = table_of(*flats)
    # A site whose machines are 1.6 times slower than the world's, with 3 % of noise.
    truth = np.log(seconds(forecaster, table) * 1.6) + np.random.default_rng(1).normal(0.0, 0.03, len(table))
    mine, rest = table.take(slice(0, 20)), table.take(slice(20, None))
    learned = forecaster.learn(mine, truth[:20])
    before, after = forecaster.predict(rest), learned.predict(rest)
    error = np.abs(np.log(1.0 / after.samples_per_second.p50) - truth[20:])
    assert error.max() < 0.12
    width = [float(np.median(f.step_seconds.p90 / f.step_seconds.p10)) for f in (before, after)]
    assert width[1] < 0.75 * width[0]


def test_learning_nothing_changes_nothing(forecaster: Forecaster, table_of: TableOf) -> None:
    table = table_of(GPT3)
    assert forecaster.learn(table.take(slice(0, 0)), np.array([])) is forecaster


def test_a_sites_own_peaks_shift_its_memory_and_narrow_it(forecaster: Forecaster, table_of: TableOf) -> None:
    flats = [{**LLAMA, "data.sequence_length": length} for length in (1024, 2048, 4096, 8192)]
    table = table_of(*flats)
    before = forecaster.predict(table)
    mine = table.take(slice(0, 3))
    learned = forecaster.learn(mine, np.log(seconds(forecaster, mine)), before.memory_gb.p50[:3] * 1.25)
    after = learned.predict(table.take(slice(3, None)))
    assert 1.0 < after.memory_gb.p50[0] / before.memory_gb.p50[3] < 1.25
    assert after.memory_gb.p90[0] / after.memory_gb.p10[0] < before.memory_gb.p90[3] / before.memory_gb.p10[3]
    assert np.allclose(sum(after.memory_parts.values()), after.memory_gb.p50)
