"""Seconds of one training step, part by part, from a table of configurations and a row of coefficients each.

Every part is a named physical cost: matrix products slowed by small shapes (roofline, Williams et al. 2009), memory
traffic, kernel launches, collectives (alpha-beta model of Hockney 1994; volumes of ring algorithms, Thakur et al. 2005;
tensor parallel as in Narayanan et al. 2021, arXiv 2104.04473, section 3.2; ZeRO and FSDP as in Rajbhandari et al. 2020,
arXiv 1910.02054, section 7), the pipeline bubble (Narayanan et al. 2021, section 2.2), optimizer, input pipeline, host.

`step_inputs.py` counts what a step must do, `coefficients.py` says what is learned and `calibration.py` learns it; this
module only turns the two into seconds, and `step_gradient.py` says how those depend on what is learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.engine.coefficients import HIGH, INDEX, LOW
from service.engine.step_inputs import Inputs
from service.engine.table import BoolArray, FloatArray, clipped

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


@dataclass(frozen=True, eq=False)
class Step:
    """One optimizer step of n configurations, taken apart; seconds, shape (n,), unless said otherwise.

    Of what runs anew for every micro-batch it tells one micro-batch.
    """

    columns: Mapping[str, FloatArray]  # `step_inputs.Inputs.columns`
    physical: FloatArray  # (k, n), the quantities that `COEFFICIENTS` are learned of
    dense: FloatArray  # matrix products, those of routed experts aside, at full speed
    dense_slowed: FloatArray  # and as slow as their shapes make them
    expert: FloatArray  # those of routed experts
    expert_slowed: FloatArray
    attention: FloatArray
    memory: FloatArray
    launch: FloatArray  # the host's, whether or not the device waits for it
    sent: FloatArray  # (len(LINKS), n), between ranks of one copy of the model
    within: BoolArray  # (len(LINKS), n), whether the link within the node sets the pace
    waited: FloatArray  # (len(LINKS), n), latencies
    device: FloatArray  # kernels and collectives
    micro: FloatArray  # the device, and what it waits for the host
    bubble: FloatArray
    reduction: FloatArray  # of gradients, and gathering of weights, whether or not the backward pass hides it
    reduced_within: BoolArray  # (n,), whether the link within the node sets its pace
    window: FloatArray  # that it may hide in
    hidden: FloatArray  # what of it would be, were all of it overlapped
    optimizer: FloatArray
    offload: FloatArray
    host: FloatArray
    step: FloatArray  # all of these
    feed: FloatArray  # the input pipeline's, most of which runs meanwhile
    fed: FloatArray  # the step, and what it waits for input
    straggling: FloatArray  # share of that by which stragglers make it longer, no seconds

    def of(self, coefficient: str) -> FloatArray:
        """The physical quantity of a coefficient, shape (n,)."""
        return np.asarray(self.physical[INDEX[coefficient]])

    def log_seconds_per_sample(self) -> FloatArray:
        """Natural log of seconds per sample of the whole job, shape (n,)."""
        return np.log(self.fed * (1.0 + self.straggling) / self.columns["global_batch"])

    def parts(self) -> dict[str, FloatArray]:
        """`{part: seconds}` for each of `PARTS`, shape (n,) each, non-negative; their sum is the step."""
        m = self.columns["micro_batches"]
        tensor, expert, context, pipeline = m * (self.sent + self.waited)
        return {
            "compute": m * (self.dense_slowed + self.expert_slowed),
            "attention": m * self.attention,
            "memory": m * self.memory,
            "launch": m * (self.micro - self.device),
            "tensor_communication": tensor,
            "expert_communication": expert,
            "context_communication": context,
            "pipeline_communication": pipeline,
            "bubble": self.bubble,
            "data_communication": self.reduction - (1.0 - self.of("gradient_exposed")) * self.hidden,
            "optimizer": self.optimizer,
            "offload": self.offload,
            "input": self.fed - self.step,
            "host": self.host,
            "stragglers": self.straggling * self.fed,
        }


def timed(inputs: Inputs, coefficients: FloatArray) -> Step:
    """One optimizer step of every configuration.

    Args:
        inputs: `step_inputs.prepare(table)` of n configurations.
        coefficients: shape (n, len(COEFFICIENTS)), on the scale of `COEFFICIENTS`.
    """
    c, physical = inputs.columns, _physical(coefficients)
    p = {name: physical[position] for name, position in INDEX.items()}
    exposed, work, latency = p["gradient_exposed"], p["work"], p["collective_latency_seconds"]
    m = c["micro_batches"]
    speed = c["peak"] * p["compute_efficiency"] / work
    rows_half, width_half = p["gemm_rows_half"] * c["ridge"], p["gemm_width_half"] * c["ridge"]
    dense, expert = c["gemm"] / speed, c["expert_flops"] / speed
    dense_slowed = dense * (1.0 + rows_half / c["tokens"] + width_half / c["width"])
    expert_slowed = expert * (1.0 + rows_half / c["expert_rows"] + width_half / c["expert_width"])
    attention = c["attention"] / speed * p["attention_slowdown"]
    memory = work * (p["memory_traffic"] * c["traffic"] + c["weight_traffic"]) / c["bandwidth"]
    busy = dense_slowed + expert_slowed + attention + memory
    launch = c["launches"] * p["launch_seconds"]

    intra, across = c["intra"] / p["intra_node_slowdown"], p["inter_node_slowdown"]
    beyond = c["link_inter"] / across
    sent = c["link_bytes"] / np.minimum(intra, beyond)
    sent[1:] *= exposed  # a layer waits for all of its tensor-parallel reductions
    waited = c["link_messages"] * latency
    # The host runs ahead of the device, kernels and collectives alike, unless it is the slower of the two: some layers
    # wait for the host, others for the device.
    device = busy + (sent + waited).sum(axis=0)
    micro = np.hypot(device, launch)
    # One-forward-one-backward: the slowest stage does all micro-batches, the others fill and drain the pipe once.
    bubble = c["stages_waiting"] * np.maximum(micro - dense_slowed * c["head_share"], 0.0)

    apart = c["data_inter"] / across
    reduction = (
        c["gradient_bytes"] / np.minimum(intra, apart) + c["node_bytes"] / intra + c["gradient_messages"] * latency
    )
    window = c["overlappable"] * (busy + micro - device)
    hidden = _faster(reduction, window)
    optimizer = p["optimizer_traffic"] * c["optimizer_bytes"] / c["bandwidth"]
    offload = c["offload_bytes"] / OFFLOAD_BYTES_PER_SECOND
    host = p["step_overhead_seconds"] * c["host_units"]
    step = m * micro + bubble + reduction - (1.0 - exposed) * hidden + optimizer + offload + host
    feed = c["input_units"] * p["input_seconds"]
    return Step(
        columns=c,
        physical=physical,
        dense=dense,
        dense_slowed=dense_slowed,
        expert=expert,
        expert_slowed=expert_slowed,
        attention=attention,
        memory=memory,
        launch=launch,
        sent=sent,
        within=intra <= beyond,
        waited=waited,
        device=device,
        micro=micro,
        bubble=bubble,
        reduction=reduction,
        reduced_within=intra <= apart,
        window=window,
        hidden=hidden,
        optimizer=optimizer,
        offload=offload,
        host=host,
        step=step,
        feed=feed,
        fed=_slower(step, feed),
        straggling=p["scale_loss"] * c["log_nodes"],
    )


def _physical(coefficients: FloatArray) -> FloatArray:
    """The quantities themselves of n rows, shape (k, n), from the scale that they are learned on, shape (n, k)."""
    value = clipped(coefficients.T, LOW[:, None], HIGH[:, None])
    result: FloatArray = np.exp(value)
    exposed = INDEX["gradient_exposed"]
    result[exposed] /= 1.0 + result[exposed]
    return result


def log_seconds_per_sample(inputs: Inputs, coefficients: FloatArray) -> FloatArray:
    """Natural log of seconds per sample of the whole job, shape (n,)."""
    return timed(inputs, coefficients).log_seconds_per_sample()


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
