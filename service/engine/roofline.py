"""The fastest that a run can be: its counted FLOPs at the chips' peak (roofline, Williams et al. 2009)."""

from __future__ import annotations

import numpy as np

from service.engine.observed import model_flops_per_sample
from service.engine.operations import TRANSFORMER_FAMILIES
from service.engine.step_inputs import Inputs
from service.engine.table import FloatArray, Table, filled

# Winograd and FFT convolutions do fewer multiplications than are counted; packed samples hold fewer real tokens.
FASTER_THAN_COUNTED = {"cnn": 2.5, "detection": 2.5, "segmentation": 2.5}
FASTER_WHEN_PACKED = 2.0
# Best matrix products measured anew with other software differ by up to 1.17 on one chip (achievable_matmul.csv: MI300X
# 668 and 782 TFLOP/s), so that a run's interval may reach beyond the best one known, but not its median.
BEYOND_BEST_MATMUL = 1.2


def fastest_seconds_per_sample(inputs: Inputs) -> FloatArray:
    """No run is faster than its counted FLOPs at the chips' peak (roofline), shape (n,)."""
    table, columns = inputs.table, inputs.columns
    # A causal mask spares half of the attention that is counted.
    language = table.among("family", TRANSFORMER_FAMILIES)
    done = np.where(
        language,
        3.0 * (inputs.work.gemm_flops + 0.5 * inputs.work.attention_flops),
        model_flops_per_sample(table),
    )
    flops = done * columns["trained_flops_share"]
    bound = flops / (allowance(table) * table["peak_tflops"] * 1e12 * np.maximum(table["count"], 1e-9))
    return np.where(inputs.work.known, np.maximum(bound, 1e-300), 1e-300)


def usually_fastest_seconds_per_sample(inputs: Inputs) -> tuple[FloatArray, FloatArray]:
    """What no median and no interval of a run at an unknown site goes below, shape (n,) each.

    What is made of matrix products runs at most as fast as the best one known on its chip, where one is.
    """
    table, fastest = inputs.table, fastest_seconds_per_sample(inputs)
    convolutions = table.among("family", FASTER_THAN_COUNTED)
    share = np.where(convolutions, 1.0, filled(table["matmul_share"], 1.0))
    return fastest / share, fastest / np.minimum(BEYOND_BEST_MATMUL * share, 1.0)


def allowance(table: Table) -> FloatArray:
    """How many times the peak counted FLOPs may come to, shape (n,)."""
    usual = table.mapped("family", FASTER_THAN_COUNTED, 1.0)
    packed = table.among("packing", ("packed", "unpadded"))
    return np.asarray(usual * np.where(packed, FASTER_WHEN_PACKED, 1.0))
