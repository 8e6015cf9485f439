"""What anybody in the field would notice in an answer."""

from typing import Any

import httpx
import pytest

from tests.estimates.test_estimates import LLAMA, estimate, refused

GPT = {"model": {"name": "gpt-3-1.3b"}, "data": {"tokens": 1e10, "sequence_length": 2048}}
A100 = {"accelerator": "A100-SXM4-80GB", "per_node": 8}


def seconds(answer: dict[str, Any]) -> float:
    return float(answer["step_seconds"]["p50"])


def test_a_few_chips_more_are_no_slower_though_the_batch_does_not_divide(client: httpx.Client) -> None:
    few, more, many = (
        estimate(client, GPT, hardware={**A100, "count": count}, training={"global_batch": 500})
        for count in (250, 256, 384)
    )
    assert seconds(more) < 1.03 * seconds(few)
    assert seconds(many) < 1.03 * seconds(few)
    # What one replica has more than others is waited for: 512 samples' worth of time for 500.
    whole = estimate(client, GPT, hardware={**A100, "count": 256}, training={"global_batch": 512})
    assert seconds(more) == pytest.approx(seconds(whole), rel=0.01)


@pytest.mark.parametrize(("count", "batch"), [(3, 64), (1000, 1536), (256, 500), (8, 64)])
def test_an_answered_layout_that_is_sent_back_is_the_same_run(client: httpx.Client, count: int, batch: int) -> None:
    asked = {**GPT, "hardware": {**A100, "count": count}}
    answer = estimate(client, asked, training={"global_batch": batch})
    layout = {name: value for name, value in answer["layout"].items() if value is not None and name != "per_node"}
    again = estimate(client, asked, training=layout)
    assert again["step_seconds"] == answer["step_seconds"]
    assert again["memory"] == answer["memory"]
    assumed = {
        made["field"].removeprefix("training."): made["value"]
        for made in answer["assumptions"]
        if made["field"].startswith("training.")
    }
    assert seconds(estimate(client, asked, training={"global_batch": batch, **assumed})) == seconds(answer)


def test_degrees_that_leave_chips_over_are_refused_as_that(client: httpx.Client) -> None:
    request = {**LLAMA, "hardware": {**A100, "count": 512}, "training": {"context_parallel": 3, "global_batch": 128}}
    error = refused(client, request)
    assert error["field"] == "training.context_parallel"
    assert "do not divide hardware.count 512" in error["message"]


@pytest.mark.parametrize(
    ("count", "training"),
    [(256, {"tensor_parallel": 4, "global_batch": 64}), (256, {"data_parallel": 256, "global_batch": 256})],
)
def test_advice_to_take_fewer_chips_keeps_what_is_stated(
    client: httpx.Client, count: int, training: dict[str, Any]
) -> None:
    request = {"model": {"name": "bert-base"}, "data": {"samples": 1e6, "sequence_length": 128}}
    many = estimate(client, request, hardware={**A100, "count": count}, training=training)
    (said,) = [text for text in many["warnings"] if "strong scaling" in text]
    fewer = int(said.split("hardware.count = ")[1].split()[0])
    assert ("training.data_parallel left out" in said) == ("data_parallel" in training)
    held = {name: value for name, value in training.items() if name != "data_parallel"}
    then = estimate(client, request, hardware={**A100, "count": fewer}, training=held)
    assert f"{seconds(many) / seconds(then) - 1.0:.0%} quicker" in said


def test_embedding_tables_take_memory_and_are_spread(client: httpx.Client) -> None:
    request = {"model": {"name": "dlrm-dcnv2"}, "data": {"samples": 1e9}}
    alone, spread = (estimate(client, request, hardware={**A100, "count": count}) for count in (1, 16))
    assert alone["memory"]["parts"]["weights"] > 26e9 * 4e-9
    assert not alone["memory"]["fits"]
    assert spread["memory"]["parts"]["weights"] < alone["memory"]["parts"]["weights"] / 10
    assert spread["memory"]["fits"]


def test_small_pictures_are_small_work(client: httpx.Client) -> None:
    request = {"model": {"name": "resnet-50"}, "hardware": {"accelerator": "T4"}}
    named = estimate(client, request, data={"name": "cifar-10", "epochs": 10})
    sized = estimate(client, request, data={"name": "cifar-10", "epochs": 10, "image_size": 32})
    assert named["duration_hours"] == sized["duration_hours"]
    assert {"field": "data.image_size", "value": 32.0} in [
        {"field": made["field"], "value": made["value"]} for made in named["assumptions"]
    ]
    tuned = estimate(client, request, data={"name": "cifar-10", "epochs": 10}, training={"mode": "finetune"})
    assert tuned["duration_hours"]["p50"] > 3.0 * named["duration_hours"]["p50"]


def test_an_unknown_language_model_is_taken_for_one_of_usual_size(client: httpx.Client) -> None:
    answer = estimate(client, LLAMA, model={"name": "somebodys-own"}, data={"tokens": 1e12, "sequence_length": 4096})
    assert any("is not in the catalog and no size is given" in warning for warning in answer["warnings"])
    assert {"field": "model.family", "value": "decoder"} in [
        {"field": made["field"], "value": made["value"]} for made in answer["assumptions"]
    ]
    usual = estimate(client, LLAMA, model={"parameters": 7.2e9}, data={"tokens": 1e12, "sequence_length": 4096})
    assert answer["duration_hours"]["p10"] < usual["duration_hours"]["p50"] < answer["duration_hours"]["p90"]


@pytest.mark.parametrize("model", ["t5-11b", "mamba-2.8b", "flux.1-dev"])
def test_no_matrix_product_is_quicker_than_the_best_one_known(client: httpx.Client, model: str) -> None:
    request = {"model": {"name": model}, "data": {"samples": 1e5}, "hardware": {**A100, "count": 8}}
    assert estimate(client, request, training={"precision": "bf16"})["mfu"]["p50"] < 0.87


def test_both_half_precisions_are_as_quick(client: httpx.Client) -> None:
    request = {"model": {"name": "bert-large"}, "data": {"samples": 1e6}, "hardware": {"accelerator": "MI300X"}}
    one, other = (seconds(estimate(client, request, training={"precision": name})) for name in ("fp16", "bf16"))
    assert one == pytest.approx(other, rel=0.15)


def test_what_data_are_for_says_how_they_are_trained_on(client: httpx.Client) -> None:
    answer = estimate(client, LLAMA, data={"name": "alpaca", "epochs": 3})
    assert {"training.mode": "finetune"}.items() <= {
        made["field"]: made["value"] for made in answer["assumptions"] if made["field"] == "training.mode"
    }.items()


def test_a_frozen_diffusion_model_is_held_in_what_it_is_computed_with(client: httpx.Client) -> None:
    request = {"model": {"name": "flux.1-dev"}, "data": {"samples": 1e4}, "hardware": {"accelerator": "RTX-4090"}}
    answer = estimate(client, request, training={"mode": "lora", "micro_batch": 1, "recompute": "full"})
    assert answer["memory"]["parts"]["weights"] == pytest.approx(12e9 * 2e-9, rel=0.1)


@pytest.mark.parametrize(
    ("hardware", "same"),
    [("ml.p4d.24xlarge", "p4d.24xlarge"), ("GH200 480GB", "GH200"), ("Cloud TPU v3-8", "TPU-v3")],
)
def test_chips_are_known_by_the_names_that_shops_give_them(client: httpx.Client, hardware: str, same: str) -> None:
    one, other = (estimate(client, LLAMA, hardware={"accelerator": name, "count": 8}) for name in (hardware, same))
    assert seconds(one) == seconds(other)


def test_words_of_frameworks_are_understood_or_asked_about(client: httpx.Client) -> None:
    one, other = (estimate(client, LLAMA, training={"sharding": name}) for name in ("ZeRO-3", "zero3"))
    assert seconds(one) == seconds(other)
    error = refused(client, {**LLAMA, "training": {"precision": "amp"}})
    assert error["field"] == "training.precision"
    assert "bf16" in error["hint"]


def test_a_picture_size_is_nothing_to_who_listens(client: httpx.Client) -> None:
    request = {"model": {"name": "whisper-small"}, "hardware": {**A100, "count": 8}}
    one, other = (estimate(client, request, data={"samples": 1e6, "image_size": size}) for size in (64, 4096))
    assert seconds(one) == seconds(other)
