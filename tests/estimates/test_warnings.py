"""What an estimate warns of: what it does not reckon with as it was stated, and what is hardly meant."""

from typing import Any

import httpx
import pytest

from service.estimates.examples import EXAMPLES
from tests.estimates.test_estimates import LLAMA, estimate, refused

RESNET: dict[str, Any] = {
    "model": {"name": "resnet-50"},
    "data": {"name": "imagenet-1k"},
    "hardware": {"accelerator": "V100-SXM2-16GB", "count": 8, "per_node": 8},
    "training": {"precision": "fp16", "global_batch": 512},
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param(
            {"model": {"name": "bert-large"}}, "imagenet-1k is of images, and bert-large", id="images to read"
        ),
        pytest.param({"data": {"name": "c4"}}, "c4 is of texts, and resnet-50", id="texts to look at"),
        pytest.param({"data": {"samples": 500}}, "500 samples to train on", id="less than a step"),
        pytest.param({"data": {"samples": 500, "epochs": 2}}, "some of them twice", id="a step of two epochs"),
        pytest.param({"data": {"samples": 512, "epochs": 2}}, None, id="a step of an epoch"),
        pytest.param(
            {"hardware": {"accelerator": "V100-SXM2-16GB", "count": 12, "per_node": 8}},
            "no multiple",
            id="half a machine",
        ),
        pytest.param(
            {"hardware": {"accelerator": "V100-SXM2-16GB", "count": 3, "per_node": 8}}, None, id="a part of one machine"
        ),
        pytest.param(
            {"hardware": {"accelerator": "p3.16xlarge", "count": 9, "per_node": 3}}, None, id="a part of each machine"
        ),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_what_is_hardly_meant_is_asked_about(client: httpx.Client, changes: dict[str, Any], says: str | None) -> None:
    warnings = estimate(client, RESNET, **changes)["warnings"]
    assert says in warnings[0] if says else not warnings


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_meant(client: httpx.Client, name: str) -> None:
    assert [
        text for text in estimate(client, EXAMPLES[name]["value"], save=False)["warnings"] if "fit" not in text
    ] == []


@pytest.mark.parametrize(
    ("model", "says"),
    [
        pytest.param({"name": "rezent-50"}, "resnet", id="misspelt name"),
        pytest.param({"parameters": 7}, "7e+09", id="billions without their unit"),
        pytest.param({"name": "gpt-3-175b", "parameters": 1e9}, "but gpt-3-175b has 1.746e+11", id="another size"),
        pytest.param({"name": "resnet-50", "parameters": 7e9}, "but resnet-50 has 2.556e+07", id="another size by far"),
        pytest.param({"name": "resnet-50", "parameters": 6e7}, "the work of resnet-50 stands", id="more weights"),
    ],
)
def test_a_model_that_is_probably_another_one_is_doubted(
    client: httpx.Client, model: dict[str, Any], says: str
) -> None:
    assert any(says in warning for warning in estimate(client, LLAMA, model=model)["warnings"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param(
            {"data": {"tokens": 1e9, "samples": 1000, "sequence_length": 4096}}, "data.samples is left out", id="twice"
        ),
        pytest.param(
            {"model": {"family": "rnn", "layers": 2, "hidden_size": 64}, "data": {"samples": 1e6}},
            "what is given of the model does not say",
            id="no size",
        ),
        pytest.param(
            {"model": {"name": "resnet-50"}, "data": {"tokens": 1e9, "samples": 1e6}},
            "resnet-50 is trained on images: data.tokens is left out",
            id="tokens beside images",
        ),
        pytest.param(
            {"model": {"name": "bert-large", "parameters": 340e6}, "data": {"samples": 1e6, "sequence_length": 512}},
            None,
            id="a rounded size",
        ),
        pytest.param(
            {
                "model": {"name": "gpt-3-175b", "parameters": 1.3e9, "layers": 24},
                "data": {"tokens": 1e9, "sequence_length": 2048},
            },
            None,
            id="a stated size",
        ),
        pytest.param({"training": {"mode": "lora", "optimizer": "shampoo"}}, "adamw", id="unknown optimizer"),
        pytest.param({"training": {"sharding": "ddp", "sharding_group": 4}}, "shares nothing out", id="sharding group"),
        pytest.param({"training": {"sharding": "hsdp", "sharding_group": 4}}, None, id="hybrid shards"),
        pytest.param(
            {"hardware": {"accelerator": "H100-SXM5-80GB", "count": 24}, "training": {"context_parallel": 3}},
            "does not divide data.sequence_length",
            id="parts of a sequence",
        ),
        pytest.param(
            {"training": {"pipeline_parallel": 4, "virtual_pipeline": 2, "micro_batch": 1, "global_batch": 12}},
            "in multiples of 4, and the step has 6",
            id="an interleaved pipeline that is not filled",
        ),
        pytest.param(
            {"training": {"mode": "lora", "trainable_parameters": 9e9}}, "is more than the model's", id="trained twice"
        ),
        pytest.param(
            {"model": {"name": "bert-large"}, "data": {"samples": 1e6, "sequence_length": 1024}},
            "beyond the 512 positions of bert-large",
            id="positions",
        ),
        pytest.param({"training": {"expert_parallel": 8}}, "splits no experts", id="experts of a dense model"),
        pytest.param(
            {"training": {"pipeline_parallel": 1, "virtual_pipeline": 4}}, "there is none", id="chunks without stages"
        ),
        pytest.param({"training": {"mode": "finetune", "objective": "ppo"}}, "as plain fine-tuning", id="objective"),
        pytest.param({"data": {"tokens": 4096e3, "samples": 1000, "sequence_length": 4096}}, None, id="the same twice"),
        pytest.param(
            {"model": {"family": "rnn", "parameters": 1e8}, "data": {"samples": 1e6}}, None, id="size by parameters"
        ),
    ],
)
def test_what_is_not_reckoned_with_as_stated_is_told(
    client: httpx.Client, changes: dict[str, Any], says: str | None
) -> None:
    warnings = [text for text in estimate(client, LLAMA, **changes)["warnings"] if "fit" not in text]
    assert says in warnings[0] if says else not warnings


@pytest.mark.parametrize("data", [{"tokens": 1e9}, {"name": "the-pile"}], ids=str)
def test_tokens_are_no_amount_for_who_trains_on_images(client: httpx.Client, data: dict[str, Any]) -> None:
    answer = estimate(client, LLAMA, model={"name": "resnet-50"}, data=data)
    assert answer["duration_hours"] is None
    assert [warning for warning in answer["warnings"] if "resnet-50 is trained on images" in warning]
    assert not any("says no amount" in warning for warning in answer["warnings"])
    asked = {"model": {"name": "resnet-50"}, "data": data, "hardware": {"accelerators": ["T4"], "counts": [8]}}
    error = refused(client, asked, path="/v1/plans")
    assert "resnet-50 is trained on images" in error["message"]
    assert "data.samples" in error["hint"]
