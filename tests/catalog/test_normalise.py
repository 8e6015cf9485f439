"""Spellings become one; what is unknown stays as it was given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.catalog.normalise import framework, normalise


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
