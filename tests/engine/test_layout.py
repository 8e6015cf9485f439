"""Layouts: what is chosen when nothing is given, and what is refused."""

import math
from typing import Any

import pytest

from service.catalog.catalog import Catalog
from service.catalog.resolution import Resolved, Unresolvable
from service.catalog.resolve import resolve, resolve_table
from service.engine.memory import prior_peak_gb
from tests.engine.conftest import GPT3, LLAMA


def test_the_chosen_layout_uses_every_accelerator_and_fits(catalog: Catalog) -> None:
    resolved = resolve(GPT3, catalog)
    degrees = ("tensor_parallel", "pipeline_parallel", "data_parallel", "context_parallel")
    assert math.prod(float(str(resolved.layout[name])) for name in degrees) == 1024
    assert resolved.fits
    assert {"training.tensor_parallel", "training.recompute"} <= {
        assumption.field for assumption in resolved.assumptions
    }


def test_what_is_given_is_kept(catalog: Catalog) -> None:
    given = {"training.tensor_parallel": 4, "training.pipeline_parallel": 16, "training.micro_batch": 2}
    layout = resolve({**GPT3, **given}, catalog).layout
    assert (layout["tensor_parallel"], layout["pipeline_parallel"], layout["micro_batch"]) == (4, 16, 2)


def test_a_batch_that_is_no_power_of_two_is_split_as_well_as_one_that_is(catalog: Catalog) -> None:
    """480 samples over 8 replicas, 60 each: micro-batches of 4 would keep the host from running ahead."""
    asked = {
        "model.name": "gpt2",
        "hardware.accelerator": "A100-SXM4-40GB",
        "hardware.count": 8,
        "data.sequence_length": 1024,
        "training.precision": "bf16",
    }
    odd, even = (resolve({**asked, "training.global_batch": batch}, catalog).layout for batch in (480, 512))
    assert float(odd["micro_batch"]) in (6, 15, 30, 60)
    assert (odd["pipeline_parallel"], odd["data_parallel"]) == (even["pipeline_parallel"], even["data_parallel"])


@pytest.mark.parametrize(
    "given",
    [
        {"gradient_accumulation": 16, "micro_batch": 1, "global_batch": 256},
        {"gradient_accumulation": 16, "micro_batch": 1},
        {"gradient_accumulation": 16, "global_batch": 1536},
        {"gradient_accumulation": 5},
    ],
)
def test_stated_accumulation_is_kept_and_agrees_with_the_batch(catalog: Catalog, given: dict[str, int]) -> None:
    asked = {name: value for name, value in GPT3.items() if not name.startswith("training.")}
    layout = resolve({**asked, **{f"training.{name}": value for name, value in given.items()}}, catalog).layout
    assert {name: layout[name] for name in given} == given
    replica = float(layout["micro_batch"]) * float(layout["gradient_accumulation"])
    assert layout["micro_batch"] == round(float(layout["micro_batch"]))
    assert layout["global_batch"] == replica * float(layout["data_parallel"])


def test_accumulation_of_a_measured_run_is_taken_as_it_was(catalog: Catalog) -> None:
    odd = {"training.gradient_accumulation": 3, "training.micro_batch": 1, "training.global_batch": 64}
    layout = resolve({**LLAMA, **odd}, catalog, measured=True).layout
    assert (layout["gradient_accumulation"], layout["global_batch"]) == (3, 64)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"training.tensor_parallel": 3}, "training.tensor_parallel"),
        (
            {"training.tensor_parallel": 5, "training.pipeline_parallel": 1, "training.data_parallel": 1},
            "training.data_parallel",
        ),
        ({"training.micro_batch": 7, "training.data_parallel": 8}, "training.global_batch"),
        ({"training.precision": "fp8", "hardware.accelerator": "V100-SXM2-32GB"}, "training.precision"),
        ({"hardware.accelerator": "H1000"}, "hardware.accelerator"),
    ],
)
def test_a_layout_that_cannot_run_names_the_field_and_the_way_out(
    catalog: Catalog, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(Unresolvable) as caught:
        resolve({**LLAMA, **change}, catalog)
    assert field in {error.field for error in caught.value.errors}
    assert all(error.hint for error in caught.value.errors)


@pytest.mark.parametrize(
    ("degrees", "field", "says"),
    [
        ({"tensor": 16}, "training.tensor_parallel", "tensor_parallel = 16 is more than the 8 accelerators"),
        ({"tensor": 4, "pipeline": 4}, "training.tensor_parallel", "4 x 4 x 1 = 16 accelerators, more than the 8"),
    ],
)
def test_more_ranks_than_accelerators_are_said_to_be_that(
    catalog: Catalog, degrees: dict[str, int], field: str, says: str
) -> None:
    stated = {f"training.{name}_parallel": degree for name, degree in degrees.items()}
    with pytest.raises(Unresolvable) as caught:
        resolve({**LLAMA, "hardware.count": 8, **stated}, catalog)
    (flaw,) = caught.value.errors
    assert flaw.field == field
    assert says in flaw.message


def test_a_measured_layout_is_taken_as_it_was(catalog: Catalog) -> None:
    odd = {**LLAMA, "training.data_parallel": 3, "training.tensor_parallel": 5, "provenance.source": "mine"}
    layout = resolve(odd, catalog, measured=True).layout
    assert (layout["data_parallel"], layout["tensor_parallel"]) == (3, 5)


def test_who_measured_over_slow_links_and_states_no_layout_is_taken_to_have_searched(catalog: Catalog) -> None:
    run = {
        "model.name": "gpt-3-6.7b", "data.sequence_length": 1024, "hardware.accelerator": "V100-SXM2-16GB",
        "hardware.count": 16, "hardware.per_node": 8, "hardware.inter_node_gbs": 0.4,
        "training.precision": "fp16", "training.global_batch": 1024,
    }  # fmt: skip
    said = resolve({**run, "training.sharding": "fsdp"}, catalog, measured=True).layout
    assert (said["data_parallel"], said["sharding"]) == (16, "fsdp")
    chosen = resolve(run, catalog).layout
    assert chosen["sharding"] != "fsdp"
    unsaid = resolve(run, catalog, measured=True).layout
    assert {name: unsaid[name] for name in chosen} == chosen


def test_a_model_too_large_for_one_chip_says_that_it_does_not_fit(catalog: Catalog) -> None:
    resolved = resolve({"model.name": "llama-2-70b", "hardware.accelerator": "T4"}, catalog)
    assert not resolved.fits


def test_a_model_nobody_described_is_refused(catalog: Catalog) -> None:
    with pytest.raises(Unresolvable, match="how much work"):
        resolve({"hardware.accelerator": "T4"}, catalog)


def test_nodes_times_accelerators_per_node_is_the_count(catalog: Catalog) -> None:
    flat = {"model.name": "llama-3-8b", "hardware.accelerator": "H100", "hardware.nodes": 2, "hardware.per_node": 8}
    assert resolve(flat, catalog).values["count"] == 16
    with pytest.raises(Unresolvable, match="32 in all, but"):
        resolve({**flat, "hardware.nodes": 4, "hardware.count": 8}, catalog)


def test_a_model_known_by_name_only_is_answered_with_a_warning(catalog: Catalog) -> None:
    resolved = resolve({"model.name": "frobnicator-9000", "hardware.accelerator": "A100"}, catalog)
    assert any("no size is given" in warning for warning in resolved.warnings)


def test_parameters_and_tokens_make_a_decoder(catalog: Catalog) -> None:
    flat = {"model.name": "my-llm", "model.parameters": 3e9, "data.tokens": 1e10, "hardware.accelerator": "A100"}
    resolved = resolve(flat, catalog)
    assert resolved.values["family"] == "decoder"
    assert "model.family" in {assumption.field for assumption in resolved.assumptions}


def test_replicas_called_plain_share_out_states_that_no_accelerator_holds(catalog: Catalog) -> None:
    run = {
        "model.name": "llama-3.1-405b", "data.sequence_length": 8192, "hardware.accelerator": "H100-SXM5-80GB",
        "hardware.count": 1024, "hardware.per_node": 8, "training.precision": "bf16", "training.sharding": "ddp",
        "training.tensor_parallel": 8, "training.pipeline_parallel": 8, "training.global_batch": 1024,
    }  # fmt: skip
    table, _ = resolve_table([run, {**run, "model.name": "llama-3-8b"}], catalog, measured=True)
    assert table.text("sharding").tolist() == ["zero1", "ddp"]


def test_a_measured_run_that_says_nothing_repeats_no_more_than_its_memory_asks_for(catalog: Catalog) -> None:
    run = {**LLAMA, "hardware.count": 64}
    del run["training.recompute"]
    table, _ = resolve_table(
        [{**run, "training.micro_batch": micro, "training.global_batch": 64 * micro} for micro in (1, 4, 6, 32)],
        catalog,
        measured=True,
    )
    policies = ["none", "selective", "full"]
    chosen = [policies.index(name) for name in table.text("recompute")]
    assert chosen == sorted(chosen)
    assert (chosen[0], chosen[-1]) == (0, 2)


@pytest.mark.parametrize(
    ("change", "attention"),
    [
        ({"hardware.accelerator": "V100-SXM2-32GB", "training.precision": "fp16"}, "math"),
        ({}, "flash"),
        ({"provenance.measured_on": "2022-06"}, "math"),
    ],
)
def test_who_names_no_attention_kernel_had_that_of_the_time_and_chip(
    catalog: Catalog, change: dict[str, Any], attention: str
) -> None:
    assert resolve({**LLAMA, **change}, catalog, measured=True).values["attention"] == attention


@pytest.mark.parametrize(
    ("model", "training", "optimizer", "weights"),
    [
        ("vit-base-patch16-224", {}, "adamw", "fp32"),
        ("whisper-small", {}, "adamw", "fp32"),
        ("resnet-50", {}, "sgd", "fp32"),
        ("gpt2", {}, "adamw", "mixed"),
        ("gpt2", {"mode": "finetune", "sharding": "ddp"}, "adamw", "bf16"),
        ("gpt2", {"precision": "fp32"}, "adamw", None),
        ("gpt2", {"optimizer": "lion", "weight_precision": "bf16"}, None, None),
    ],
)
def test_optimizer_and_held_precision_are_said_and_cost_what_they_would_if_stated(
    catalog: Catalog, model: str, training: dict[str, Any], optimizer: str | None, weights: str | None
) -> None:
    stated = {"precision": "bf16"} | training
    asked = {
        "model.name": model,
        "hardware.accelerator": "A100-SXM4-80GB",
        "hardware.count": 8,
        **{f"training.{name}": value for name, value in stated.items()},
    }
    table, (answer,) = resolve_table([asked], catalog)
    assert isinstance(answer, Resolved)
    made = {found.field: found.value for found in answer.assumptions}
    assert made.get("training.optimizer") == optimizer
    assert made.get("training.weight_precision") == weights
    if weights is not None:
        same, _ = resolve_table([asked | {"training.weight_precision": weights}], catalog)
        assert prior_peak_gb(same) == pytest.approx(prior_peak_gb(table))


def test_a_measured_run_is_read_as_the_calibration_reads_it(catalog: Catalog) -> None:
    run = {"model.name": "vit-base-patch16-224", "hardware.accelerator": "A100-SXM4-80GB", "hardware.count": 8}
    measured = resolve(run, catalog, measured=True)
    assert measured.values["optimizer"] == "sgd"
    assert {"training.optimizer", "training.weight_precision"}.isdisjoint(made.field for made in measured.assumptions)
