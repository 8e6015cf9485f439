"""Which parallel layouts a run could take: every combination of degrees and micro-batch, and why most can't run.

A layout is a tensor, pipeline (with interleaving), context, expert and data degree, a micro-batch, how many of them the
fullest replica takes a step, and the global batch (that of the run, unless it follows from the replicas); how states
are held (sharding, recomputation, offload) comes on top. Counts are of whole configurations, so that what is considered
is what is rejected and what is kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from service.engine.operations import TRANSFORMER_FAMILIES
from service.engine.replicas import SHARDS_WEIGHTS
from service.engine.step_inputs import RANKS
from service.engine.table import BoolArray, FloatArray, IntArray

Row = Mapping[str, float | str]

# Why a layout was put aside, by the name that answers carry.
DOES_NOT_DIVIDE = "accelerators_do_not_divide"
BATCH_TOO_SMALL = "batch_too_small"
BATCH_DOES_NOT_DIVIDE = "batch_does_not_divide"
TOO_FEW_MICRO_BATCHES = "micro_batches_do_not_fill_interleaved_pipeline"
EXPERTS_DO_NOT_DIVIDE = "experts_do_not_divide"

# Of a language model, each or else the largest number of samples above half of it that divides the replica's share.
MICRO_BATCHES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
# Of samples of a few tokens, as sentences are, up to 1,024 more: so many tokens at once fill any chip.
MICRO_BATCHES_OF_SENTENCES = (*MICRO_BATCHES, 128.0, 256.0, 512.0, 1024.0)
SENTENCE_TOKENS = 128.0  # judgement
# Vision and speech rarely accumulate: a replica's whole share of the batch, or as large a part of it as memory holds.
SHARES_OF_BATCH = tuple(2**halvings for halvings in range(13))
MOST_TENSOR = 32  # judgement: beyond it the matrices of today's widths are slivers
# Far beyond what is run; what a caller makes up must not make the search endless.
MOST_STAGES, MOST_EXPERT = 512, 256
# Uneven stages as they are run: 126 layers in 16 stages (Llama Team 2024, arXiv 2407.21783, section 3.3.2) and 61 in 16
# (DeepSeek-AI 2024, arXiv 2412.19437, section 3.1). The fullest stage sets the pace: it holds at most 5 % more.
UNEVEN_STAGES = 1.05
# A split sequence leaves each rank enough tokens to hide the exchange of keys behind attention: as many as in the
# long-context training of arXiv 2407.21783 (table 4: 131,072 tokens over 16 ranks).
LEAST_TOKENS_OF_RANK = 8192.0
MOST_CONTEXT = 64.0
# Where a replica has so many samples, the last of its micro-batches need not be full: with what pads it, an eighth more
# may be computed than there are samples; judgement.
MANY_SAMPLES, MOST_WASTE = 8.0, 1.125
SPLITTING = ("tensor_parallel", "pipeline_parallel", "context_parallel")  # degrees that one copy of a model is split by
TOLERANCE, LEAST_REMAINDER = 1e-5, 1e-8  # what rounding leaves of whole numbers and of remainders

DEGREES = (
    "tensor_parallel",
    "pipeline_parallel",
    "virtual_pipeline",
    "context_parallel",
    "expert_parallel",
    "data_parallel",
    "micro_batch",
    "gradient_accumulation",
    "global_batch",
)
# All of a run that its space depends on.
DIVIDED_BY = (
    *DEGREES,
    "sharding",
    "recompute",
    "family",
    "layers",
    "attention_heads",
    "kv_heads",
    "experts",
    "sequence_length",
    "count",
    "per_node",
    "domain",
)


@dataclass(frozen=True, eq=False)
class Policies:
    """How states are held that a family of layouts may take: those worth trying, and how many there are in all."""

    shardings: tuple[str, ...]
    of_shardings: int  # those that are never better than one tried are counted, not tried
    recompute: tuple[str, ...]  # from none to most

    def count(self, offloads: int) -> int:
        """Configurations of one layout."""
        return self.of_shardings * len(self.recompute) * offloads


@dataclass(frozen=True, eq=False)
class Space:
    """Layouts of one run that divide evenly."""

    columns: dict[str, FloatArray]  # by the names of `DEGREES`, shape (n,)
    replicated: BoolArray  # whether there are replicas to share states out to, shape (n,)
    considered: int
    rejected: Counter[str]

    def __len__(self) -> int:
        return len(self.replicated)


def spaces(rows: Iterable[Row], stated: Collection[str], offloads: int = 1) -> list[Space]:
    """The layouts of each of some runs.

    Args:
        rows: engine values of the runs, `count` and `global_batch` among them.
        stated: engine names of the fields that the caller fixed; those are taken as they are.
        offloads: places of optimizer states that each is counted with.

    Returns: layouts that divide accelerators, layers, heads and experts evenly. A batch that the replicas don't divide
    leaves some a sample more, for which the others wait, unless the micro-batch is stated and its number is not. Runs
    that are divided alike, on chips of another kind or in another precision, share them.
    """
    known: dict[tuple[float | str, ...], Space] = {}
    found = []
    for row in rows:
        divided = {name: row[name] for name in DIVIDED_BY if name in row}
        each = ranks(row)
        key = (*(divided.get(name, "") for name in DIVIDED_BY), *each)
        if key not in known:
            known[key] = _space(divided, stated, offloads, each)
        found.append(known[key])
    return found


def ranks(row: Row) -> tuple[float, ...]:
    """How many ranks degrees of parallelism may count on one accelerator: itself, or what is told apart on it."""
    return RANKS.get(str(row.get("accelerator", "")), (1.0,))


def policies(row: Row, stated: Collection[str], *, piped: bool, replicated: bool) -> Policies:
    """How the layouts of a run with or without a pipeline, and with or without replicas, may hold their states.

    Plain replicas do what `zero1` does and hold more. DeepSpeed's pipelines shard no gradients (its documentation of
    ZeRO), and gathering weights anew for every micro-batch drowns a pipeline.
    """
    language = _is_language(row)
    recompute = ("none", "selective", "full") if language else ("none",)
    if "recompute" in stated:
        recompute = (str(row["recompute"]),)
    if "sharding" in stated:
        return Policies((str(row["sharding"]),), 1, recompute)
    if not replicated:
        return Policies(("none",), 1, recompute)
    if not language:
        return Policies(("ddp",), 1, recompute)
    if piped:
        return Policies(("zero1",), 2, recompute)
    return Policies(("zero1", "zero2", "fsdp", "hsdp"), 5, recompute)


def batch_follows(stated: Collection[str], *, language: bool) -> bool:
    """Whether each number of replicas has a global batch of its own: what one does in a step is fixed, the whole isn't.

    Args:
        stated: engine names of the fields that are fixed.
        language: whether micro-batches are searched; of other models, whose replicas rarely accumulate, they aren't.
    """
    fixed = "micro_batch" in stated or language
    return "global_batch" not in stated and "gradient_accumulation" in stated and fixed


def number(row: Row, name: str, default: float) -> float:
    """A value of a row, or the default where it is unknown."""
    value = row.get(name, math.nan)
    found = float(value) if not isinstance(value, str) else math.nan
    return default if math.isnan(found) else found


def _space(row: Row, stated: Collection[str], offloads: int, each: Sequence[float]) -> Space:
    """The layouts of a run on accelerators of which each may be so many ranks."""
    # A part of an accelerator, one tile of two, is one rank.
    count, batch = max(number(row, "count", 1.0), 1.0), number(row, "global_batch", math.nan)
    pipelines, chunks = _pipelines(row, stated, count)
    experts = _experts(row, stated)
    tensor, stage, context = _mesh(
        _tensors(row, stated, count), np.arange(len(pipelines)), _contexts(row, stated, count)
    )
    pipeline, virtual = pipelines[stage.astype(np.int64)], chunks[stage.astype(np.int64)]
    model = tensor * pipeline * context
    stated_data = number(row, "data_parallel", 1.0) if "data_parallel" in stated else math.nan
    ranked = count * np.array(each)[:, None]
    if stated_data > 0:
        data = np.full_like(model, stated_data)
    else:
        # Who states a degree counts what the framework shows, and so does who has more ranks than accelerators.
        usual = np.roll(ranked, -1, axis=0) if set(SPLITTING) & set(stated) else ranked
        data = usual[np.argmax(usual >= model, axis=0), 0] / model
    rejected: Counter[str] = Counter()
    weight = np.empty(len(model), dtype=np.int64)
    for piped, replicated in product((False, True), repeat=2):
        alike = ((pipeline > 1) == piped) & ((data * context > 1) == replicated)
        weight[alike] = policies(row, stated, piped=piped, replicated=replicated).count(offloads)
    options = _micro_options(row, stated) if batch > 0 else np.ones(1)
    micros = len(options)
    follows = batch > 0 and batch_follows(stated, language=_is_language(row))
    considered = int(weight.sum()) * len(experts) * micros

    def put_aside(reason: str, bad: BoolArray, weights: IntArray, each: int = 1) -> None:
        if bad.any():
            rejected[reason] += int(weights[bad].sum()) * each

    filling = (np.abs(data * model - ranked) <= TOLERANCE * ranked).any(axis=0)
    whole = _is_whole(data) & filling & (data >= 1)
    put_aside(DOES_NOT_DIVIDE, ~whole, weight, len(experts) * micros)
    small = whole & (data > batch) if batch > 0 and not follows else np.zeros_like(whole)
    put_aside(BATCH_TOO_SMALL, small, weight, len(experts) * micros)
    kept = np.flatnonzero(whole & ~small)

    slots, expert, option = _mesh(kept, experts, options)
    chosen = slots.astype(np.int64)
    if follows:
        each_time = np.full(len(chosen), number(row, "micro_batch", 1.0)) if "micro_batch" in stated else option
        share = each_time * number(row, "gradient_accumulation", 1.0)
    else:
        share = batch / data[chosen] if batch > 0 else np.ones(len(chosen))
    micro = _micro_batch(row, stated, share, option)
    even = _is_whole(share / micro) & (share / micro >= 1 - 1e-9)
    fullest = np.ceil(share * (1.0 - TOLERANCE))
    steps = np.ceil(fullest / micro * (1.0 - TOLERANCE))
    # Samples of a replica that has most, those that its last micro-batch is padded with included.
    computed = steps * micro
    uneven = (computed <= fullest) | ((share >= MANY_SAMPLES) & (computed <= MOST_WASTE * share))
    exact = "micro_batch" in stated and "gradient_accumulation" not in stated
    divides = even if exact else even | uneven
    if batch > 0 and "gradient_accumulation" in stated:
        divides &= np.isclose(steps, number(row, "gradient_accumulation", 1.0))
    put_aside(BATCH_DOES_NOT_DIVIDE, ~divides, weight[chosen])
    interleaved = virtual[chosen] > 1
    filled = ~interleaved | ("virtual_pipeline" in stated) | _divides(pipeline[chosen], steps)
    put_aside(TOO_FEW_MICRO_BATCHES, divides & ~filled, weight[chosen])
    spread = _divides(expert, data[chosen]) | ("expert_parallel" in stated)
    put_aside(EXPERTS_DO_NOT_DIVIDE, divides & filled & ~spread, weight[chosen])
    good = divides & filled & spread
    chosen = chosen[good]
    columns = {
        "tensor_parallel": tensor[chosen],
        "pipeline_parallel": pipeline[chosen],
        "virtual_pipeline": virtual[chosen],
        "context_parallel": context[chosen],
        "expert_parallel": expert[good],
        "data_parallel": data[chosen],
        "micro_batch": micro[good],
        "gradient_accumulation": steps[good],
        "global_batch": share[good] * data[chosen] if follows else np.full(len(chosen), batch),
    }
    return Space(columns, columns["data_parallel"] * columns["context_parallel"] > 1, considered, rejected)


def _is_whole(numbers: FloatArray) -> BoolArray:
    """Which are whole numbers but for rounding, shape (n,)."""
    return np.asarray(np.abs(numbers - np.round(numbers)) <= TOLERANCE * numbers)


def _divides(parts: FloatArray, numbers: FloatArray) -> BoolArray:
    """Which parts divide the numbers without remainder, shape (n,)."""
    return np.asarray(np.mod(numbers, parts) < LEAST_REMAINDER)


def _mesh(*axes: Sequence[float] | FloatArray | IntArray) -> list[FloatArray]:
    """Every combination of the axes' values, flattened."""
    return [part.ravel() for part in np.meshgrid(*(np.asarray(axis, np.float64) for axis in axes), indexing="ij")]


def _is_language(row: Row) -> bool:
    return str(row.get("family", "")) in TRANSFORMER_FAMILIES


def _tensors(row: Row, stated: Collection[str], count: float) -> list[float]:
    """Tensor degrees within the fast link that split the heads, and fill nodes or parts of a node."""
    if "tensor_parallel" in stated:
        return [number(row, "tensor_parallel", 1.0)]
    heads, node = number(row, "attention_heads", math.nan), max(number(row, "per_node", 8.0), 1.0)
    if not _is_language(row):
        return [1.0]
    most = min(max(number(row, "domain", node), 1.0), count, MOST_TENSOR)
    if not heads > 0:
        return [float(2**k) for k in range(6) if 2**k <= most] or [1.0]
    keys = number(row, "kv_heads", heads)
    return [
        float(degree)
        for degree in _divisors(int(heads), MOST_TENSOR)
        if degree <= most
        and (node % degree == 0 or degree % node == 0)
        # Each rank has its own key-value heads, or shares one with as many ranks as every other.
        and (keys % degree == 0 or degree % keys == 0)
    ] or [1.0]


def _pipelines(row: Row, stated: Collection[str], count: float) -> tuple[FloatArray, FloatArray]:
    """Pipeline degrees and the model chunks that each stage may hold, pair by pair."""
    layers = number(row, "layers", math.nan)
    chunk_stated = number(row, "virtual_pipeline", 1.0) if "virtual_pipeline" in stated else math.nan
    if "pipeline_parallel" in stated:
        degrees = [number(row, "pipeline_parallel", 1.0)]
    elif "sharding" in stated and str(row["sharding"]) in SHARDS_WEIGHTS:
        degrees = [1.0]
    elif _is_language(row) and layers >= 1:
        degrees = [float(stages) for stages in _stages(int(layers)) if stages <= count]
    else:
        degrees = [1.0]
    pairs = []
    for degree in degrees:
        if chunk_stated > 0:
            chunks = [chunk_stated]
        elif degree > 1 and layers >= 1:
            # A stage that was stated may be uneven: interleaved or not, it holds the layers of its fullest chunk.
            chunks = [float(s // degree) for s in _stages(int(layers)) if s % degree == 0] or [1.0]
        else:
            chunks = [1.0]
        pairs += [(degree, chunk) for chunk in chunks]
    found = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _contexts(row: Row, stated: Collection[str], count: float) -> list[float]:
    if "context_parallel" in stated:
        return [number(row, "context_parallel", 1.0)]
    tokens = number(row, "sequence_length", 0.0) if _is_language(row) else 0.0
    most = min(max(tokens / LEAST_TOKENS_OF_RANK, 1.0), count, MOST_CONTEXT)
    return [float(2**k) for k in range(7) if 2**k <= most] or [1.0]


def _experts(row: Row, stated: Collection[str]) -> list[float]:
    if "expert_parallel" in stated:
        return [number(row, "expert_parallel", 1.0)]
    experts = number(row, "experts", 0.0)
    if not (experts >= 2 and _is_language(row)):
        return [1.0]
    return [float(degree) for degree in _divisors(int(experts), MOST_EXPERT)]


def _micro_options(row: Row, stated: Collection[str]) -> FloatArray:
    """What `_micro_batch` makes micro-batches of: samples, or parts of a replica's share."""
    if "micro_batch" in stated or (
        "gradient_accumulation" in stated and not batch_follows(stated, language=_is_language(row))
    ):
        return np.ones(1)
    if not _is_language(row):
        # A replica's share is halved until a sample is left.
        share = number(row, "global_batch", 1.0) / max(number(row, "count", 1.0), 1.0)
        return np.array([parts for parts in SHARES_OF_BATCH if parts < 2.0 * max(share, 1.0)], dtype=np.float64)
    short = number(row, "sequence_length", math.inf) <= SENTENCE_TOKENS
    return np.array(MICRO_BATCHES_OF_SENTENCES if short else MICRO_BATCHES, dtype=np.float64)


def _micro_batch(row: Row, stated: Collection[str], share: FloatArray, option: FloatArray) -> FloatArray:
    """Samples of a micro-batch by the replica's share of the batch and the option, shape (n,)."""
    if "micro_batch" in stated:
        return np.full_like(share, number(row, "micro_batch", 1.0))
    if "gradient_accumulation" in stated:
        steps = max(number(row, "gradient_accumulation", 1.0), 1.0)
        return np.maximum(np.ceil(share / steps - 1e-9), 1.0)
    if not _is_language(row):
        return np.maximum(np.ceil(share / option - 1e-9), 1.0)
    if not len(share):
        return option
    shares, place = np.unique(share, return_inverse=True)
    sizes, size = np.unique(option, return_inverse=True)
    return np.array([[_dividing(one, most) for most in sizes.tolist()] for one in shares.tolist()])[place, size]


@lru_cache(maxsize=4096)
def _dividing(share: float, most: float) -> float:
    """The largest divisor of a replica's share, or of the next whole number, above half of `most` and up to it; `most`
    if there is none."""
    whole = math.ceil(share - TOLERANCE * share)
    return next((float(part) for part in range(int(most), int(most / 2), -1) if whole % part == 0), most)


@lru_cache(maxsize=1024)
def _divisors(whole: int, most: int) -> tuple[int, ...]:
    return tuple(part for part in range(1, min(whole, most) + 1) if whole % part == 0)


@lru_cache(maxsize=1024)
def _stages(layers: int) -> tuple[int, ...]:
    """Into how many parts the layers may be cut: divisors, and powers of two that come out nearly even."""
    nearly = (2**k for k in range(int(math.log2(min(layers, MOST_STAGES))) + 2))
    uneven = {parts for parts in nearly if math.ceil(layers / parts) * parts <= UNEVEN_STAGES * layers}
    return tuple(sorted(uneven | set(_divisors(layers, MOST_STAGES))))
