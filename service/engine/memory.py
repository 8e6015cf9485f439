"""Peak memory of one accelerator, part by part.

States (weights, gradients, optimizer) as in Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054, section 3); activations of
a Transformer layer as in Korthikanti et al. 2022 (arXiv 2205.05198, section 4, eq. 1 to 4 and table 2), with
tensor-parallel ranks sharing what sequence parallelism shares; convolutional nets keep what they write. Framework
overhead and fragmentation are learned from measured peaks.
"""

from __future__ import annotations

import numpy as np

from service.engine import operations
from service.engine.coefficients import Coefficient
from service.engine.step_inputs import (
    ADAPTER_MODES,
    FUSED_ATTENTION,
    SHARDS_GRADIENTS,
    SHARDS_OPTIMIZER,
    SHARDS_WEIGHTS,
    Inputs,
    among,
    prepare,
)
from service.engine.table import BoolArray, FloatArray, Table

MEMORY_COEFFICIENTS: tuple[Coefficient, ...] = (
    Coefficient(
        "activation_scale",
        "log ratio of kept to counted activation bytes",
        np.log(1.0),
        0.3,
        np.log(0.1),
        np.log(6.0),
        "Korthikanti et al. 2022 count what a fused implementation keeps",
    ),
    Coefficient(
        "state_scale",
        "log ratio of allocated to counted states",
        np.log(1.05),
        0.1,
        np.log(0.5),
        np.log(2.5),
        "allocator fragmentation and buckets",
    ),
    Coefficient(
        "overhead_gb",
        "log GB of context, workspace and buffers",
        np.log(1.5),
        0.5,
        np.log(0.05),
        np.log(20.0),
        "CUDA context and NCCL buffers, 0.5 to 3 GB",
    ),
)
MEMORY_LOW = np.array([coefficient.low for coefficient in MEMORY_COEFFICIENTS])
MEMORY_HIGH = np.array([coefficient.high for coefficient in MEMORY_COEFFICIENTS])
MEMORY_PARTS: tuple[str, ...] = ("weights", "gradients", "optimizer", "activations", "logits", "overhead")

# Bytes of optimizer state per trained parameter under mixed precision, the fp32 master copy included.
STATE_BYTES = {
    "sgd": 8.0,
    "adamw": 12.0,
    "adam": 12.0,
    "lamb": 12.0,
    "lars": 8.0,
    "adafactor": 4.5,
    "lion": 8.0,
    "muon": 8.0,
    "adam8bit": 6.0,
    "adamw8bit": 6.0,
}
# Memory that a job may fill; the rest is the driver's and lost to fragmentation.
USABLE_SHARE = 0.96
# Logits in half precision, in fp32, and their gradient: what an unfused cross-entropy keeps per token and word.
LOGIT_BYTES = 12.0
FUSED_LOGIT_BYTES = 6.0  # pre-training frameworks: half precision, and fp32 whose buffer the gradient takes over
# Convolution inputs are kept, in-place activations and fused norms are not.
KEPT_PER_WRITTEN = 1.25
# The peak of unpacked fine-tuning is set by the longest samples, not by the mean. Judgement.
LONGEST_OVER_MEAN = 2.5
FROZEN_KEPT = 0.1  # of the activations, where only what feeds the trained head is kept; judgement, nothing measures it
QUANTISED_WEIGHT_BYTES = 0.55  # 4-bit weights with their scales (Dettmers et al. 2023, arXiv 2305.14314, section 3)


def memory_parts(inputs: Inputs, coefficients: FloatArray) -> dict[str, FloatArray]:
    """GB (10^9 bytes) per accelerator by part.

    Args:
        inputs: `step_inputs.prepare(table)` of n configurations.
        coefficients: shape (n, len(MEMORY_COEFFICIENTS)).

    Returns: `{part: GB}` for each of `MEMORY_PARTS`, shape (n,), of the fullest accelerator.
    """
    table, work = inputs.table, inputs.work
    value = np.clip(coefficients, MEMORY_LOW, MEMORY_HIGH)
    activation_scale, state_scale, overhead = (np.exp(value[:, position]) for position in range(3))

    layout = inputs.layout
    tensor, pipeline = layout.tensor, layout.pipeline
    replicas = np.maximum(layout.data, 1.0) * layout.context
    mode, sharding = table.text("mode"), table.text("sharding")
    half = among(table.text("precision"), ("fp16", "bf16", "fp8", "fp4"))
    language = among(table.text("family"), operations.TRANSFORMER_FAMILIES)
    local = inputs.local_parameters
    # The first stage holds the embedding and the last the head: with pipelining the fullest has one of them on top.
    vocabulary = np.nan_to_num(table["vocab_size"]) * np.nan_to_num(table["hidden_size"])
    local = local + np.where(
        pipeline > 1, np.minimum(vocabulary / tensor * (1.0 - 1.0 / pipeline), 0.5 * work.parameters), 0.0
    )
    trained = inputs.trained_share * local
    # Mixed precision outside language models usually keeps fp32 weights and casts on the fly.
    weight_bytes = np.where(mode == "qlora", QUANTISED_WEIGHT_BYTES, np.where(half & language, 2.0, 4.0))
    # Pre-training frameworks accumulate gradients in fp32; fine-tuning scripts keep them as the weights are.
    gradient_bytes = np.where(half & language & (mode != "pretrain"), 2.0, 4.0)
    state_bytes = np.array([STATE_BYTES.get(str(name), 12.0) for name in table.text("optimizer")])
    state_bytes = np.where(half & language, state_bytes, np.maximum(state_bytes - 4.0, 0.0))
    state_bytes = np.where(mode == "fwd_bwd", 0.0, state_bytes)

    shard_weights = among(sharding, SHARDS_WEIGHTS)
    node = np.maximum(np.nan_to_num(table["per_node"], nan=8.0), 1.0)
    ranks = np.where(sharding == "hsdp", np.minimum(replicas, node), replicas)
    offloaded = among(table.text("offload"), ("cpu", "nvme"))
    weights = local * weight_bytes / np.where(shard_weights, ranks, 1.0)
    # A sharded layer is gathered whole while it runs, and the next one is prefetched.
    layers = np.maximum(np.nan_to_num(table["layers"], nan=1.0), 1.0)
    weights = weights + np.where(shard_weights & (ranks > 1), 2.0 * local * weight_bytes * pipeline / layers, 0.0)
    gradients = trained * gradient_bytes / np.where(among(sharding, SHARDS_GRADIENTS), ranks, 1.0)
    optimizer = np.where(
        offloaded, 0.0, trained * state_bytes / np.where(among(sharding, SHARDS_OPTIMIZER), ranks, 1.0)
    )

    activations, logits = _activation_bytes(inputs, half, language)
    to_gb = 1e-9
    return {
        "weights": state_scale * weights * to_gb,
        "gradients": state_scale * gradients * to_gb,
        "optimizer": state_scale * optimizer * to_gb,
        "activations": activation_scale * activations * to_gb,
        "logits": activation_scale * logits * to_gb,
        "overhead": overhead,
    }


def _activation_bytes(inputs: Inputs, half: BoolArray, language: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Bytes kept for the backward pass by layers and by the vocabulary head, shape (n,) each."""
    table, work, layout = inputs.table, inputs.work, inputs.layout
    tensor, pipeline = layout.tensor, layout.pipeline
    hidden = np.nan_to_num(table["hidden_size"])
    layers = np.nan_to_num(table["layers"])
    tokens = layout.micro_batch * work.tokens / layout.context
    mode, recompute = table.text("mode"), table.text("recompute")
    unpacked = among(mode, ("finetune", *ADAPTER_MODES)) & (work.tokens < 1024) & (table.text("packing") != "packed")
    tokens = tokens * np.where(unpacked, LONGEST_OVER_MEAN, 1.0)
    fused = among(table.text("attention"), FUSED_ATTENTION)
    scores = np.where(
        fused | (recompute == "selective"),
        0.0,
        5.0 * work.score_elements / np.maximum(work.tokens * np.maximum(layers, 1.0), 1.0),
    )
    width = np.where(half, 1.0, 2.0)
    intermediate = np.where(table["intermediate_size"] > 0, table["intermediate_size"], 4.0 * hidden)
    active = np.where(
        np.nan_to_num(table["experts"]) > 0,
        np.nan_to_num(table["experts_per_token"]) + np.nan_to_num(table["shared_experts"]),
        1.0,
    )
    # 34 h bytes a token at 4 h wide blocks, of which 2 h are dropout masks that language models no longer have: 16 h
    # outside the feed-forward block and 4 bytes per column inside it.
    gated = np.where(table["gated_mlp"] == 1.0, 1.5, 1.0)
    per_layer = tokens / tensor * width * (16.0 * hidden + 4.0 * gated * intermediate * active + scores)
    kept_full = tokens * width * 2.0 * hidden / tensor
    # 1F1B keeps as many micro-batches in flight on the first stage as there are stages.
    flight = np.minimum(pipeline, layout.micro_batches)
    stage_layers = layers / pipeline
    transformer = np.where(
        recompute == "full",
        kept_full * stage_layers * flight + per_layer,
        per_layer * stage_layers * flight,
    )
    vocabulary = np.nan_to_num(table["vocab_size"])
    logits = np.where(
        language & (vocabulary > 0),
        tokens * vocabulary / tensor * np.where(mode == "pretrain", FUSED_LOGIT_BYTES, LOGIT_BYTES),
        0.0,
    )
    logits = np.where(pipeline > 1, 0.3 * logits, logits)  # the last stage, which holds them, keeps one micro-batch
    element = np.where(half, 2.0, 4.0)
    convolution = layout.micro_batch * work.elements * element * KEPT_PER_WRITTEN
    shaped = language & (work.score_elements > 0)
    activations = np.where(shaped, transformer, convolution)
    return np.where(mode == "frozen", FROZEN_KEPT, 1.0) * activations, np.where(shaped, logits, 0.0)


def log_peak_gb(inputs: Inputs, coefficients: FloatArray) -> FloatArray:
    """Natural log of peak GB per accelerator, shape (n,)."""
    result: FloatArray = np.log(sum(memory_parts(inputs, coefficients).values()))
    return result


def prior_peak_gb(table: Table) -> FloatArray:
    """Peak GB per accelerator with the coefficients' prior means: for choosing layouts before any calibration."""
    means = np.array([coefficient.prior_mean for coefficient in MEMORY_COEFFICIENTS])
    result: FloatArray = np.exp(log_peak_gb(prepare(table), np.broadcast_to(means, (len(table), len(means)))))
    return result
