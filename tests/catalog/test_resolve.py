"""What a row comes to depends on what it says, whoever else is in the table and whatever was asked before."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.catalog.catalog import Catalog, load_catalog
from service.catalog.resolution import Resolved, Unresolvable
from service.catalog.resolve import resolve, resolve_table

CONFIG = {
    "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 8192, "vocab_size": 128256,
}  # fmt: skip
RUNS: list[dict[str, object]] = [
    {"model.name": "llama-3-8b", "data.sequence_length": 8192, "hardware.accelerator": "H100-SXM5-80GB"},
    {"model.name": "resnet-50", "data.name": "imagenet-1k", "hardware.accelerator": "V100-SXM2-16GB"},
    {"model.name": "mixtral-8x7b", "hardware.accelerator": "A100-SXM4-80GB", "hardware.count": 64},
    {"model.parameters": 7e9, "data.tokens": 1e11, "hardware.accelerator": "TPU-v4"},
    {"model.huggingface_config": CONFIG, "hardware.accelerator": "H100-SXM5-80GB", "hardware.count": 8},
    {"model.name": "frobnicator-13b", "hardware.accelerator": "MI300X", "hardware.count": 16},
]
# One more thing that a row may say: each field that a part of the answer is read from, in two ways.
FURTHER: dict[str, tuple[object, object]] = {
    "model.layers": (12, 24),
    "model.parameters": (5.0, 3e9),
    "model.kv_heads": (8, 4096),
    "model.family": ("other", "encoder"),
    "model.huggingface_config": (CONFIG | {"num_hidden_layers": 8}, {"model_type": "nothing known"}),
    "data.name": ("c4", "no such set"),
    "data.tokens": (1e9, 2e9),
    "data.samples": (1e6, 2e6),
    "data.epochs": (2, 3),
    "data.image_size": (224, 448),
    "data.sequence_length": (512, 4096),
    "data.maximum_length": (1024, 2048),
    "data.input": ("real", "synthetic"),
    "data.packing": ("none", "packed"),
    "hardware.accelerator": ("T4", "H1000"),
    "hardware.count": (32, 7.5),
    "hardware.per_node": (4, 16),
    "hardware.nodes": (2, 3),
    "hardware.interconnect": ("PCIe 3.0", "NVLink; 8x ConnectX-7 IB NDR 400Gb/s"),
    "hardware.inter_node_gbs": (1, 50),
    "training.mode": ("finetune", "lora"),
    "training.precision": ("fp8", "fp32"),
    "training.weight_precision": ("fp32", "bf16"),
    "training.optimizer": ("sgd", "lionish"),
    "training.adapter": ("lora", "dora"),
    "training.trainable_parameters": (1e6, 2e6),
    "training.variable_update": ("replicated", "parameter_server"),
    "training.global_batch": (64, 96),
    "training.micro_batch": (1, 5),
    "training.tensor_parallel": (2, 3),
    "training.pipeline_parallel": (2, 4),
    "training.data_parallel": (2, 8),
    "training.sharding": ("zero1", "fsdp"),
    "training.recompute": ("none", "full"),
    "training.offload": ("none", "cpu"),
    "software.framework": ("nemo", "pytorch"),
    "software.attention": ("flash3", "math"),
    "software.compile": (True, False),
    "software.cuda_graphs": ("none", "full"),
    "software.kernel_library": ("cudnn", "onednn"),
    "software.memory_format": ("contiguous", "channels_last"),
    "provenance.source": ("here", "there"),
    "provenance.measured_on": ("2019-05", "2025"),
    "provenance.evidence": ("log", "vendor"),
}
SAID = st.sampled_from([(name, value) for name, values in FURTHER.items() for value in values])
ROWS = st.lists(
    st.builds(lambda run, said: run | dict(said), st.sampled_from(RUNS), st.lists(SAID, max_size=3)),
    min_size=1,
    max_size=6,
)


def unasked() -> Catalog:
    """The catalog, of which nothing has been asked yet."""
    return replace(load_catalog())


def told(answer: Resolved | Unresolvable) -> object:
    """All that an answer says, NaN equal to NaN."""
    if isinstance(answer, Unresolvable):
        return answer.errors
    known = {name: value for name, value in answer.values.items() if not (isinstance(value, float) and value != value)}
    amount = [0.0 if math.isnan(one) else one for one in (answer.samples_to_train, answer.tokens_to_train)]
    return known, answer.assumptions, answer.warnings, answer.layout, amount, answer.fits


def alone(row: Mapping[str, object], *, measured: bool) -> Resolved | Unresolvable:
    try:
        return resolve(row, unasked(), measured=measured)
    except Unresolvable as error:
        return error


@pytest.mark.parametrize("measured", [False, True], ids=["planned", "measured"])
@settings(max_examples=30)
@given(rows=ROWS)
def test_a_row_comes_to_the_same_alone_and_among_others(measured: bool, rows: list[dict[str, object]]) -> None:
    catalog = unasked()
    table, answers = resolve_table([*rows, *reversed(rows)], catalog, measured=measured)
    expected = [told(alone(row, measured=measured)) for row in rows]
    assert [told(answer) for answer in answers] == [*expected, *reversed(expected)]
    assert len(table) == sum(isinstance(answer, Resolved) for answer in answers)
    again = [told(answer) for answer in resolve_table(rows, catalog, measured=measured)[1]]
    assert again == expected


@pytest.mark.parametrize("name", FURTHER)
def test_of_two_rows_each_keeps_what_it_says(name: str) -> None:
    rows = [RUNS[0] | {name: value} for value in FURTHER[name]]
    _, answers = resolve_table([*rows, *rows], unasked())
    expected = [told(alone(row, measured=False)) for row in rows]
    assert [told(answer) for answer in answers] == [*expected, *expected]


def test_changing_an_answer_changes_no_other() -> None:
    catalog, row = unasked(), RUNS[0]
    first, expected = resolve(row, catalog), told(resolve(row, catalog))
    first.values.clear()
    first.assumptions.clear()
    assert told(resolve(row, catalog)) == expected
