"""The callback in a real `transformers.Trainer`, on a tiny model with random weights."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Team

transformers = pytest.importorskip("transformers", reason="needs transformers: make test-callbacks")
torch = pytest.importorskip("torch", reason="needs torch: make test-callbacks")

SEQUENCE = 16


def rows(count: int = 400) -> list[dict[str, Any]]:
    return [{"input_ids": row, "labels": row} for row in torch.randint(0, 128, (count, SEQUENCE))]


def tiny() -> Any:
    """A two-layer Llama with random weights."""
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=128,
        )
    )


def trained(folder: Path, callback: Any, model: Any = None, **arguments: Any) -> Any:
    """Trains for forty steps with that callback."""
    settings = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=40, per_device_train_batch_size=4, gradient_accumulation_steps=2,
        use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no", **arguments,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model=model or tiny(), args=settings, train_dataset=rows(), eval_dataset=rows(8), callbacks=[callback]
    )
    trainer.train()
    return trainer


def test_it_fills_the_configuration_from_model_and_arguments(tmp_path: Path) -> None:
    from service.callbacks.huggingface import TraincastCallback

    callback = TraincastCallback(warm_up_steps=2, window_steps=5)
    trained(tmp_path, callback, bf16=True)
    made = callback.measurement
    assert made is not None
    assert made["model"]["huggingface_config"]["num_key_value_heads"] == 2
    assert made["model"]["parameters"] > 8192
    assert "name" not in made["model"]
    assert made["data"] == {"sequence_length": SEQUENCE}
    assert made["training"] == {
        "optimizer": "adamw",
        "precision": "bf16",
        "weight_precision": "fp32",
        "global_batch": 8,
        "micro_batch": 4,
        "gradient_accumulation": 2,
        "data_parallel": 1,
        "sharding": "none",
        "recompute": "none",
    }
    assert made["software"]["framework"] == "transformers"
    assert made["software"]["attention"] == "sdpa"
    assert made["result"]["value"] > 0
    assert torch.__version__ in made["provenance"]["notes"]


def test_evaluations_are_not_training(tmp_path: Path) -> None:
    from service.callbacks.huggingface import TraincastCallback

    often = TraincastCallback(warm_up_steps=0, window_steps=5)
    trained(tmp_path, often, eval_strategy="steps", eval_steps=4)
    assert often.measurement is None, "every window was interrupted"
    seldom = TraincastCallback(warm_up_steps=0, window_steps=5)
    trained(tmp_path, seldom, eval_strategy="steps", eval_steps=20)
    assert seldom.measurement is not None


def test_what_learns_is_told_from_what_rests(tmp_path: Path) -> None:
    from service.callbacks.huggingface import TraincastCallback

    model = tiny()
    model.model.requires_grad_(False)
    callback = TraincastCallback(warm_up_steps=1, window_steps=5)
    trained(tmp_path, callback, model)
    assert callback.measurement is not None
    assert callback.measurement["training"]["mode"] == "frozen"
    assert callback.measurement["training"]["trainable_parameters"] == 128 * 32


def test_it_submits_and_a_broken_service_does_not_end_the_training(
    ours: Team, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from service.callbacks.huggingface import TraincastCallback

    told: Any = {
        "hardware": "T4",
        "url": str(ours.http.base_url),
        "submit": True,
        "largest_spread": 10,
        "warm_up_steps": 1,
        "window_steps": 3,
    }
    callback = TraincastCallback(**told, key=ours.key)
    trained(tmp_path, callback)
    assert callback.reporter.stored is not None
    stored = ours.http.get(f"/v1/measurements/{callback.reporter.stored.id}").json()
    assert stored["hardware"]["accelerator"] == "T4"
    refused = TraincastCallback(**told, key="no such key")
    assert trained(tmp_path, refused).state.global_step == 40
    assert refused.measurement is not None
    assert refused.reporter.stored is None
    assert "training goes on" in caplog.text
