"""Estimates are refused where counts contradict each other or the chip lacks what is asked; measured rows are not."""

import pytest

from service.catalog.catalog import load_catalog
from service.catalog.resolution import Unresolvable
from service.catalog.resolve import resolve

LLAMA = {"model.name": "llama-3-8b", "hardware.accelerator": "H100"}
OWN = {
    "model.family": "moe", "model.parameters": 1e10, "model.layers": 24, "model.hidden_size": 2048,
    "model.attention_heads": 16, "model.experts": 8, "model.experts_per_token": 2, "hardware.accelerator": "H100",
}  # fmt: skip


@pytest.mark.parametrize(
    ("flat", "field"),
    [
        ({**LLAMA, "model.kv_heads": 64}, "model.kv_heads"),
        ({**LLAMA, "model.attention_heads": 4}, "model.attention_heads"),
        ({**OWN, "model.active_parameters": 2e10}, "model.active_parameters"),
        ({**OWN, "model.experts_per_token": 9}, "model.experts_per_token"),
        ({**OWN, "model.dense_layers": 25}, "model.dense_layers"),
        ({**LLAMA, "software.attention": "flash3", "hardware.accelerator": "A100"}, "software.attention"),
        ({**LLAMA, "training.precision": "fp8", "hardware.accelerator": "A100"}, "training.precision"),
    ],
)
def test_a_contradiction_names_its_field_and_is_taken_as_it_is_where_measured(
    flat: dict[str, object], field: str
) -> None:
    with pytest.raises(Unresolvable) as refused:
        resolve(flat, load_catalog())
    assert field in [error.field for error in refused.value.errors]
    assert all(error.hint for error in refused.value.errors)
    resolve(flat, load_catalog(), measured=True)


@pytest.mark.parametrize("chip", ["H100", "H200", "H800-SXM5-80GB", "GH200-96GB"])
def test_flash_attention_3_runs_on_hopper(chip: str) -> None:
    resolve({**LLAMA, "software.attention": "flash3", "hardware.accelerator": chip}, load_catalog())


def test_every_model_of_the_catalog_is_free_of_contradictions() -> None:
    for model in load_catalog().models.values():
        for part, whole in (
            ("kv_heads", "attention_heads"), ("active_parameters", "parameters"), ("experts_per_token", "experts")
        ):  # fmt: skip
            assert not getattr(model, part) > getattr(model, whole), model.name
