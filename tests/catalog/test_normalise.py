"""Spellings become one; what is unknown stays as it was given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.catalog.catalog import load_catalog
from service.catalog.normalise import framework, normalise
from service.catalog.resolve import resolve


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Megatron-LM", ("megatron-lm", None)),
        ("Megatron-DeepSpeed", ("megatron-deepspeed", None)),
        ("NeMo 2.0", ("nemo", "2.0")),
        ("nemo-megatron (neuronx)", ("neuronx-nemo-megatron", None)),
        ("PyTorch v0.1.12", ("pytorch", "0.1.12")),
        ("torch", ("pytorch", None)),
        ("Moxing v1.13.0 + TensorFlow v1.13.1", ("tensorflow", "1.13.1")),
        ("fastai / Pytorch 1.0.0", ("pytorch", "1.0.0")),
        ("peft (pytorch)", ("peft", None)),
        ("paxml (jax)", ("paxml", None)),
        ("CuDNN[R4]-fp16 (Torch)", ("torch7", "CuDNN[R4]-fp16")),
        ("HuggingFace Transformers 4.44.0", ("transformers", "4.44.0")),
        ("My Own Trainer", ("my own trainer", None)),
    ],
)
def test_frameworks_have_one_spelling(text: str, expected: tuple[str, str | None]) -> None:
    assert framework(text) == expected


def test_a_stated_version_is_kept() -> None:
    fields = normalise({"software.framework": "PyTorch 2.3", "software.framework_version": "2.4.0"})
    assert fields == {"software.framework": "pytorch", "software.framework_version": "2.4.0"}


def test_chips_precisions_optimizers_and_data_sets() -> None:
    assert normalise(
        {
            "hardware.accelerator": "NVIDIA A100-SXM4-80GB",
            "training.precision": "bfloat16",
            "training.optimizer": "adamw_torch_fused",
            "data.name": "ImageNet",
        }
    ) == {
        "hardware.accelerator": "A100-SXM4-80GB",
        "training.precision": "bf16",
        "training.optimizer": "adamw",
        "data.name": "imagenet-1k",
    }


def test_the_unknown_is_left_alone() -> None:
    given_fields = {"hardware.accelerator": "Zeta-9", "data.name": "my own", "model.layers": 12.0}
    assert normalise(given_fields) == given_fields


@given(st.text(min_size=1, max_size=60))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise({"software.framework": text, "training.precision": text})
    assert normalise(once) == once


@pytest.mark.parametrize(
    ("machine", "chip", "per_node"),
    [
        ("p4d.24xlarge", "A100-SXM4-40GB", 8),
        ("a2-highgpu-4g", "A100-SXM4-40GB", 4),
        ("ND96asr_v4", "A100-SXM4-40GB", 8),
        ("p3.2xlarge", "V100-SXM2-16GB", 1),
        ("trn1.32xlarge", "Trainium1", 16),
    ],
)
def test_a_cloud_machine_says_how_many_accelerators_it_has(machine: str, chip: str, per_node: int) -> None:
    fields = normalise({"hardware.accelerator": machine})
    assert fields == {"hardware.accelerator": chip, "hardware.per_node": per_node}
    assert normalise(fields) == fields
    known = resolve({**fields, "model.name": "llama-3-8b", "hardware.nodes": 2}, load_catalog())
    assert known.values["count"] == 2 * per_node
    assert "hardware.count" in [item.field for item in known.assumptions]


def test_a_machine_does_not_contradict_what_is_stated() -> None:
    assert "hardware.per_node" not in normalise({"hardware.accelerator": "p4d.24xlarge", "hardware.count": 4})
    stated = normalise({"hardware.accelerator": "p4d.24xlarge", "hardware.count": 16, "hardware.per_node": 4})
    assert stated["hardware.per_node"] == 4
    assert "hardware.per_node" not in normalise({"hardware.accelerator": "H100"})
