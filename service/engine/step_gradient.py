"""How seconds of a step depend on each coefficient: the derivatives of `step_time.timed`, worked backwards.

What a second more of a part adds to the log of the whole step is worked out from the whole to the parts (reverse mode,
Griewank and Walther 2008, chapter 3); what a coefficient adds to the parts is then a sum of a few parts, for
coefficients are logarithms. One pass tells all, where finite differences would time a step for every coefficient.
"""

from __future__ import annotations

import numpy as np

from service.engine.coefficients import HIGH, INDEX, LOW
from service.engine.step_time import Step
from service.engine.table import FloatArray

TINY = 1e-300


def log_gradient(step: Step, coefficients: FloatArray) -> FloatArray:
    """Derivative of the log of a step's seconds to each coefficient, shape (n, len(COEFFICIENTS)).

    It is zero where a coefficient lies outside of its range. `step`: `timed` of the `coefficients`.
    """
    c = step.columns
    exposed, latency = step.of("gradient_exposed"), step.of("collective_latency_seconds")
    # What a second more adds: of the step's own parts,
    of_step = _fourth(step.step / step.fed) / step.step
    of_hidden = -(1.0 - exposed)
    of_reduction = 1.0 + of_hidden * _fifth(step.hidden / np.maximum(step.reduction, TINY))
    # of the work that the reduction hides behind, and of a micro-batch, which fills and drains the pipeline besides,
    of_overlapped = of_hidden * _fifth(step.hidden / np.maximum(step.window, TINY)) * c["overlappable"]
    filling = np.where(step.bubble > 0.0, c["stages_waiting"], 0.0)
    of_micro = (c["micro_batches"] + filling + of_overlapped) / np.maximum(step.micro, TINY)
    # and of what a micro-batch is made of. Collectives are nothing to hide behind.
    of_busy, of_launch = of_micro * step.device, of_micro * step.launch
    of_link = of_busy - of_overlapped
    of_dense = of_busy - filling * c["head_share"]

    sent = of_link * step.sent
    reduced = of_reduction * (step.reduction - c["gradient_messages"] * latency)
    within_node = of_reduction * c["node_bytes"] / c["intra"] * step.of("intra_node_slowdown")
    dense, expert, attention = of_dense * step.dense, of_busy * step.expert, of_busy * step.attention
    products = of_dense * step.dense_slowed + of_busy * step.expert_slowed
    activations = step.of("work") * step.of("memory_traffic") * c["traffic"] / c["bandwidth"]
    within = np.where(step.within, sent, 0.0).sum(axis=0) + np.where(step.reduced_within, reduced, within_node)
    waited = of_link * step.waited.sum(axis=0) + of_reduction * c["gradient_messages"] * latency
    rows_half = step.of("gemm_rows_half") * c["ridge"]
    width_half = step.of("gemm_width_half") * c["ridge"]
    seconds = {
        "compute_efficiency": -products - attention,
        "gemm_rows_half": rows_half * (dense / c["tokens"] + expert / c["expert_rows"]),
        "gemm_width_half": width_half * (dense / c["width"] + expert / c["expert_width"]),
        "attention_slowdown": attention,
        "memory_traffic": of_busy * activations,
        "launch_seconds": of_launch * step.launch,
        "step_overhead_seconds": step.host,
        "intra_node_slowdown": within,
        "inter_node_slowdown": sent.sum(axis=0) + reduced - within,
        "gradient_exposed": (1.0 - exposed) * (sent[1:].sum(axis=0) + exposed * step.hidden),
        "collective_latency_seconds": waited,
        "optimizer_traffic": step.optimizer,
        "work": products + attention + of_busy * step.memory,
    }
    result = np.zeros((len(INDEX), len(coefficients)))
    for name, added in seconds.items():
        result[INDEX[name]] = of_step * added
    result[INDEX["input_seconds"]] = _fourth(step.feed / step.fed)
    result[INDEX["scale_loss"]] = step.straggling / (1.0 + step.straggling)
    gradient = result.T
    gradient[(coefficients < LOW) | (coefficients > HIGH)] = 0.0
    return gradient


def _fourth(ratio: FloatArray) -> FloatArray:
    """Its fourth power; multiplying is several times quicker than raising to a power."""
    return np.square(np.square(ratio))


def _fifth(ratio: FloatArray) -> FloatArray:
    return _fourth(ratio) * ratio
