"""Seconds of one training step, part by part, from a table of configurations and a row of coefficients each.

Every part is a named physical cost: matrix products slowed by small shapes (roofline, Williams et al. 2009), memory
traffic, kernel launches, collectives (alpha-beta model of Hockney 1994; volumes of ring algorithms, Thakur et al. 2005;
tensor parallel as in Narayanan et al. 2021, arXiv 2104.04473, section 3.2; ZeRO and FSDP as in Rajbhandari et al. 2020,
arXiv 1910.02054, section 7), the pipeline bubble (Narayanan et al. 2021, section 2.2), optimizer, input pipeline, host.

`step_inputs.py` counts what a step must do, `coefficients.py` says what is learned and `calibration.py` learns it; this
module only turns the two into seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from service.engine.coefficients import HIGH, INDEX, LOW
from service.engine.step_inputs import Inputs
from service.engine.table import FloatArray

PARTS: tuple[str, ...] = (
    "compute",
    "attention",
    "memory",
    "launch",
    "tensor_communication",
    "expert_communication",
    "context_communication",
    "pipeline_communication",
    "bubble",
    "data_communication",
    "optimizer",
    "offload",
    "input",
    "host",
    "stragglers",
)

# Host memory traffic of ZeRO-Offload's CPU optimizer and its transfers, about 10 GB/s per accelerator
# (Ren et al. 2021, arXiv 2101.06840, section 6: a PCIe 3.0 x16 link).
OFFLOAD_BYTES_PER_SECOND = 1.0e10
# Power mean of exponent 4 that stands for "the slower of two concurrent activities". Launches take the square: the sum
# over layers of the slower is more than the slower of the sums, as early layers are busy where late ones wait.


def step_parts(inputs: Inputs, coefficients: FloatArray) -> dict[str, FloatArray]:
    """Seconds of one optimizer step by part.

    Args:
        inputs: `step_inputs.prepare(table)` of n configurations.
        coefficients: shape (n, len(COEFFICIENTS)), on the scale of `COEFFICIENTS`.

    Returns: `{part: seconds}` for each of `PARTS`, shape (n,) each, non-negative; their sum is the step.
    """
    return _parts(inputs.columns, _physical(coefficients))


def shifted_parts(inputs: Inputs, coefficients: FloatArray, shift: float, rows: slice) -> dict[str, FloatArray]:
    """`step_parts` of m rows as it is, then with each coefficient in turn greater by `shift`: shape (1 + k, m) each."""
    here, there = _physical(coefficients[rows]), _physical(coefficients[rows] + shift)
    width, count = here.shape
    values = np.empty((width, 1 + width, count))
    values[:] = here[:, None, :]
    each = np.arange(width)
    values[each, 1 + each] = there
    parts = _parts({name: column[rows] for name, column in inputs.columns.items()}, values)
    # No coefficient is in some parts.
    return {
        name: seconds if seconds.ndim == 2 else np.broadcast_to(seconds, (1 + width, count))
        for name, seconds in parts.items()
    }


def _physical(coefficients: FloatArray) -> FloatArray:
    """The quantities themselves of n rows, shape (k, n), from the scale that they are learned on, shape (n, k)."""
    value = np.clip(np.ascontiguousarray(coefficients.T), LOW[:, None], HIGH[:, None])
    result: FloatArray = np.exp(value)
    exposed = INDEX["gradient_exposed"]
    result[exposed] = 1.0 / (1.0 + np.exp(-value[exposed]))
    return result


def _parts(columns: Mapping[str, FloatArray], values: FloatArray) -> dict[str, FloatArray]:
    """`step_parts` of quantities in the order of `COEFFICIENTS`, shape (k, ..., n)."""
    c = columns
    physical = {name: values[position] for name, position in INDEX.items()}
    exposed = physical["gradient_exposed"]
    m = c["micro_batches"]
    speed = c["peak"] * physical["compute_efficiency"]
    rows_half, width_half = physical["gemm_rows_half"] * c["ridge"], physical["gemm_width_half"] * c["ridge"]
    work = physical["work"]

    gemm = c["gemm"] / speed * (1.0 + rows_half / c["tokens"] + width_half / c["width"])
    expert = c["expert_flops"] / speed * (1.0 + rows_half / c["expert_rows"] + width_half / c["expert_width"])
    compute = work * (gemm + expert)
    attention = work * c["attention"] / speed * physical["attention_slowdown"]
    memory = work * (physical["memory_traffic"] * c["traffic"] + c["weight_traffic"]) / c["bandwidth"]
    busy = compute + attention + memory
    launch = c["launches"] * physical["launch_seconds"]
    intra = c["intra"] / physical["intra_node_slowdown"]
    across = physical["inter_node_slowdown"]
    latency = physical["collective_latency_seconds"]
    tensor = c["tensor_bytes"] / np.minimum(intra, c["tensor_inter"] / across) + c["tensor_messages"] * latency
    experts = (
        exposed * c["expert_bytes"] / np.minimum(intra, c["expert_inter"] / across) + c["expert_messages"] * latency
    )
    context = exposed * c["context_bytes"] / np.minimum(intra, c["context_inter"] / across)
    pipe = exposed * c["pipeline_bytes"] / np.minimum(intra, c["pipeline_inter"] / across)

    # The host runs ahead of the device, kernels and collectives alike, unless it is the slower of the two.
    device = busy + tensor + experts + context + pipe
    launch_exposed = np.hypot(device, launch) - device  # some layers wait for the host, others for the device
    micro = device + launch_exposed
    # One-forward-one-backward: the slowest stage does all micro-batches, the others fill and drain the pipe once.
    bubble = (c["pipeline"] - 1.0) / c["virtual"] * np.maximum(micro - work * gemm * c["head_share"], 0.0)

    between = np.minimum(intra, c["data_inter"] / across)
    reduction = c["gradient_bytes"] / between + c["node_bytes"] / intra + c["gradient_messages"] * latency
    window = (
        np.where(c["data_is_sharded"] > 0, m, 1.0)
        * (busy + launch_exposed)
        * np.where(c["data_is_sharded"] > 0, 1.0, c["backward_share"])
    )
    data = reduction - (1.0 - exposed) * _faster(reduction, window)
    optimizer = physical["optimizer_traffic"] * c["optimizer_bytes"] / c["bandwidth"]
    offload = c["offload_bytes"] / OFFLOAD_BYTES_PER_SECOND
    host = physical["step_overhead_seconds"] * c["host_units"]
    step = m * micro + bubble + data + optimizer + offload + host
    feed = c["input_units"] * physical["input_seconds"]
    input_exposed = _slower(step, feed) - step
    stragglers = physical["scale_loss"] * c["log_nodes"] * (step + input_exposed)
    return {
        "compute": m * compute,
        "attention": m * attention,
        "memory": m * memory,
        "launch": m * launch_exposed,
        "tensor_communication": m * tensor,
        "expert_communication": m * experts,
        "context_communication": m * context,
        "pipeline_communication": m * pipe,
        "bubble": bubble,
        "data_communication": data,
        "optimizer": optimizer,
        "offload": offload,
        "input": input_exposed,
        "host": host,
        "stragglers": stragglers,
    }


def log_seconds_per_sample(inputs: Inputs, coefficients: FloatArray) -> FloatArray:
    """Natural log of seconds per sample of the whole job, shape (n,)."""
    step = sum(step_parts(inputs, coefficients).values())
    result: FloatArray = np.log(step / inputs.columns["global_batch"])
    return result


def _slower(a: FloatArray, b: FloatArray) -> FloatArray:
    """Smooth maximum of two concurrent durations; at least the larger, at most 2^(1/4) of it."""
    large, small = np.maximum(a, b), np.minimum(a, b)
    return np.asarray(large * _overlap(small, large))


def _faster(a: FloatArray, b: FloatArray) -> FloatArray:
    """Smooth minimum of two durations; at most the smaller."""
    large, small = np.maximum(a, b), np.minimum(a, b)
    return np.asarray(small / _overlap(small, large))


def _overlap(small: FloatArray, large: FloatArray) -> FloatArray:
    """(1 + (small / large)^4)^(1/4); squares and roots are several times quicker than powers."""
    ratio = small / np.maximum(large, 1e-300)
    return np.asarray(np.sqrt(np.sqrt(1.0 + np.square(np.square(ratio)))))
