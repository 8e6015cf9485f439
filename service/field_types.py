"""The types of the vocabulary's fields: words that are known, numbers, texts, and how each may be spelled.

Strict where a slip would change a prediction, lenient where people write one thing in several ways.
"""

import math
import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

Family = Literal[
    "decoder", "encoder", "encoder_decoder", "moe", "cnn", "vit", "rnn", "diffusion", "detection", "segmentation",
    "speech", "recommender", "gnn", "other",
]  # fmt: skip
Mode = Literal["pretrain", "finetune", "lora", "qlora", "frozen", "fwd_bwd"]
Precision = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "fp4"]
Sharding = Literal["none", "ddp", "zero1", "zero2", "zero3", "fsdp", "hsdp"]
Unit = Literal[
    "tokens_per_second", "samples_per_second", "tokens_per_second_per_accelerator",
    "samples_per_second_per_accelerator", "seconds_per_step", "milliseconds_per_step", "model_tflops_per_accelerator",
    "hardware_tflops_per_accelerator", "mfu", "accelerator_hours", "hours", "minutes",
]  # fmt: skip
Fp8Recipe = Literal["delayed", "tensorwise", "rowwise", "blockwise", "mxfp8", "nvfp4"]
TokenUnit = Literal["text", "source_and_target", "encoder_text", "mel_frame", "audio_sample", "audio_frame"]
Basis = Literal["steps", "throughput_log", "epochs", "run_without_evaluation", "run_with_evaluation", "with_warm_up"]

PRECISION_SPELLINGS = {
    "float32": "fp32", "float": "fp32", "single": "fp32", "32": "fp32", "32-true": "fp32", "tensorfloat32": "tf32",
    "float16": "fp16", "half": "fp16", "16": "fp16", "16-mixed": "fp16", "16-true": "fp16", "mixed_fp16": "fp16",
    "bfloat16": "bf16", "bf16-mixed": "bf16", "bf16-true": "bf16", "float8": "fp8", "mxfp8": "fp8", "fp8_cs": "fp8",
    "fp8_mx": "fp8", "fp8_ds": "fp8", "fp8_sc": "fp8", "e4m3": "fp8", "float4": "fp4", "nvfp4": "fp4", "mxfp4": "fp4",
}  # fmt: skip

UNITS: tuple[str, ...] = get_args(Unit)
PRECISIONS: tuple[str, ...] = get_args(Precision)
FAMILIES: tuple[str, ...] = get_args(Family)

SMALLEST = 1e-9
"""Of what is above 0: far below any count, and large enough that nothing divided by it becomes infinite."""
DEEPEST_CONFIG = 100
"""Levels of nesting in a pasted config.json; published ones have three or four."""
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=True)]
"""A part of a whole, and some of it."""
Count = Annotated[float, Field(gt=0, le=1e24, allow_inf_nan=False, strict=True), Field(ge=SMALLEST)]
"""A positive number of things; 300e9 is as good as 300000000000, and a mean may be fractional. Strict: in JSON, `true`
and `"12"` are no numbers."""
CountOrZero = Annotated[float, Field(ge=0, le=1e24, allow_inf_nan=False, strict=True)]
_SEPARATORS = re.compile(r"[-_\s]")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def _lowered(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _precision(value: object) -> object:
    if not isinstance(value, str):
        return value
    name = value.strip().lower().removeprefix("torch.")
    if name in ("amp", "mixed_precision", "mixed-precision"):
        raise PydanticCustomError(
            "precision_says_little",
            "{given} does not say in which precision matrix products are computed",
            {"given": repr(value), "hint": "fp16 or bf16, as the run casts to"},
        )
    return PRECISION_SPELLINGS.get(name, name)


def _sharding(value: object) -> object:
    if not isinstance(value, str):
        return value
    name = _SEPARATORS.sub("", value.lower())
    return "fsdp" if name == "fsdp2" else name


def _mode(value: object) -> object:
    name = value.strip().lower() if isinstance(value, str) else value
    if name in ("full", "full_finetune", "full-finetune", "all"):
        raise PydanticCustomError(
            "mode_says_little",
            "{given} does not say where the weights come from",
            {
                "given": repr(value),
                "hint": "pretrain (from scratch) or finetune (from a checkpoint): both train all weights",
            },
        )
    return name


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _no_nul(value: str) -> str:
    """PostgreSQL stores no NUL characters; refused everywhere, so that no answer depends on the database."""
    if "\0" in value:
        raise ValueError("contains a NUL character")
    return value


def _plain_json(config: dict[str, Any]) -> dict[str, Any]:
    if not _is_plain_json(config):
        raise PydanticCustomError(
            "no_plain_json",
            "holds what JSON does not (NaN, infinity, NUL characters, half a character) or is nested too deeply",
            {"hint": "paste the config.json as published"},
        )
    return config


def _is_plain_json(value: object, depth: int = 0) -> bool:
    """Whether any database and any reader of JSON takes it (RFC 7493, sections 2.1 and 2.2; PostgreSQL's `jsonb`)."""
    if depth > DEEPEST_CONFIG:
        return False
    if isinstance(value, dict):
        return all(_is_plain_json(part, depth + 1) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return all(_is_plain_json(part, depth + 1) for part in value)
    if isinstance(value, str):
        return "\0" not in value and (value.isascii() or _HALF_CHARACTER.search(value) is None)
    return not isinstance(value, float) or math.isfinite(value)


LOWERED = BeforeValidator(_lowered)
AS_PRECISION = BeforeValidator(_precision)
"""`bfloat16`, `torch.float16` and the like are the precisions that they name."""
AS_MODE = BeforeValidator(_mode)
AS_SHARDING = BeforeValidator(_sharding)
"""`ZeRO-3` is `zero3`, and FSDP2 shards as FSDP does."""
PLAIN_JSON = AfterValidator(_plain_json)
WHOLE = BeforeValidator(_whole)
"""After the bounds of a strict `int`: 5.0 is a whole number too, while `true` and `"5"` are none."""
NO_NUL = AfterValidator(_no_nul)
Plain = Annotated[str, NO_NUL]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300), NO_NUL]
Word = Annotated[str, LOWERED, StringConstraints(min_length=1, max_length=100), NO_NUL]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000), NO_NUL]
