"""What one training step must do, counted once per table: FLOPs, bytes, launches and messages of one rank.

Formulas and their sources are named in `step_time.py`, which turns these counts into seconds, and in `memory.py`, which
shares the counts of parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.engine import operations
from service.engine.replicas import SHARDS_WEIGHTS, domain, replicas_in_node, shares_optimizer, state_holders
from service.engine.table import FloatArray, Table, clipped, filled, once_a_table

MOST_HOST_UNITS = 10.0  # the deepest networks counted launch 1,500 kernels
HOST_KERNELS = 150.0  # forward kernels of the model that step_overhead_seconds is stated for: ResNet-50
HOST_TRANSFORMER_KERNELS = (
    10.0 * operations.KERNELS_PER_TRANSFORMER_LAYER
)  # of a Transformer with as many weights to step
# Launches that a tensor-parallel layer adds to a forward pass: two reductions (or gathers and scatters), with the
# copies, stream waits and Python functions around them.
TENSOR_PARALLEL_KERNELS = 12.0
# Compilers that hand the device a whole step at once leave few launches to the host.
WHOLE_GRAPH_FRAMEWORKS = (
    "jax",
    "maxdiffusion",
    "maxtext",
    "paxml",
    "t5x",
    "levanter",
    "alpa",
    "neuronx-distributed",
    "neuronx-nemo-megatron",
    "torch-neuronx",
    "mindspore",
    "mindformers",
)
WHOLE_GRAPH_SHARE = 0.1  # judgement: a launch for every tenth eager kernel
# Chips that run a whole step, its optimizer included, as one program, whatever the framework. On others, what is
# compiled is still launched kernel by kernel, and traced anew for every step (PyTorch/XLA).
ONE_PROGRAM_CHIPS = ("tpu",)
RIDGE_REFERENCE = 150.0  # FLOP per byte; ridge point of a V100 or A100 at half precision
# torch.nn.DataParallel copies the model to every accelerator for each step and launches every forward pass from threads
# that share one interpreter lock; only the backward pass runs freely. Judgement: half of the launches wait in line.
SERIAL_SHARE = 0.5
REFERENCE_IMAGE = 224.0  # pixels a side of the image that input_seconds is stated for
USUAL_MATMUL_SHARE = 0.77  # of the peak, in a chip's best matrix product: median of achievable_matmul.csv
MESSAGE_BYTES = 2.0  # activations and gathered weights travel in half precision
# Real tokens over sequence length once padding is removed (MLPerf BERT's corpus: about half).
FILLED_SHARE = {"unpadded": 0.55}

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
OFFLOAD_BYTES = {"cpu": 16.0, "nvme": 48.0}  # states in, weights out; to a drive and back besides
ADAPTER_MODES = ("lora", "qlora")
# Share of the parameters that is trained where nobody says: rank 8 to 16 adapters, a classification head.
TRAINED_SHARE = {"lora": 0.005, "qlora": 0.005, "frozen": 0.02}
FUSED_ATTENTION = ("flash", "flash2", "flash3", "sdpa", "fused")  # kernels that never write the score matrix
# Of dispatch and launches, what stays where recorded graphs replay them: recorded layers bound by the host took 6 ms
# instead of 31, and a step of which the backbone was recorded 1 / 1.7 (Nguyen et al. 2021, "Accelerating PyTorch with
# CUDA Graphs", pytorch.org/blog, Mask R-CNN of MLPerf v1.0).
GRAPHED_SHARE = {"full": 0.2, "partial": 0.6}
# Frameworks count NeuronCores, dies, stacks or cores of these as accelerators (their makers' documentation; those of
# Trainium2 and 3 alone or two by two).
RANKS: Mapping[str, tuple[float, ...]] = {
    "Trainium1": (1.0, 2.0),
    "Trainium2": (1.0, 4.0, 8.0),
    "Trainium3": (1.0, 4.0, 8.0),
    "TPU-v2": (1.0, 2.0),
    "TPU-v3": (1.0, 2.0),
    "MI250": (1.0, 2.0),
    "MI250X": (1.0, 2.0),
    "Max-1550": (1.0, 2.0),
}
# Degrees of parallelism that ranks of one copy of the model talk by.
LINKS = ("tensor", "expert", "context", "pipeline")
NODE_LIMITED_EXPERTS = 8.0  # most copies of a token that all-to-all sends; more experts per token share destinations


@dataclass(frozen=True, eq=False)
class Layout:
    """Degrees of parallelism and batches, all at least what makes sense; arrays of shape (n,)."""

    tensor: FloatArray
    pipeline: FloatArray
    context: FloatArray
    expert: FloatArray
    data: FloatArray
    micro_batch: FloatArray  # samples
    micro_batches: FloatArray  # per optimizer step and pipeline
    global_batch: FloatArray  # samples
    ranks: FloatArray  # that share one accelerator: more than one where degrees count its cores or dies
    node: FloatArray  # ranks joined by the fast link


@dataclass(frozen=True, eq=False)
class Inputs:
    """What step time and memory need of a table, computed once however often the coefficients change."""

    table: Table
    work: operations.Work
    layout: Layout
    local_parameters: FloatArray  # stored by one rank of the model's copy
    trained_share: FloatArray  # of all parameters
    columns: dict[str, FloatArray]  # (n,) each; those of links (len(LINKS), n)

    @property
    def micro_batches(self) -> FloatArray:
        """Micro-batches per optimizer step and pipeline, shape (n,)."""
        return self.layout.micro_batches


def prepare(table: Table, work: operations.Work | None = None) -> Inputs:
    """Everything of a table that doesn't depend on coefficients; `work`: its `operations.work`, if that is known."""
    work = work or operations.work(table)
    layout = _layout(table)
    share = table.mapped("mode", TRAINED_SHARE, 1.0)
    stated = table["trainable_parameters"] / np.maximum(work.parameters, 1.0)
    trained_share = clipped(np.where(table["trainable_parameters"] > 0, stated, share), 0.0, 1.0)
    sparse = np.maximum(work.parameters - work.dense_parameters, 0.0)
    copies = layout.tensor * layout.pipeline
    local_parameters = work.dense_parameters / copies + sparse / (copies * np.maximum(layout.expert, 1.0))
    # Frozen backbones stop the backward pass at the first trained layer; adapters need input gradients all the way.
    backward = np.where(
        table.among("mode", ADAPTER_MODES),
        1.0 + trained_share,
        np.where(table.among("mode", ("frozen",)), 2.0 * trained_share, 2.0),
    )
    passes = 1.0 + backward + recomputed_share(table)
    columns = {
        **_kernels(table, work, layout, local_parameters, backward, passes),
        **_model_messages(table, work, layout),
        **_replica_messages(table, layout, local_parameters, trained_share, backward / passes),
        **_surroundings(table, work, layout),
        "micro_batches": layout.micro_batches,
        # Of the 6 N of training from scratch, what frozen weights leave to be done.
        "trained_flops_share": (1.0 + backward) / 3.0,
    }
    return Inputs(table, work, layout, local_parameters, trained_share, columns)


def _layout(table: Table) -> Layout:
    tensor, pipeline, context, expert, data = (
        np.maximum(filled(table[f"{name}_parallel"], 1.0), 1e-6)
        for name in ("tensor", "pipeline", "context", "expert", "data")
    )
    ranks = tensor * pipeline * context * data / np.maximum(table["count"], 1.0)
    ranks = clipped(ranks, 1.0, table.mapped("accelerator", {chip: each[-1] for chip, each in RANKS.items()}, 1.0))
    micro_batch = np.maximum(filled(table["micro_batch"], 1.0), 1e-9)
    global_batch = np.maximum(filled(table["global_batch"], 1.0), 1e-9)
    micro_batches = np.maximum(global_batch / (data * micro_batch), 1e-6)
    # Where some replicas have a sample or a micro-batch more, the others wait for them.
    most = np.ceil(micro_batches * (1.0 - 1e-9))
    micro_batches = np.where(table["gradient_accumulation"] == most, most, micro_batches)
    return Layout(
        tensor,
        pipeline,
        context,
        expert,
        data,
        np.where(micro_batches < 1.0, micro_batch * micro_batches, micro_batch),
        np.maximum(micro_batches, 1.0),
        global_batch,
        ranks,
        domain(table) * ranks,
    )


def _kernels(
    table: Table,
    work: operations.Work,
    layout: Layout,
    local_parameters: FloatArray,
    backward: FloatArray,
    passes: FloatArray,
) -> dict[str, FloatArray]:
    """FLOPs, bytes and launches of one micro-batch on one rank, and what the rank has to do them with."""
    repeated = np.where(table.among("recompute", ("selective",)), 1.0, recomputed_share(table))
    attention_passes = 1.0 + np.where(backward >= 1.0, 2.0, backward) + repeated
    real_share = table.mapped("packing", FILLED_SHARE, 1.0)
    samples = layout.micro_batch * real_share
    split = layout.tensor * layout.context
    # Where degrees count cores or tiles (two ranks a chip), a rank has its share of the chip; where they multiply to
    # less than the count, the remaining accelerators are taken to share the work.
    share = clipped(table["count"] / (split * layout.pipeline * layout.data), 0.25, 4.0)
    # Learned efficiencies are fractions of what chips usually reach; one known to reach less starts from that.
    reach = filled(table["matmul_share"] / USUAL_MATMUL_SHARE, 1.0)
    peak = table["peak_tflops"] * 1e12 * share * reach
    bandwidth = table["memory_bandwidth_gbs"] * 1e9 * share

    tokens = samples * work.tokens / layout.context
    # The head sits on the last pipeline stage, and the slowest stage sets the pace.
    body = (work.gemm_flops - work.head_flops - work.expert_flops) / layout.pipeline + work.head_flops
    experts = np.maximum(filled(table["experts"], 0.0), 1.0)
    active = np.maximum(filled(table["experts_per_token"], 0.0), 1.0)
    expert_width = np.where(table["intermediate_size"] > 0, table["intermediate_size"], work.width)
    element_bytes = table.mapped("precision", BYTES_PER_ELEMENT, 4.0)
    per_rank = samples / layout.pipeline / split
    steps, stepwise = work.sequential_steps, work.stepwise_share
    batched = (1.0 - stepwise) / steps + stepwise  # one over a product's rows per sample, averaged over products
    scores = np.where(table.among("attention", FUSED_ATTENTION), 0.0, 5.0 * per_rank * work.score_elements)
    return {
        "peak": peak,
        "bandwidth": bandwidth,
        "ridge": clipped(peak / bandwidth / RIDGE_REFERENCE, 0.02, 20.0),
        "tokens": np.maximum(np.where(steps > 1, layout.micro_batch / batched, tokens), 1e-3),
        "width": np.maximum(work.width / layout.tensor, 1.0),
        "gemm": samples * body / split * passes,
        # What the last stage has on top of the others, for which they wait once a micro-batch but not in the bubble.
        "head_share": work.head_flops * (1.0 - 1.0 / layout.pipeline) / np.maximum(body, 1.0),
        "expert_rows": np.maximum(tokens * active * np.maximum(layout.expert, 1.0) / experts, 1e-3),
        "expert_width": np.maximum(expert_width, 1.0),
        "expert_flops": per_rank * work.expert_flops * passes,
        "attention": per_rank * work.attention_flops * attention_passes,
        "traffic": (per_rank * work.elements * passes + scores * (1.0 + (passes > 1.5))) * element_bytes,
        "weight_traffic": local_parameters * element_bytes * np.minimum(passes, 3.0) * (1.0 + stepwise * (steps - 1.0)),
        "launches": _launches(table, work, layout, passes),
    }


def _launches(table: Table, work: operations.Work, layout: Layout, passes: FloatArray) -> FloatArray:
    """Kernels that the host of one rank launches for a micro-batch, all passes, shape (n,)."""
    layers = np.where(work.sequential_steps > 1, 0.0, filled(table["layers"], 0.0))
    collectives = np.where(layout.tensor > 1, layers * TENSOR_PARALLEL_KERNELS, 0.0)
    kernels = (work.kernels + collectives) * np.maximum(passes, 1.0) + work.sample_kernels * layout.micro_batch
    whole = table.among("framework", WHOLE_GRAPH_FRAMEWORKS) & ~table.among("chip_group", ONE_PROGRAM_CHIPS)
    share = np.where(whole, WHOLE_GRAPH_SHARE, 1.0) * _eager_share(table)
    return np.asarray(kernels / layout.pipeline * _turns(table) * share)


def _eager_share(table: Table) -> FloatArray:
    """Share of a step's dispatch that neither a recorded graph nor a program of the whole step takes over, (n,)."""
    one_program = table.among("chip_group", ONE_PROGRAM_CHIPS)
    return table.mapped("cuda_graphs", GRAPHED_SHARE, 1.0) * np.where(one_program, WHOLE_GRAPH_SHARE, 1.0)


def _turns(table: Table) -> FloatArray:
    """How many times longer launching takes where one process serves several accelerators, shape (n,), at least 1."""
    served = clipped(table["count"], 1.0, domain(table))
    single = table.among("variable_update", ("single_process",))
    return np.where(single, 1.0 + SERIAL_SHARE * (served - 1.0), 1.0)


def _model_messages(table: Table, work: operations.Work, layout: Layout) -> dict[str, FloatArray]:
    """Bytes and messages between the ranks of one copy of the model, per micro-batch."""
    tensor, expert, context = layout.tensor, layout.expert, layout.context
    node, inter, there_are = layout.node, table["inter_gbs"] * 1e9 / layout.ranks, table["count"] * layout.ranks
    real_share = table.mapped("packing", FILLED_SHARE, 1.0)
    hidden, layers = filled(table["hidden_size"], 0.0), filled(table["layers"], 0.0) / layout.pipeline
    tokens = layout.micro_batch * work.tokens * real_share / context
    activation = tokens * hidden * MESSAGE_BYTES
    # Two all-reduces forward, two backward, two more where the forward pass is repeated.
    reductions = layers * (4.0 + 2.0 * recomputed_share(table))
    experts = filled(table["experts"], 0.0)
    active = clipped(filled(table["experts_per_token"], 0.0), 1.0, NODE_LIMITED_EXPERTS)
    routed = (expert > 1) & (experts > 1)
    _, key_width = operations.attention_heads_width(table)
    keys = tokens * filled(key_width, 0.0) * MESSAGE_BYTES
    virtual = np.maximum(filled(table["virtual_pipeline"], 1.0), 1.0)
    none = np.zeros(len(table))
    tensor_bytes = np.where(tensor > 1, reductions * activation * 2.0 * (tensor - 1) / tensor, 0.0)
    # Trees within a node; across nodes gathers and scatters go round a ring, one hop a rank.
    hops = np.where(tensor > node, tensor - 1.0, np.log2(np.maximum(tensor, 2.0)))
    expert_bytes = np.where(routed, layers * 4.0 * activation / tensor * active * (expert - 1) / expert, 0.0)
    context_bytes = np.where(context > 1, layers * 3.0 * 2.0 * keys * (context - 1) / tensor, 0.0)
    pipeline_bytes = np.where(layout.pipeline > 1, 2.0 * activation / tensor * virtual, 0.0)
    tensor_messages = np.where(tensor > 1, reductions * 2.0 * hops, 0.0)
    expert_messages = np.where(routed, layers * 4.0, 0.0)
    # A group of ranks that leaves its node has the bandwidth between nodes, else no limit.
    # Experts lie within a stage: where it has no further ranks, those that share layers hold different ones.
    spread = np.minimum(expert * tensor, np.maximum(there_are / layout.pipeline, expert))
    ranks = np.array([tensor, spread, context * tensor, there_are])
    link_inter = np.where(ranks > node, inter, np.inf)
    link_inter[0] *= np.minimum(node, tensor)
    copies, crossing = active * (expert - 1) / expert, _crossings(spread / node, active)
    link_inter[1] *= np.where(routed & (crossing > 0.0), copies / np.maximum(crossing, 1e-9), 1.0)
    return {
        "intra": table["intra_gbs"] * 1e9 / layout.ranks,
        "link_bytes": np.array([tensor_bytes, expert_bytes, context_bytes, pipeline_bytes]),
        "link_messages": np.array([tensor_messages, expert_messages, none, none]),
        "link_inter": link_inter,
        "stages_waiting": (layout.pipeline - 1.0) / virtual,
    }


def _crossings(nodes: FloatArray, active: FloatArray) -> FloatArray:
    """Copies of a token that leave its node, shape (n,), for `active` experts spread evenly over nodes.

    It crosses to another node once, however many of its experts are there, and is handed on within it (DeepSeek-AI
    2024, arXiv 2412.19437, section 3.2.2; for one expert a token this is what a plain all-to-all sends).
    """
    others = np.maximum(nodes, 1.0) - 1.0
    return np.asarray(others * (1.0 - (others / (others + 1.0)) ** active))


def _replica_messages(
    table: Table, layout: Layout, local_parameters: FloatArray, trained_share: FloatArray, backward_share: FloatArray
) -> dict[str, FloatArray]:
    """Bytes between copies of the model, and of the optimizer, per step."""
    sharded, hybrid = table.among("sharding", SHARDS_WEIGHTS), table.among("sharding", ("hsdp",))
    replicas = layout.data * layout.context
    ranks_in_node = replicas_in_node(replicas, layout.tensor, layout.node)
    holders = state_holders(table, replicas, ranks_in_node)
    trained = local_parameters * trained_share
    gradients = trained * np.where(table.among("precision", ("fp32", "tf32")), 4.0, 2.0)
    across = (replicas * layout.tensor > layout.node) & (table["count"] > domain(table))
    # Sharded weights are gathered forward and backward, and gradients scattered, for every micro-batch anew, among the
    # ranks that hold one copy: where these are several groups, each rank reduces its shard with other groups' once a
    # step (of PyTorch's FSDP2: set_requires_all_reduce).
    in_groups = sharded & (hybrid | (holders < replicas))
    in_node = in_groups & (holders * layout.tensor <= layout.node)
    gathered = layout.micro_batches * _ring(holders) * (gradients + 2.0 * local_parameters * MESSAGE_BYTES)
    reduced = 2.0 * _ring(replicas / holders) * gradients / holders
    # A shard is reduced over its rank's own link, what is gathered passes by all links of the node.
    links = np.where(in_node, 1.0, ranks_in_node)
    across_groups = np.where(in_node, 0.0, gathered) + np.where(in_groups, links * reduced, 0.0)
    rounds = np.where(sharded, filled(table["layers"], 0.0) * layout.micro_batches, 1.0)
    states = trained / np.where(shares_optimizer(table), holders, 1.0)
    optimizer_bytes = table.mapped("optimizer", OPTIMIZER_BYTES, 28.0)
    offload_bytes = table.mapped("offload", OFFLOAD_BYTES, 0.0)
    return {
        "gradient_bytes": np.where(sharded, across_groups, 2.0 * gradients * _ring(replicas)),
        "gradient_messages": np.where(replicas > 1, 2.0 * np.log2(np.maximum(replicas, 2.0)) * rounds, 0.0),
        "data_inter": np.where(across, table["inter_gbs"] * 1e9 / layout.ranks * links, np.inf),
        "node_bytes": np.where(in_node, gathered, 0.0),
        # Of a micro-batch's work, what traffic may overlap with: all of all micro-batches, or the last backward pass.
        "overlappable": np.where(sharded, layout.micro_batches, backward_share),
        "optimizer_bytes": np.where(table.among("mode", ("fwd_bwd",)), 0.0, states * optimizer_bytes),
        "offload_bytes": states * offload_bytes,
    }


@once_a_table
def recomputed_share(table: Table) -> FloatArray:
    """Share of the layers whose forward pass is run again in the backward pass, shape (n,)."""
    share = clipped(filled(table["recompute_share"], 1.0), 0.0, 1.0)
    result: FloatArray = np.where(table.among("recompute", ("full",)), share, 0.0)
    return result


def stage_layers(layers: FloatArray, pipeline: FloatArray) -> FloatArray:
    """Layers of the fullest pipeline stage, shape (n,)."""
    return np.asarray(np.ceil(layers / pipeline - 1e-9))


def _ring(ranks: FloatArray) -> FloatArray:
    """Share of a message that each of so many ranks sends on when it is gathered or scattered, shape (n,)."""
    return np.where(ranks > 1, (ranks - 1) / np.maximum(ranks, 1.0), 0.0)


def _surroundings(table: Table, work: operations.Work, layout: Layout) -> dict[str, FloatArray]:
    """What surrounds the step: input pipeline, host, and how many may be late."""
    node = domain(table)
    pictured = ~table.among("family", ("speech",)) & (table["image_size"] > 0)
    image = np.where(pictured, table["image_size"], REFERENCE_IMAGE)
    # Decoding cost grows with pixels; token sequences and records are cheap to read.
    language = table.among("family", operations.TRANSFORMER_FAMILIES)
    sequences = language | table.among("family", ("rnn",))
    records = table.among("family", ("recommender", "gnn"))
    units = np.where(sequences, 0.02, np.where(records, 1e-3, (image / REFERENCE_IMAGE) ** 2))
    timed_alone = table.among("mode", ("fwd_bwd",))  # forward and backward pass of a batch that lies ready
    units = np.where(table.among("data_input", ("synthetic",)) | timed_alone, 0.0, units)
    samples = layout.micro_batches * layout.micro_batch / (layout.tensor * layout.pipeline * layout.context)
    together = clipped(table["count"], 1.0, node)
    return {
        "input_units": units * samples,
        "log_nodes": np.log2(np.maximum(table["count"] / node, 1.0)) + 0.3 * np.log2(together),
        "global_batch": layout.global_batch,
        # The optimizer is dispatched tensor by tensor: of those a model has as many as kernels.
        # What each image of a batch launches besides is among the launches; a bare layer is timed without a host.
        "host_units": np.where(
            timed_alone & (table["layers"] == 1.0),
            0.0,
            clipped(work.kernels / np.where(language, HOST_TRANSFORMER_KERNELS, HOST_KERNELS), 0.01, MOST_HOST_UNITS),
        )
        * _turns(table)
        * _eager_share(table),
    }
