"""What a source published, in any of its units, as seconds per sample: the one place where that happens.

Conventions of `service/data/README.md`: model TFLOP/s count 6 N per token plus 12 L h s for attention, forward and
backward, not halved for causality; hardware TFLOP/s count 8 N and 16 L h s under full recomputation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from service.engine import operations
from service.engine.step_inputs import recomputed_share
from service.engine.table import FloatArray, Table, TextArray, filled, once_a_table

WHOLE_RUN_UNITS = {"hours": 3600.0, "minutes": 60.0, "accelerator_hours": 3600.0}
UNITS = (
    "tokens_per_second",
    "samples_per_second",
    "tokens_per_second_per_accelerator",
    "samples_per_second_per_accelerator",
    "seconds_per_step",
    "milliseconds_per_step",
    "model_tflops_per_accelerator",
    "hardware_tflops_per_accelerator",
    "mfu",
    "accelerator_hours",
    "hours",
    "minutes",
)


@once_a_table
def model_flops_per_sample(table: Table) -> FloatArray:
    """Training FLOPs of one sample by the field's convention, shape (n,): (6 N + 12 L h s) per token, or 6 x MACs.

    The two halves of an encoder-decoder see different tokens: of those what is computed is counted.
    """
    work = operations.work(table)
    tokens = table["sequence_length"]
    language = table.among("family", operations.TRANSFORMER_FAMILIES)
    active = np.where(table["active_parameters"] > 0, table["active_parameters"], work.parameters)
    dense_moe = (filled(table["experts"], 0.0) > 1) & ~(table["active_parameters"] > 0)
    active = np.where(dense_moe, (work.gemm_flops / 2.0) / np.maximum(tokens, 1.0), active)
    albert = operations.is_albert(table)
    active = np.where(albert, work.gemm_flops / 2.0 / np.maximum(tokens, 1.0), active)
    by_rule = tokens * (6.0 * active + 12.0 * filled(table["layers"] * table["hidden_size"], 0.0) * tokens)
    one_stack = language & ~table.among("family", ("encoder_decoder",))
    return np.where(one_stack & (tokens > 0), by_rule, 3.0 * (work.gemm_flops + work.attention_flops))


def seconds_per_sample(table: Table, value: FloatArray, unit: TextArray, samples: FloatArray) -> FloatArray:
    """Measured seconds of the whole job per sample, shape (n,); NaN where the unit can't be converted.

    Args:
        table: the measured configurations.
        value, unit: as published (`UNITS`).
        samples: samples trained on in all epochs, for whole-run units.
    """
    return _convert(table, value, unit, samples, np.divide)


def in_unit(table: Table, seconds: FloatArray, unit: TextArray, samples: FloatArray) -> FloatArray:
    """The inverse: seconds per sample, expressed in the unit a row was published in."""
    one = np.ones(len(table))
    per_one = seconds_per_sample(table, one, unit, samples)
    rate = np.isin(unit.astype(str), _RATES)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(rate, per_one / seconds, seconds / per_one)


_RATES = (
    "tokens_per_second",
    "samples_per_second",
    "tokens_per_second_per_accelerator",
    "samples_per_second_per_accelerator",
    "model_tflops_per_accelerator",
    "hardware_tflops_per_accelerator",
    "mfu",
)


def _convert(
    table: Table, value: FloatArray, unit: TextArray, samples: FloatArray, divide: Callable[..., FloatArray]
) -> FloatArray:
    names = unit.astype(str)
    count = table["count"]
    tokens = np.where(table["sequence_length"] > 0, table["sequence_length"], 1.0)
    batch = table["global_batch"]
    flops = model_flops_per_sample(table)
    recomputed = 1.0 + recomputed_share(table) / 3.0
    with np.errstate(divide="ignore", invalid="ignore"):
        by_unit: dict[str, FloatArray] = {
            "samples_per_second": divide(1.0, value),
            "samples_per_second_per_accelerator": divide(1.0, value * count),
            "tokens_per_second": divide(tokens, value),
            "tokens_per_second_per_accelerator": divide(tokens, value * count),
            "seconds_per_step": value / batch,
            "milliseconds_per_step": value / 1e3 / batch,
            "model_tflops_per_accelerator": divide(flops, value * 1e12 * count),
            "hardware_tflops_per_accelerator": divide(flops * recomputed, value * 1e12 * count),
            "mfu": divide(flops, value * table["peak_tflops"] * 1e12 * count),
            "hours": value * 3600.0 / samples,
            "minutes": value * 60.0 / samples,
            "accelerator_hours": value * 3600.0 / np.maximum(count, 1e-9) / samples,
        }
    result = np.full(len(table), np.nan)
    for name, seconds in by_unit.items():
        mask = names == name
        result[mask] = seconds[mask]
    return np.where(result > 0, result, np.nan)
