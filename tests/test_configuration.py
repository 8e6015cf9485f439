"""The vocabulary: lenient where people write numbers differently, strict where a typo would change a prediction."""

import pytest
from pydantic import ValidationError

from service.configuration import FIELDS, SECTIONS, Configuration, Measurement, suggest_field, unknown_field

GPT_3 = {
    "model": {"name": "gpt-3-175b"},
    "data": {"tokens": 300e9, "sequence_length": 2048},
    "hardware": {"accelerator": "V100-SXM2-32GB", "count": 1024, "per_node": 8},
    "training": {"precision": "fp16", "global_batch": 1536},
}


def test_a_request_reads_and_flattens_to_what_was_stated() -> None:
    assert Configuration.model_validate(GPT_3).flat() == {
        "model.name": "gpt-3-175b",
        "data.sequence_length": 2048,
        "data.tokens": 300e9,
        "hardware.accelerator": "V100-SXM2-32GB",
        "hardware.count": 1024,
        "hardware.per_node": 8,
        "training.precision": "fp16",
        "training.global_batch": 1536,
    }


def test_flat_and_nested_say_the_same() -> None:
    configuration = Configuration.model_validate(GPT_3)
    assert Configuration.from_flat(configuration.flat()) == configuration


def test_only_model_and_accelerator_are_needed() -> None:
    assert Configuration.from_flat({"model.name": "resnet-50", "hardware.accelerator": "T4"}).flat()
    for missing in ({"model.name": "resnet-50"}, {"hardware.accelerator": "T4"}):
        with pytest.raises(ValidationError):
            Configuration.from_flat(missing)


def test_numbers_are_lenient() -> None:
    read = Configuration.from_flat(
        {
            "model.parameters": 8.03e9,
            "hardware.accelerator": "T4",
            "hardware.count": 0.5,
            "data.sequence_length": 209.9,
        }
    )
    assert read.model.parameters == 8.03e9
    assert read.hardware.count == 0.5


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "many", 1e300])
def test_impossible_counts_are_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        Configuration.from_flat({"model.name": "x", "hardware.accelerator": "T4", "hardware.count": value})


@pytest.mark.parametrize("name", ["model.gated_mlp", "model.tied_embeddings", "software.compile"])
@pytest.mark.parametrize("value", [1, 0.0, "true", "yes"])
def test_a_truth_is_true_or_false(name: str, value: object) -> None:
    run = {"model.name": "x", "hardware.accelerator": "T4"}
    assert Configuration.from_flat({**run, name: True}).flat()[name] is True
    with pytest.raises(ValidationError):
        Configuration.from_flat({**run, name: value})


@pytest.mark.parametrize("name", ["model.name", "hardware.interconnect", "training.optimizer", "data.name"])
def test_text_without_nul_characters(name: str) -> None:
    with pytest.raises(ValidationError, match="NUL"):
        Configuration.from_flat({"model.name": "x", "hardware.accelerator": "T4", name: "a\0b"})


def test_a_typo_is_an_error_at_its_place() -> None:
    with pytest.raises(ValidationError) as refused:
        Configuration.model_validate({**GPT_3, "training": {"seq_len": 2048}})
    assert [error["loc"] for error in refused.value.errors()] == [("training", "seq_len")]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("seq_len", "data.sequence_length"),
        ("training.seq_len", "data.sequence_length"),
        ("training.micro_bacth", "training.micro_batch"),
        ("model.num_hidden_layers", "model.layers"),
        ("model.count", "hardware.count"),
        ("tensor_parallel", "training.tensor_parallel"),
        ("gpus", "hardware.count"),
    ],
)
def test_an_unknown_name_is_answered_with_the_likely_one(name: str, meant: str) -> None:
    assert suggest_field(name) == meant
    assert unknown_field(name) == f"unknown field {name!r}: did you mean {meant!r}?"


def test_a_name_like_nothing_gets_no_suggestion() -> None:
    assert suggest_field("xyzzy") is None
    assert "schema" in unknown_field("xyzzy")


@pytest.mark.parametrize(
    ("spelling", "precision"), [("bfloat16", "bf16"), ("torch.float16", "fp16"), ("MXFP8", "fp8"), ("nvfp4", "fp4")]
)
def test_precisions_have_many_spellings(spelling: str, precision: str) -> None:
    read = Configuration.from_flat({"model.name": "x", "hardware.accelerator": "T4", "training.precision": spelling})
    assert read.training.precision == precision


def test_a_measurement_observed_something() -> None:
    run = {"model.name": "x", "hardware.accelerator": "T4"}
    assert Measurement.from_flat({**run, "result.value": 3, "result.unit": "samples_per_second"}).result.value == 3
    assert Measurement.from_flat({**run, "result.out_of_memory": True}).result.out_of_memory
    for nothing in ({}, {"result.value": 3}, {"result.unit": "mfu"}, {"result.out_of_memory": False}):
        with pytest.raises(ValidationError):
            Measurement.from_flat({**run, **nothing})


def test_a_null_is_not_stated() -> None:
    read = Configuration.from_flat({"model.name": "x", "model.layers": None, "hardware.accelerator": "T4"})
    assert "model.layers" not in read.flat()


def test_every_field_says_what_it_is_with_an_example() -> None:
    for section, kind in SECTIONS.items():
        for name, field in kind.model_fields.items():
            assert field.description, f"{section}.{name}"
            assert field.examples or section == "provenance", f"{section}.{name}"
    assert len(FIELDS) == len(set(FIELDS))
