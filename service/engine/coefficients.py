"""The physical quantities that the calibration learns: name, unit, prior and its source, plausible range.

Each is learned as a natural logarithm (one as a logit), so that it stays positive and its effects multiply.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Coefficient:
    """One physical quantity that the calibration learns, on the scale it is learned (natural log or logit)."""

    name: str
    unit: str
    prior_mean: float
    prior_sd: float
    low: float
    high: float
    source: str


COEFFICIENTS: tuple[Coefficient, ...] = (
    Coefficient(
        "compute_efficiency",
        "log fraction of peak, large GEMM",
        np.log(0.6),
        0.3,
        np.log(0.01),
        np.log(1.3),
        "achievable_matmul.csv: best matmul reaches 0.5 to 0.9 of the data sheet",
    ),
    Coefficient(
        "gemm_rows_half",
        "log rows (tokens) at which a GEMM reaches half its speed",
        np.log(60.0),
        0.4,
        np.log(1.0),
        np.log(5000.0),
        "roofline: rows needed to reach the ridge point, 70 to 300 FLOP/byte",
    ),
    Coefficient(
        "gemm_width_half",
        "log columns at which a GEMM reaches half its speed",
        np.log(100.0),
        0.4,
        np.log(4.0),
        np.log(5000.0),
        "roofline: as rows; tiles of 128 x 256 and wave quantisation",
    ),
    Coefficient(
        "attention_slowdown",
        "log ratio of attention time to GEMM time at equal FLOPs",
        np.log(1.0),
        0.5,
        np.log(0.2),
        np.log(20.0),
        "FlashAttention (arXiv 2205.14135): causal halves FLOPs, at about half the speed",
    ),
    Coefficient(
        "memory_traffic",
        "log bytes moved per byte of activation written, over achieved bandwidth share",
        np.log(2.5),
        0.5,
        np.log(0.2),
        np.log(60.0),
        "each activation is written and read about twice forward, twice back",
    ),
    Coefficient(
        "launch_seconds",
        "log seconds per kernel launch",
        np.log(1.2e-5),
        0.3,
        np.log(2e-7),
        np.log(2e-4),
        "CUDA launch 3 to 10 microseconds plus as much and more of framework dispatch and automatic differentiation",
    ),
    Coefficient(
        "step_overhead_seconds",
        "log seconds per optimizer step on the host, for a model of 150 forward kernels",
        np.log(2e-3),
        0.6,
        np.log(1e-6),
        np.log(0.3),
        "Python loop and optimizer dispatch, layer by layer: milliseconds",
    ),
    Coefficient(
        "intra_node_slowdown",
        "log data-sheet over achieved bandwidth within a node",
        np.log(1.3),
        0.15,
        np.log(0.6),
        np.log(20.0),
        "facts.csv: large all-reduces reach 0.78 (A100) to 1.07 (H200, reduction in the switch) of the data sheet",
    ),
    Coefficient(
        "inter_node_slowdown",
        "log nominal over achieved bandwidth between nodes",
        np.log(1.5),
        0.5,
        np.log(0.6),
        np.log(30.0),
        "facts.csv: measured bus bandwidth of collectives over the nominal link",
    ),
    Coefficient(
        "gradient_exposed",
        "logit of the share of overlappable gradient traffic that is not hidden",
        -0.5,
        0.8,
        -6.0,
        6.0,
        "frameworks overlap the reduction with the backward pass, but not perfectly",
    ),
    Coefficient(
        "scale_loss",
        "log relative slowdown per doubling of nodes",
        np.log(0.012),
        0.5,
        np.log(1e-4),
        np.log(0.03),
        "stragglers and jitter: a few percent per doubling",
    ),
    Coefficient(
        "input_seconds",
        "log seconds of input pipeline per sample and accelerator, per unit of sample size",
        np.log(5e-5),
        0.8,
        np.log(1e-8),
        np.log(0.02),
        "facts.csv: data loaders deliver 500 to 10,000 images per second, tuned ones more",
    ),
    Coefficient(
        "collective_latency_seconds",
        "log seconds per hop of a collective",
        np.log(1.5e-5),
        0.4,
        np.log(1e-6),
        np.log(2e-4),
        "NCCL small-message latency, 10 to 30 microseconds",
    ),
    Coefficient(
        "optimizer_traffic",
        "log bytes moved by the optimizer over its ideal, and its achieved bandwidth share",
        np.log(1.5),
        0.4,
        np.log(0.3),
        np.log(30.0),
        "fused Adam reads and writes each state once",
    ),
    Coefficient(
        "work",
        "log ratio of true to counted work of the model",
        0.0,
        0.001,
        -8.0,
        8.0,
        "1 where shapes are known; free where only the model's name is",
    ),
)
INDEX = {coefficient.name: position for position, coefficient in enumerate(COEFFICIENTS)}
LOW = np.array([coefficient.low for coefficient in COEFFICIENTS])
HIGH = np.array([coefficient.high for coefficient in COEFFICIENTS])
