"""Seconds of one training step, part by part, from a table of configurations and a row of coefficients each.

Every part is a named physical cost: matrix products slowed by small shapes (roofline, Williams et al. 2009), memory
traffic, kernel launches, collectives (alpha-beta model of Hockney 1994; volumes of ring algorithms, Thakur et al. 2005;
tensor parallel as in Narayanan et al. 2021, arXiv 2104.04473, section 3.2; ZeRO and FSDP as in Rajbhandari et al. 2020,
arXiv 1910.02054, section 7), the pipeline bubble (Narayanan et al. 2021, section 2.2), optimizer, input pipeline, host.

The coefficients are logarithms (one logit) of physical quantities; `COEFFICIENTS` gives unit, prior and its source.
`calibration.py` learns them; this module only turns them into seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.engine import operations
from service.engine.table import FloatArray, Table


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
        np.log(6e-6),
        0.4,
        np.log(2e-7),
        np.log(1e-4),
        "CUDA launch 3 to 10 microseconds plus framework dispatch",
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
        np.log(1.4),
        0.4,
        np.log(0.6),
        np.log(20.0),
        "facts.csv: measured bus bandwidth is 0.6 to 0.9 of the data sheet",
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

HOST_KERNELS = 150.0  # forward kernels of the model that step_overhead_seconds is stated for: ResNet-50, 10 layers
RIDGE_REFERENCE = 150.0  # FLOP per byte; ridge point of a V100 or A100 at half precision
OVERLAP_SHARPNESS = 4.0  # power mean that stands for "the slower of two concurrent activities"
# Host memory traffic of ZeRO-Offload's CPU optimizer and its transfers, about 10 GB/s per accelerator
# (Ren et al. 2021, arXiv 2101.06840, section 6: a PCIe 3.0 x16 link).
OFFLOAD_BYTES_PER_SECOND = 1.0e10

BYTES_PER_ELEMENT = {"fp32": 4.0, "tf32": 4.0, "fp16": 2.0, "bf16": 2.0, "fp8": 2.0, "fp4": 2.0}
# Bytes read and written per trained parameter and step: gradients, master weights and states once each.
OPTIMIZER_BYTES = {
    "sgd": 16.0,
    "adamw": 28.0,
    "adam": 28.0,
    "lamb": 36.0,
    "lars": 20.0,
    "adafactor": 20.0,
    "lion": 20.0,
    "muon": 24.0,
    "adam8bit": 20.0,
    "adamw8bit": 20.0,
}
# Forward plus backward, in forward passes' worth of FLOPs: weight gradients are skipped for frozen weights.
ADAPTER_MODES = ("lora", "qlora")


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the step time needs of a table, computed once however often the coefficients change."""

    table: Table
    work: operations.Work
    micro_batches: FloatArray  # per optimizer step and pipeline
    micro_batch: FloatArray
    columns: dict[str, FloatArray]


def prepare(table: Table) -> Inputs:
    """Everything of a table that doesn't depend on coefficients."""
    work = operations.work(table)
    tensor, pipeline = _degree(table, "tensor_parallel"), _degree(table, "pipeline_parallel")
    context, expert = _degree(table, "context_parallel"), _degree(table, "expert_parallel")
    data = np.maximum(_degree(table, "data_parallel"), 1e-9)
    micro_batch = np.maximum(np.nan_to_num(table["micro_batch"], nan=1.0), 1e-9)
    global_batch = np.maximum(np.nan_to_num(table["global_batch"], nan=1.0), 1e-9)
    model_parallel = tensor * pipeline * context
    micro_batches = np.maximum(global_batch / (data * micro_batch), 1e-6)
    micro_batch = np.where(micro_batches < 1.0, micro_batch * micro_batches, micro_batch)
    micro_batches = np.maximum(micro_batches, 1.0)

    mode = table.text("mode")
    adapter = np.isin(mode.astype(str), ADAPTER_MODES)
    frozen = mode == "frozen"
    trainable = np.where(
        table["trainable_parameters"] > 0,
        np.minimum(table["trainable_parameters"], work.parameters),
        np.where(adapter, 0.005, np.where(frozen, 0.02, 1.0)) * work.parameters,
    )
    trained_share = np.clip(trainable / np.maximum(work.parameters, 1.0), 0.0, 1.0)
    # Frozen backbones stop the backward pass at the first trained layer; adapters need input gradients all the way.
    backward = np.where(adapter, 1.0 + trained_share, np.where(frozen, 2.0 * trained_share, 2.0))
    recompute = table.text("recompute")
    passes = 1.0 + backward + np.where(recompute == "full", 1.0, 0.0)
    attention_passes = (
        1.0
        + np.where(adapter | (backward > 1), 2.0, backward)
        + np.where((recompute == "full") | (recompute == "selective"), 1.0, 0.0)
    )
    packing = table.text("packing")
    # Declared padding removal: real tokens are about half of the sequence length (BERT's MLPerf corpus mean).
    filled = np.where(packing == "unpadded", 0.55, 1.0)

    precision = table.text("precision")
    element_bytes = np.array([BYTES_PER_ELEMENT.get(str(name), 4.0) for name in precision])
    optimizer_bytes = np.array([OPTIMIZER_BYTES.get(str(name), 28.0) for name in table.text("optimizer")])
    # Where degrees count cores or tiles (two ranks a chip), a rank has its share of the chip; where they multiply to
    # less than the count, the remaining accelerators are taken to share the work.
    share = np.clip(table["count"] / (model_parallel * data), 0.25, 4.0)
    peak = table["peak_tflops"] * 1e12 * share
    bandwidth = table["memory_bandwidth_gbs"] * 1e9 * share
    ridge = np.clip(peak / bandwidth / RIDGE_REFERENCE, 0.02, 20.0)

    split = tensor * context
    tokens = micro_batch * work.tokens * filled / context
    body = work.gemm_flops - work.head_flops - work.expert_flops
    head = np.where(pipeline > 1, work.head_flops, work.head_flops / pipeline)
    # The head sits on the last pipeline stage, and the slowest stage sets the pace.
    gemm = micro_batch * filled * (body / pipeline + head) / split * passes
    experts = np.maximum(np.nan_to_num(table["experts"]), 1.0)
    active = np.maximum(np.nan_to_num(table["experts_per_token"]), 1.0)
    expert_rows = tokens * active * np.maximum(expert, 1.0) / experts
    expert_flops = micro_batch * filled * work.expert_flops / pipeline / split * passes
    attention = micro_batch * filled * work.attention_flops / pipeline / split * attention_passes
    width = np.maximum(work.width / tensor, 1.0)
    expert_width = np.maximum(np.where(table["intermediate_size"] > 0, table["intermediate_size"], work.width), 1.0)

    elements = micro_batch * filled * work.elements / pipeline / split
    fused = np.isin(table.text("attention").astype(str), ["flash", "flash2", "flash3", "sdpa", "fused"])
    scores = np.where(fused, 0.0, 5.0 * micro_batch * filled * work.score_elements / pipeline / split)
    traffic = elements * passes * element_bytes
    score_traffic = scores * (1.0 + (passes > 1.5)) * element_bytes
    local_parameters = work.dense_parameters / (tensor * pipeline) + np.maximum(
        work.parameters - work.dense_parameters, 0.0
    ) / (tensor * pipeline * np.maximum(expert, 1.0))
    weight_traffic = local_parameters * element_bytes * np.minimum(passes, 3.0) * work.sequential_steps

    node = np.maximum(np.nan_to_num(table["domain"], nan=8.0), 1.0)
    nodes = np.maximum(table["count"] / node, 1.0)
    intra = table["intra_gbs"] * 1e9
    inter = table["inter_gbs"] * 1e9
    hidden = np.nan_to_num(table["hidden_size"])
    layers = np.nan_to_num(table["layers"])
    activation_message = tokens * hidden * 2.0  # activations travel in half precision
    recompute_extra = np.where(recompute == "full", 1.5, 1.0)
    tensor_bytes = np.where(
        tensor > 1, layers / pipeline * 4.0 * recompute_extra * activation_message * 2.0 * (tensor - 1) / tensor, 0.0
    )
    tensor_messages = np.where(
        tensor > 1, layers / pipeline * 4.0 * recompute_extra * 2.0 * np.log2(np.maximum(tensor, 2.0)), 0.0
    )
    tensor_across = np.maximum(tensor / node, 1.0) > 1.0
    expert_bytes = np.where(
        (expert > 1) & (experts > 1),
        layers / pipeline * 4.0 * activation_message / tensor * np.minimum(active, 8.0) * (expert - 1) / expert,
        0.0,
    )
    expert_across = expert * tensor > node
    _, key_width = operations.attention_heads_width(table)
    context_bytes = np.where(
        context > 1,
        layers / pipeline * 3.0 * 2.0 * tokens * np.nan_to_num(key_width) * 2.0 * (context - 1) / tensor,
        0.0,
    )
    context_across = context * tensor > node
    virtual = np.maximum(np.nan_to_num(table["virtual_pipeline"], nan=1.0), 1.0)
    pipeline_bytes = np.where(pipeline > 1, 2.0 * activation_message / tensor * virtual, 0.0)
    pipeline_across = table["count"] > node

    sharding = table.text("sharding")
    sharded = np.isin(sharding.astype(str), ["zero3", "fsdp", "hsdp"])
    trained_local = local_parameters * trained_share
    gradient_bytes = trained_local * np.where((precision == "fp32") | (precision == "tf32"), 4.0, 2.0)
    replicas = data * context
    ring = np.where(replicas > 1, (replicas - 1) / replicas, 0.0)
    gathers = np.where(sharded, micro_batches * 2.0 * local_parameters * 2.0 * ring, 0.0)
    gradient_traffic = (
        2.0 * gradient_bytes * ring * np.where(sharded, 0.5, 1.0) * np.where(sharded, micro_batches, 1.0) + gathers
    )
    data_across = (replicas * tensor > node) & (table["count"] > node)
    ranks_in_node = np.maximum(np.minimum(node / tensor, replicas), 1.0)

    shard_states = np.isin(sharding.astype(str), ["zero1", "zero2", "zero3", "fsdp", "hsdp"])
    optimizer_local = trained_local / np.where(shard_states, np.maximum(replicas, 1.0), 1.0)
    optimizer_bytes_moved = np.where(mode == "fwd_bwd", 0.0, optimizer_local * optimizer_bytes)
    offload = np.where(table.text("offload") == "cpu", optimizer_local * 16.0, 0.0) + np.where(
        table.text("offload") == "nvme", optimizer_local * 48.0, 0.0
    )
    image = np.where(table["image_size"] > 0, table["image_size"], 224.0)
    language = np.isin(table.text("family").astype(str), ["decoder", "encoder", "moe", "encoder_decoder", "rnn"])
    # Decoding cost grows with pixels; token sequences are cheap to read.
    records = np.isin(table.text("family").astype(str), ["recommender", "gnn"])
    input_units = np.where(language, 0.02, np.where(records, 1e-3, (image / 224.0) ** 2))
    input_units = np.where(table.text("data_input") == "synthetic", 0.0, input_units)
    columns = {
        "peak": peak,
        "bandwidth": bandwidth,
        "ridge": ridge,
        "tokens": np.maximum(np.where(work.sequential_steps > 1, micro_batch, tokens), 1e-3),
        "width": width,
        "gemm": gemm,
        "expert_rows": np.maximum(expert_rows, 1e-3),
        "expert_width": expert_width,
        "expert_flops": expert_flops,
        "attention": attention,
        "traffic": traffic + score_traffic,
        "weight_traffic": weight_traffic,
        "launches": work.kernels / pipeline * np.maximum(passes, 1.0),
        "intra": intra,
        "inter": inter,
        "tensor_bytes": tensor_bytes,
        "tensor_messages": tensor_messages,
        "tensor_inter": np.where(tensor_across, inter * np.minimum(node, tensor), np.inf),
        "expert_bytes": expert_bytes,
        "expert_messages": np.where(expert_bytes > 0, layers / pipeline * 4.0, 0.0),
        "expert_inter": np.where(expert_across, inter, np.inf),
        "context_bytes": context_bytes,
        "context_inter": np.where(context_across, inter, np.inf),
        "pipeline_bytes": pipeline_bytes,
        "pipeline_inter": np.where(pipeline_across, inter, np.inf),
        "pipeline": pipeline,
        "virtual": virtual,
        "gradient_bytes": gradient_traffic,
        "gradient_messages": np.where(
            replicas > 1, 2.0 * np.log2(np.maximum(replicas, 2.0)) * np.where(sharded, layers * micro_batches, 1.0), 0.0
        ),
        "data_inter": np.where(data_across, inter * ranks_in_node, np.inf),
        "data_is_sharded": sharded.astype(np.float64),
        "backward_share": backward / passes,
        "optimizer_bytes": optimizer_bytes_moved,
        "offload_bytes": offload,
        "input_units": input_units * micro_batches * micro_batch / np.maximum(model_parallel, 1.0),
        "log_nodes": np.log2(nodes) + 0.3 * np.log2(np.maximum(np.minimum(node, table["count"]), 1.0)),
        "global_batch": global_batch,
        # Of the 6 N of training from scratch, what frozen weights leave to be done.
        "trained_flops_share": (1.0 + backward) / 3.0,
        # Dispatch on the host goes layer by layer, whatever the framework.
        "host_units": np.clip(work.kernels / HOST_KERNELS, 0.01, 4.0),
    }
    return Inputs(table, work, micro_batches, micro_batch, columns)


def step_parts(inputs: Inputs, coefficients: FloatArray) -> dict[str, FloatArray]:
    """Seconds of one optimizer step by part.

    Args:
        inputs: `prepare(table)` of n configurations.
        coefficients: shape (n, len(COEFFICIENTS)), on the scale of `COEFFICIENTS`.

    Returns: `{part: seconds}` for each of `PARTS`, shape (n,) each, non-negative; their sum is the step.
    """
    c = inputs.columns
    value = np.clip(coefficients, LOW, HIGH)
    physical = {name: np.exp(value[:, position]) for name, position in INDEX.items() if name != "gradient_exposed"}
    exposed = 1.0 / (1.0 + np.exp(-value[:, INDEX["gradient_exposed"]]))
    m = inputs.micro_batches
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
    launch_exposed = _slower(busy, launch) - busy

    intra = c["intra"] / physical["intra_node_slowdown"]
    across = physical["inter_node_slowdown"]
    latency = physical["collective_latency_seconds"]
    tensor = c["tensor_bytes"] / np.minimum(intra, c["tensor_inter"] / across) + c["tensor_messages"] * latency
    experts = (
        exposed * c["expert_bytes"] / np.minimum(intra, c["expert_inter"] / across) + c["expert_messages"] * latency
    )
    context = exposed * c["context_bytes"] / np.minimum(intra, c["context_inter"] / across)
    pipe = exposed * c["pipeline_bytes"] / np.minimum(intra, c["pipeline_inter"] / across)

    micro = busy + launch_exposed + tensor + experts + context + pipe
    bubble = (c["pipeline"] - 1.0) / c["virtual"] * micro

    reduction = c["gradient_bytes"] / np.minimum(intra, c["data_inter"] / across) + c["gradient_messages"] * latency
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


def _degree(table: Table, name: str) -> FloatArray:
    return np.maximum(np.nan_to_num(table[name], nan=1.0), 1e-6)


def _slower(a: FloatArray, b: FloatArray) -> FloatArray:
    """Smooth maximum of two concurrent durations; at least the larger, at most 2^(1/sharpness) of it."""
    large, small = np.maximum(a, b), np.minimum(a, b)
    ratio = small / np.maximum(large, 1e-300)
    return large * np.power(1.0 + ratio**OVERLAP_SHARPNESS, 1.0 / OVERLAP_SHARPNESS)


def _faster(a: FloatArray, b: FloatArray) -> FloatArray:
    """Smooth minimum of two durations; at most the smaller."""
    large, small = np.maximum(a, b), np.minimum(a, b)
    ratio = small / np.maximum(large, 1e-300)
    return small * np.power(1.0 + ratio**OVERLAP_SHARPNESS, -1.0 / OVERLAP_SHARPNESS)
