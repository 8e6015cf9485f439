"""Peak memory against runs whose batch was lowered until they fitted."""

import numpy as np

from service.catalog.catalog import Catalog
from service.catalog.normalise import normalise
from service.catalog.resolution import Resolved
from service.catalog.resolve import resolve_table
from service.engine.forecast import Forecaster
from service.engine.search import HEAD_ROOM
from tests.conftest import ShippedRows

NEXT_BATCH = 4.0 / 3.0  # at least: the source lowers a batch that does not fit to 3/4 or 2/3 of it


def test_the_largest_batch_that_fitted_a_card_nearly_fills_it(
    catalog: Catalog, forecaster: Forecaster, every_row: ShippedRows
) -> None:
    rows, _ = every_row
    tuned = [
        row
        for row in rows
        if str(row["provenance.source"]).startswith("timm") and 8 <= float(str(row["training.global_batch"])) < 512
    ]
    table, _ = resolve_table(tuned[::4], catalog, measured=True)
    filled = forecaster.predict(table).memory_gb.p50 / table["memory_gb"]
    assert len(table) > 200
    assert 1.0 / NEXT_BATCH < np.median(filled) < 1.0
    assert np.mean((filled > 0.5 / NEXT_BATCH) & (filled < 1.5)) > 0.9


def test_what_a_framework_holds_of_a_model_is_counted_as_it_holds_it(catalog: Catalog, forecaster: Forecaster) -> None:
    def states(framework: str, global_batch: int) -> float:
        layout = {"tensor_parallel": 1, "pipeline_parallel": 1, "micro_batch": 4, "sharding": "none"}
        stated = {"global_batch": global_batch, "precision": "bf16", "mode": "pretrain", "optimizer": "adamw", **layout}
        row = {f"training.{name}": value for name, value in stated.items()} | {
            "model.name": "llama-3.2-1b",
            "data.sequence_length": 2048,
            "hardware.accelerator": "H100-SXM5-80GB",
            "hardware.count": 1,
            "software.framework": framework,
        }
        parts = forecaster.predict(resolve_table([row], catalog)[0]).memory_parts
        return float(sum(parts[part][0] for part in ("weights", "gradients", "optimizer")))

    # fp32 weights and moments; weights, a master copy, moments and gradients in bf16 or, added up, in fp32.
    assert np.isclose(states("maxtext", 4) / states("megatron-lm", 4), 12 / 18, rtol=0.01)
    assert np.isclose(states("maxtext", 16) / states("megatron-lm", 16), 16 / 18, rtol=0.01)
    assert np.isclose(states("nemo", 16) / states("megatron-lm", 16), 16 / 18, rtol=0.01)


def test_the_more_layers_are_recomputed_the_less_memory_and_the_more_time(
    catalog: Catalog, forecaster: Forecaster
) -> None:
    stated: dict[str, object] = {
        "model.name": "llama-2-7b",
        "data.sequence_length": 4096,
        "hardware.accelerator": "A100-SXM4-80GB",
        "hardware.count": 8,
        "training.tensor_parallel": 1,
        "training.pipeline_parallel": 1,
        "training.micro_batch": 2,
        "training.global_batch": 128,
        "training.sharding": "fsdp",
    }
    shares = ({"training.recompute_share": share} for share in (0.25, 0.5, 1.0))
    told = [stated | {"training.recompute": "none"}, *(stated | share for share in shares)]
    told.append(stated | {"training.recompute": "full"})
    table, _ = resolve_table([normalise(run) for run in told], catalog)
    forecast = forecaster.predict(table)
    seconds, memory = forecast.step_seconds.p50, forecast.memory_gb.p50
    assert list(table.text("recompute")) == ["none", "full", "full", "full", "full"]
    assert np.all(np.diff(seconds[:4]) > 0)
    assert np.all(np.diff(memory[:4]) < 0)
    assert seconds[3] == seconds[4]
    assert memory[3] == memory[4]


def test_no_more_layers_are_recomputed_than_have_to_be(catalog: Catalog, forecaster: Forecaster) -> None:
    run = {
        "model.name": "llama-3.1-405b",
        "data.sequence_length": 8192,
        "hardware.accelerator": "H100-SXM5-80GB",
        "hardware.count": 4096,
        "training.global_batch": 2048,
        "training.tensor_parallel": 8,
        "training.pipeline_parallel": 16,
    }
    (chosen,) = resolve_table([run], catalog, judge=forecaster.judge)[1]
    assert isinstance(chosen, Resolved)
    assert chosen.values["recompute"] == "full"
    assert 0 < float(chosen.values["recompute_share"]) < 1
    told = {made.field: made.value for made in chosen.assumptions}
    assert told["training.recompute_share"] == chosen.values["recompute_share"]
    whole, partly = (
        forecaster.predict(resolve_table([{**run, **more}], catalog, judge=forecaster.judge)[0])
        for more in ({"training.recompute": "full"}, {})
    )
    assert whole.memory_gb.p50[0] < partly.memory_gb.p50[0] < HEAD_ROOM * 80 * 1.001
    assert partly.step_seconds.p50[0] < whole.step_seconds.p50[0]


def test_recomputing_a_model_without_tokens_saves_memory_too(catalog: Catalog, forecaster: Forecaster) -> None:
    run = {
        "model.name": "resnet-50",
        "hardware.accelerator": "V100-SXM2-16GB",
        "hardware.count": 1,
        "training.global_batch": 64,
    }
    held = [
        forecaster.predict(resolve_table([{**run, "training.recompute": policy}], catalog)[0]).memory_gb.p50[0]
        for policy in ("none", "full")
    ]
    assert held[1] < 0.8 * held[0]


def test_replicas_that_share_states_in_groups_hold_more_of_them(catalog: Catalog, forecaster: Forecaster) -> None:
    stated: dict[str, object] = {
        "model.name": "llama-2-13b",
        "data.sequence_length": 4096,
        "hardware.accelerator": "A100-SXM4-80GB",
        "hardware.count": 64,
        "training.tensor_parallel": 1,
        "training.pipeline_parallel": 1,
        "training.micro_batch": 1,
        "training.global_batch": 512,
        "training.recompute": "full",
    }
    groups: list[tuple[str, int | None]] = [
        ("fsdp", None), ("fsdp", 64), ("fsdp", 16), ("fsdp", 8), ("hsdp", None), ("hsdp", 8),
    ]  # fmt: skip
    ways = [{"training.sharding": sharding, "training.sharding_group": group} for sharding, group in groups]
    table, _ = resolve_table([{**stated, **way} for way in ways], catalog)
    found = forecaster.predict(table)
    peaks, seconds = found.memory_gb.p50, found.step_seconds.p50
    assert peaks[0] == peaks[1] < peaks[2] < peaks[3] == peaks[4] == peaks[5]
    # What is gathered within a node does not cross to others.
    traffic = found.breakdown["data_communication"]
    assert traffic[3] < traffic[2] <= traffic[1] == traffic[0]
    assert seconds[4] == seconds[5]


def test_gradients_follow_the_optimizer_to_the_host(catalog: Catalog, forecaster: Forecaster) -> None:
    stated: dict[str, object] = {
        "model.name": "llama-2-7b",
        "hardware.accelerator": "A100-SXM4-80GB",
        "hardware.count": 8,
        "training.sharding": "zero2",
        "training.micro_batch": 1,
        "training.global_batch": 8,
    }
    table, _ = resolve_table([{**stated, "training.offload": place} for place in ("none", "cpu")], catalog)
    parts = forecaster.predict(table).memory_parts
    assert parts["gradients"][0] > 0
    assert parts["optimizer"][0] > 0
    assert parts["gradients"][1] == parts["optimizer"][1] == 0
