"""Peak memory of one accelerator, part by part.

States (weights, gradients, optimizer) as in Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054, section 3); activations of
a Transformer layer as in Korthikanti et al. 2022 (arXiv 2205.05198, section 4, eq. 1 to 4 and table 2), counted tensor
by tensor in `memory_activations.py`. Framework overhead and fragmentation are learned from measured peaks.
"""

from __future__ import annotations

import numpy as np

from service.engine import operations
from service.engine.coefficients import Coefficient
from service.engine.memory_activations import UNCOUNTED_LAYERS, activation_bytes, is_fused
from service.engine.replicas import SHARDS_GRADIENTS, SHARDS_WEIGHTS, replicas_in_node, shares_optimizer, state_holders
from service.engine.step_inputs import ADAPTER_MODES, Inputs, prepare
from service.engine.table import BoolArray, FloatArray, Table, clipped, filled

MEMORY_COEFFICIENTS: tuple[Coefficient, ...] = (
    Coefficient(
        "activation_scale",
        "log ratio of kept to counted activation bytes of Transformers",
        np.log(1.1),
        0.2,
        np.log(0.1),
        np.log(6.0),
        "Korthikanti et al. 2022 count what a fused implementation keeps; the rest is fragmentation",
    ),
    Coefficient(
        "eager_scale",
        "log ratio of what layers of separate operations keep to what fused ones keep",
        np.log(1.5),
        0.3,
        np.log(0.5),
        np.log(4.0),
        "norms and softmax in fp32, unfused gates and rotary embeddings, dropped-out adapter inputs: 40 to 80 h bytes "
        "a token where fused layers keep 34; judgement",
    ),
    Coefficient(
        "logit_scale",
        "log ratio of kept to counted bytes of the vocabulary head",
        np.log(1.0),
        0.3,
        np.log(0.1),
        np.log(6.0),
        "copies of the logits that a cross-entropy keeps vary by implementation; judgement",
    ),
    Coefficient(
        "vision_scale",
        "log ratio of kept to counted activation bytes of all other families",
        np.log(1.0),
        0.3,
        np.log(0.1),
        np.log(6.0),
        "what is kept is counted (memory_activations.py); the rest is fragmentation and workspace; judgement",
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

# How far parts are off on sources that the fit has not seen, natural log: states by how they are sharded and held (few
# sources state it), activations by implementation, overhead by what a source counts (allocated, reserved or all that
# the driver sees). Chosen by the likelihood of held-out peaks; `memory_fit` widens all by one factor to cover.
STATE_SPREAD, ACTIVATION_SPREAD, OVERHEAD_SPREAD = 0.3, 0.25, 1.0
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
GB = 1e-9  # of a byte
QUANTISED_WEIGHT_BYTES = 0.55  # 4-bit weights with their scales (Dettmers et al. 2023, arXiv 2305.14314, section 3)
# DeepSpeed's bf16 optimizer adds half-precision gradients up in fp32 and holds both; Megatron and its kin add into the
# fp32 buffer at once. Judgement, from how these optimizers are known to work.
HOLDS_BOTH_GRADIENTS = ("deepspeed", "megatron-deepspeed")
# JAX's training loops keep weights in fp32 and cast them where they are used, so that the optimizer needs no other copy
# (MaxText's base configuration: weight_dtype and mu_dtype float32). The compiler folds a gradient that nothing is added
# to into the update.
CASTS_WEIGHTS = ("jax", "maxtext", "alpa")
# Pre-training recipes that reduce gradients in half precision, and add them up so: NeMo's (its manual on mixed
# precision: gradients are computed and reduced in the half precision of the layers) and its successor's.
HALF_GRADIENTS = ("nemo", "megatron-bridge")


def memory_parts(inputs: Inputs, coefficients: FloatArray) -> dict[str, FloatArray]:
    """GB (10^9 bytes) per accelerator by part.

    Args:
        inputs: `step_inputs.prepare(table)` of n configurations.
        coefficients: shape (len(MEMORY_COEFFICIENTS),), the same for all.

    Returns: `{part: GB}` for each of `MEMORY_PARTS`, shape (n,), of the fullest accelerator.
    """
    parts = state_parts(inputs, coefficients) | kept_parts(inputs, coefficients)
    return {name: parts[name] for name in MEMORY_PARTS}


def state_parts(inputs: Inputs, coefficients: FloatArray) -> dict[str, FloatArray]:
    """Those of `memory_parts` that are there between steps, whatever is recomputed."""
    *_, scale, overhead = _physical(coefficients)
    weights, gradients, optimizer = _state_bytes(inputs, _half(inputs.table), _language(inputs.table))
    each = inputs.layout.ranks
    return {
        "weights": each * scale * weights * GB,
        "gradients": each * scale * gradients * GB,
        "optimizer": each * scale * optimizer * GB,
        "overhead": each * np.full(len(inputs.table), overhead),
    }


def kept_parts(inputs: Inputs, coefficients: FloatArray) -> dict[str, FloatArray]:
    """Those of `memory_parts` that a forward pass keeps for the backward pass."""
    activation_scale, eager_scale, logit_scale, vision_scale, *_ = _physical(coefficients)
    language = _language(inputs.table)
    activations, logits = activation_bytes(inputs, _half(inputs.table), language)
    eager = np.where(is_fused(inputs.table), 1.0, eager_scale)
    scale = np.where(language & (inputs.work.score_elements > 0), activation_scale * eager, vision_scale)
    each = inputs.layout.ranks
    return {"activations": each * scale * activations * GB, "logits": each * logit_scale * logits * GB}


def _physical(coefficients: FloatArray) -> list[float]:
    scales: list[float] = np.exp(clipped(coefficients, MEMORY_LOW, MEMORY_HIGH)).tolist()
    return scales


def _half(table: Table) -> BoolArray:
    return table.among("precision", ("fp16", "bf16", "fp8", "fp4"))


def _language(table: Table) -> BoolArray:
    return table.among("family", operations.TRANSFORMER_FAMILIES)


def _state_bytes(inputs: Inputs, half: BoolArray, language: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Bytes of weights, gradients and optimizer states, shape (n,) each."""
    table, work, layout = inputs.table, inputs.work, inputs.layout
    tensor, pipeline, replicas = layout.tensor, layout.pipeline, layout.data * layout.context
    adapters = table.among("mode", ADAPTER_MODES)
    dense = work.dense_parameters / (tensor * pipeline)
    sparse = np.maximum(inputs.local_parameters - dense, 0.0)
    # The first stage holds the embedding and the last the head: with pipelining the fullest has one of them on top.
    vocabulary = filled(table["vocab_size"], 0.0) * filled(table["hidden_size"], 0.0) / tensor
    dense = dense + np.where(pipeline > 1, np.minimum(vocabulary * (1.0 - 1.0 / pipeline), 0.5 * work.parameters), 0.0)
    # Mixed precision outside language models usually keeps fp32 weights and casts on the fly.
    mixed = table.among("weight_precision", ("mixed",))
    unstated = table.among("weight_precision", ("",)) | mixed
    casts = table.among("framework", CASTS_WEIGHTS)
    weight_bytes = np.where(half & (language | adapters) & ~casts, 2.0, 4.0)
    weight_bytes = np.where(unstated, weight_bytes, table.mapped("weight_precision", {"fp32": 4.0, "fp8": 1.0}, 2.0))
    # Fine-tuning scripts on plain replicas train the checkpoint in the half precision that they load it in, without a
    # master copy; so do runs whose weights are stated to be half precision. Sharding optimizers bring a master copy.
    shared = shares_optimizer(table)
    loaded = table.among("mode", ("finetune",)) & ~shared & language & ~mixed
    # Of adapters, what is stated is said of the frozen weights.
    bare = half & (weight_bytes == 2.0) & ((~unstated & ~adapters) | loaded)
    # Frozen weights need no master copy and stay as they are computed with.
    weight_bytes = np.where(adapters & table.among("precision", ("fp8",)), 1.0, weight_bytes)
    # Quantised are the matrices of the layers; embedding and head stay as they were.
    tables = np.minimum(vocabulary * np.where(table["tied_embeddings"] == 1.0, 1.0, 2.0) / pipeline, dense)
    tables = np.where(table.among("mode", ("qlora",)), tables, 0.0)
    layer_bytes = np.where(table.among("mode", ("qlora",)), QUANTISED_WEIGHT_BYTES, weight_bytes)
    # bf16 pre-training adds gradients up in fp32 (Megatron insists on it); fp16 gradients are scaled, and stay fp16.
    fp32_gradients = language & half & ~table.among("precision", ("fp16",)) & table.among("mode", ("pretrain",)) & ~bare
    fp32_gradients = fp32_gradients & ~table.among("framework", HALF_GRADIENTS)
    gradient_bytes = np.where(fp32_gradients, 4.0, np.where(half & language, 2.0, 4.0))
    gradient_bytes = np.where(casts, np.where(layout.micro_batches > 1, 4.0, 0.0), gradient_bytes)
    both = table.among("framework", HOLDS_BOTH_GRADIENTS) & fp32_gradients & (pipeline > 1)
    gradient_bytes = gradient_bytes + np.where(both, 2.0, 0.0)
    state_bytes = table.mapped("optimizer", STATE_BYTES, 12.0)
    moments = np.maximum(state_bytes - 4.0, 0.0)
    state_bytes = np.where(bare, 0.5 * moments, np.where(weight_bytes < 4.0, state_bytes, moments))
    state_bytes = np.where(table.among("mode", ("fwd_bwd",)), 0.0, state_bytes)

    ranks = state_holders(table, replicas, replicas_in_node(replicas, tensor, layout.node))
    # Copies of an expert are fewer than replicas of the rest by the expert-parallel degree.
    expert_ranks = np.maximum(ranks / np.maximum(layout.expert, 1.0), 1.0)

    def sharded(bytes_each: FloatArray, split: BoolArray, share: FloatArray) -> FloatArray:
        return share * bytes_each * (dense / np.where(split, ranks, 1.0) + sparse / np.where(split, expert_ranks, 1.0))

    one = np.ones(len(table))
    gathers = table.among("sharding", SHARDS_WEIGHTS)
    weights = sharded(layer_bytes, gathers, one) + tables * (weight_bytes - layer_bytes)
    # A sharded layer is gathered whole while it runs, and the next one is prefetched.
    layers = np.maximum(filled(table["layers"], UNCOUNTED_LAYERS), 1.0)
    gathered = 2.0 * (dense + sparse) * weight_bytes * pipeline / layers
    weights = weights + np.where(gathers & (ranks > 1), gathered, 0.0) + _embedding_bytes(inputs) / layout.ranks
    gradients = sharded(gradient_bytes, table.among("sharding", SHARDS_GRADIENTS), inputs.trained_share)
    optimizer = sharded(state_bytes, shared, inputs.trained_share)
    # Where replicas share the states, gradients follow these to the host, each as soon as it is there (ZeRO-Offload,
    # Ren et al. 2021, arXiv 2101.06840, section 3).
    away = table.among("offload", ("cpu", "nvme"))
    return weights, np.where(away & shared, 0.0, gradients), np.where(away, 0.0, optimizer)


def _embedding_bytes(inputs: Inputs) -> FloatArray:
    """Bytes of a recommender's embedding tables on one accelerator, shape (n,): they are spread over all of them.

    They are held in fp32 and have neither gradients nor states of their own: few of their rows change in a step
    (Naumov et al. 2019, arXiv 1906.00091, section 3.2).
    """
    table = inputs.table
    looked_up = np.maximum(filled(table["parameters"], 0.0) - inputs.work.parameters, 0.0)
    spread = looked_up / np.maximum(filled(table["count"], 1.0), 1.0)
    return np.where(table.among("family", ("recommender",)), 4.0 * spread, 0.0)


def log_spread(parts: dict[str, FloatArray]) -> FloatArray:
    """Standard deviation of the log of a peak made of these parts, before widening, shape (n,).

    Weights, gradients and optimizer states err together; activations, logits and overhead on their own.
    """
    total = sum(parts.values())
    states = parts["weights"] + parts["gradients"] + parts["optimizer"]
    variance = (
        (STATE_SPREAD * states) ** 2
        + (ACTIVATION_SPREAD * parts["activations"]) ** 2
        + (ACTIVATION_SPREAD * parts["logits"]) ** 2
        + (OVERHEAD_SPREAD * parts["overhead"]) ** 2
    )
    result: FloatArray = np.sqrt(variance) / total
    return result


def log_peak_gb(inputs: Inputs, coefficients: FloatArray) -> FloatArray:
    """Natural log of peak GB per accelerator, shape (n,)."""
    result: FloatArray = np.log(sum(memory_parts(inputs, coefficients).values()))
    return result


def prior_peak_gb(table: Table) -> FloatArray:
    """Peak GB per accelerator with the coefficients' prior means: for choosing layouts before any calibration."""
    means = np.array([coefficient.prior_mean for coefficient in MEMORY_COEFFICIENTS])
    result: FloatArray = np.exp(log_peak_gb(prepare(table), means))
    return result
