"""What a sample costs, against figures that the models' authors published."""

import numpy as np
import pytest

from service.catalog.catalog import Catalog
from service.catalog.resolve import resolve
from service.engine.observed import UNITS, in_unit, model_flops_per_sample, seconds_per_sample
from service.engine.operations import ACTIVATIONS_PER_GMAC, TYPICAL_GMACS, parameter_count, work
from service.engine.table import Table
from tests.conftest import ShippedRows
from tests.engine.conftest import GPT3, LLAMA, RESNET, TableOf


@pytest.mark.parametrize(
    ("name", "billions"),
    [("gpt-3-175b", 175.0), ("llama-3-8b", 8.03), ("llama-2-70b", 69.0), ("mixtral-8x7b", 46.7), ("bert-large", 0.335)],
)
def test_parameters_computed_from_the_shape_agree_with_the_published_count(
    catalog: Catalog, name: str, billions: float
) -> None:
    flat = {"model.name": name, "hardware.accelerator": "H100-SXM5-80GB"}
    table = Table.from_rows([resolve(flat, catalog, measured=True).values])
    assert parameter_count(table)[0] / 1e9 == pytest.approx(billions, rel=0.02)


def test_dense_transformers_cost_about_six_flops_per_parameter_and_token(table_of: TableOf) -> None:
    table = table_of(GPT3)
    flops = 3.0 * work(table).gemm_flops / table["sequence_length"]
    assert flops[0] / (6.0 * 175e9) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("name", "share"), [("gemma-2-9b", 0.5 + 0.5 / 8), ("nemotron-h-8b", 4 / 52)])
def test_attention_is_counted_by_what_each_layer_sees(catalog: Catalog, name: str, share: float) -> None:
    known = catalog.model(name)
    assert known is not None
    flat = {**LLAMA, "model.name": name, "data.sequence_length": 32768}
    table = Table.from_rows([resolve(flat, catalog, measured=True).values])
    query = known.attention_heads * (
        known.head_dim if known.head_dim > 0 else known.hidden_size / known.attention_heads
    )
    assert work(table).attention_flops[0] == pytest.approx(4.0 * known.layers * query * 32768.0**2 * share)


def test_resnet_50_costs_what_its_multiply_accumulates_say(table_of: TableOf) -> None:
    assert model_flops_per_sample(table_of(RESNET))[0] == pytest.approx(6 * 4.1e9, rel=0.05)


def test_a_larger_image_costs_more_in_proportion_to_its_area(catalog: Catalog) -> None:
    small, large = (
        Table.from_rows([resolve({**RESNET, "data.image_size": size}, catalog).values]) for size in (224, 448)
    )
    assert work(large).gemm_flops[0] == pytest.approx(4.0 * work(small).gemm_flops[0])


@pytest.mark.parametrize("unit", UNITS)
def test_every_published_unit_survives_the_round_trip(table_of: TableOf, unit: str) -> None:
    table = table_of(GPT3, LLAMA)
    units = np.array([unit, unit], dtype=object)
    value, samples = np.array([0.37, 0.41]), np.array([1e6, 2e6])
    seconds = seconds_per_sample(table, value, units, samples)
    assert np.allclose(in_unit(table, seconds, units, samples), value)


def test_rates_and_times_in_different_units_mean_the_same(table_of: TableOf) -> None:
    table = table_of(GPT3)
    one = np.array([1e6])

    def of(value: float, unit: str) -> float:
        return float(seconds_per_sample(table, np.array([value]), np.array([unit], dtype=object), one)[0])

    per_sample = of(10.0, "samples_per_second")
    assert of(10.0 * 2048, "tokens_per_second") == pytest.approx(per_sample)
    assert of(10.0 / 1024, "samples_per_second_per_accelerator") == pytest.approx(per_sample)
    assert of(1536 / 10.0, "seconds_per_step") == pytest.approx(per_sample)
    assert of(1536 / 10.0 * 1e3, "milliseconds_per_step") == pytest.approx(per_sample)
    assert of(1e6 / 10.0 / 3600.0, "hours") == pytest.approx(per_sample)


def test_what_stands_in_for_unknown_work_is_the_median_of_what_is_measured(
    catalog: Catalog, every_row: ShippedRows
) -> None:
    measured = {
        model.name for row in every_row[0] if (model := catalog.model(str(row.get("model.name") or ""))) is not None
    }
    for family in ("cnn", "vit", "detection", "segmentation", "speech", "recommender", "rnn", "diffusion", "other"):
        models = [catalog.models[name] for name in measured if catalog.models[name].family == family]
        stated = [model.forward_gmacs for model in models if model.forward_gmacs > 0]
        assert TYPICAL_GMACS[family] == pytest.approx(float(np.median(stated)), rel=0.02), family
    written = [
        m.activations / m.forward_gmacs
        for m in catalog.models.values()
        if m.family in ("cnn", "vit") and m.forward_gmacs > 0 and m.activations > 0
    ]
    assert pytest.approx(float(np.median(written)), rel=0.02) == ACTIVATIONS_PER_GMAC


@pytest.mark.parametrize("name", ["deepseek-v3-671b", "deepseek-v2-236b", "kimi-k2-1t", "mixtral-8x7b"])
def test_a_token_meets_the_active_parameters_of_a_mixture(table_of: TableOf, catalog: Catalog, name: str) -> None:
    counted = work(table_of({"model.name": name, "data.sequence_length": 4096, "hardware.accelerator": "H100"}))
    weights = counted.gemm_flops[0] / 2.0 / 4096
    # All but the embedding, which is looked up.
    assert weights == pytest.approx(catalog.models[name].active_parameters, rel=0.05)


def test_only_the_decoder_of_two_predicts_words(table_of: TableOf) -> None:
    t5 = {"model.name": "t5-small", "data.sequence_length": 512, "hardware.accelerator": "A100"}
    few, many = (work(table_of({**t5, "model.vocab_size": size})) for size in (32_000, 320_000))
    assert many.head_flops[0] - few.head_flops[0] == pytest.approx(2.0 * 288_000 * 512 * 128)  # hidden size, tokens
