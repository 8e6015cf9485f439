"""Degrees, batches, sharding and recomputation: of runs that happened, and chosen for runs that are to happen."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from threading import Lock

from cachetools import LRUCache

from service.catalog.parts import Parts
from service.catalog.resolution import LAYOUT_FIELDS, Assumption, Flat, Items, Part, Resolved, Values, number
from service.engine import layout as layouts
from service.engine.judge import Judge, prior_judge
from service.engine.layout import Flaw
from service.engine.layout_space import LEAST_TOKENS_OF_RANK, SPLITTING, batch_follows
from service.engine.memory import USABLE_SHARE
from service.engine.operations import TRANSFORMER_FAMILIES
from service.engine.search import HEAD_ROOM, Candidate, search

# Samples per accelerator where nobody states a batch. Judgement; listed as an assumption wherever it is used.
TYPICAL_BATCH = {
    "cnn": 128.0,
    "vit": 64.0,
    "rnn": 128.0,
    "diffusion": 8.0,
    "detection": 8.0,
    "segmentation": 4.0,
    "speech": 32.0,
    "recommender": 65536.0,
    "gnn": 64.0,
    "encoder": 16.0,
    "decoder": 4.0,
    "moe": 2.0,
    "encoder_decoder": 16.0,
}


# Tokens of a micro-batch where nobody says: medians of the measured rows of 5e9 parameters and more that do say,
# without (n = 733) and with a pipeline (n = 686), whose bubble shrinks with the micro-batch.
TOKENS_PER_MICRO_BATCH = 8192.0
TOKENS_PER_PIPELINED_MICRO_BATCH = 4096.0


# Micro-batches that a pipeline takes a step for each of its stages where nobody states a batch: median of the 701
# measured language rows that do, 16 up to 64 accelerators and 11 beyond. Without a pipeline the median is one.
MICRO_BATCHES_PER_STAGE = 16.0


# NVIDIA's own recipes interleave: of the 367 measured rows of these frameworks that have a pipeline and say how many
# chunks a stage has, all but ten have several, of two layers in the median.
INTERLEAVING_FRAMEWORKS = ("nemo", "megatron-bridge")
LAYERS_PER_CHUNK = 2.0


def measured_layout(values: Values) -> None:
    """Degrees and batches of a run that happened, from what its source states."""
    count = float(values["count"])
    family = str(values["family"])
    language = family in TRANSFORMER_FAMILIES
    if (
        language
        and values.get("data_parallel") is not None
        and "tensor_parallel" not in values
        and "pipeline_parallel" not in values
    ):
        # Replicas stated, degrees not: one copy of the model spans the rest, within a node first.
        span = max(count / max(float(values["data_parallel"]), 1.0), 1.0)
        values["tensor_parallel"] = min(span, max(float(values["per_node"]), 1.0))
        values["pipeline_parallel"] = max(span / float(values["tensor_parallel"]), 1.0)
    tensor, pipeline, context = (number(values, f"{name}_parallel", 1.0) for name in ("tensor", "pipeline", "context"))
    values.update(tensor_parallel=tensor, pipeline_parallel=pipeline, context_parallel=context)
    if pipeline > 1 and "virtual_pipeline" not in values and values["framework"] in INTERLEAVING_FRAMEWORKS:
        values["virtual_pipeline"] = max(number(values, "layers", 0.0) / pipeline / LAYERS_PER_CHUNK, 1.0)
    data = number(values, "data_parallel")
    if not data > 0:
        data = max(count / (tensor * pipeline * context), 1.0)
    if family == "moe" and "expert_parallel" not in values and number(values, "experts") > 1:
        # All-to-all is kept within the fast link where nobody says otherwise, unless experts must be spread further.
        reach = max(number(values, "domain", 8.0) // tensor, 1.0)
        states = layouts.STATE_BYTES_PER_PARAMETER * number(values, "parameters", 0.0) / (tensor * pipeline * reach)
        if states > 1e9 * number(values, "memory_gb", math.inf):
            reach = data
        values["expert_parallel"] = max(1.0, min(number(values, "experts"), data, reach))
    stated_batch = number(values, "global_batch")
    if language and 0 < stated_batch < data and context == 1 and count > 1:
        # Fewer samples than replicas: the rest of the accelerators can only share sequences.
        values["context_parallel"] = context = data / stated_batch
        data = stated_batch
    values["data_parallel"] = data
    micro, batch = number(values, "micro_batch"), number(values, "global_batch")
    accumulation = number(values, "gradient_accumulation")
    if not (batch > 0 or micro > 0 or accumulation > 0) and language and values["mode"] == "pretrain":
        batch = _assumed_batch(values, (), count, language, "pretrain")
    if not batch > 0:
        micro = micro if micro > 0 else _typical_batch(values, family, language)
        usual = MICRO_BATCHES_PER_STAGE * pipeline if pipeline > 1 else 1.0
        batch = micro * data * (accumulation if accumulation > 0 else usual)
    elif not micro > 0:
        share = batch / data
        if accumulation > 0:
            micro = share / accumulation
        elif language and number(values, "sequence_length") > 0:
            usual = TOKENS_PER_PIPELINED_MICRO_BATCH if pipeline > 1 else TOKENS_PER_MICRO_BATCH
            filling = share / (MICRO_BATCHES_PER_STAGE * pipeline) if pipeline > 1 else share
            micro = min(share, max(1.0, min(usual / float(values["sequence_length"]), filling)))
        else:
            micro = share
    values["micro_batch"], values["global_batch"] = micro, batch
    values.setdefault("sharding", "")
    values.setdefault("recompute", "")


def searched_by_its_runners(run: Parts) -> bool:
    """Whether a run that happened is taken to have had the quickest layout, as one that is to happen is.

    So are language models over several nodes whose states no accelerator holds alone, where all that is stated is the
    batch: gathering weights between nodes for every micro-batch is what nobody does who has a choice.
    """
    model, machine = run.work.values, run.hardware.values
    if model["family"] not in TRANSFORMER_FAMILIES or float(machine["count"]) <= number(machine, "domain", 8.0):
        return False
    stated = stated_layout(dict(run.training.stated))
    states = layouts.STATE_BYTES_PER_PARAMETER * number(model, "parameters", 0.0)
    return (
        "global_batch" in stated
        and stated <= {"global_batch", "micro_batch", "recompute", "offload"}
        and states > 1e9 * number(machine, "memory_gb", math.inf)
    )


def _typical_batch(values: Values, family: str, language: bool) -> float:
    """Samples per accelerator of a run whose source states no batch; texts are batched by their tokens."""
    length = number(values, "sequence_length")
    if language and length > 0:
        return max(1.0, TOKENS_PER_MICRO_BATCH / length)
    return TYPICAL_BATCH.get(family, 32.0)


# Parameters up to which so many tokens a step are usual: GPT-3 used 0.5 million for its small models, 2 for 6.7B and
# 3.2 for 175B (Brown et al. 2020, arXiv 2005.14165, table 2.1), later models of that size 4 and more.
TOKENS_PER_STEP = ((1e9, 5e5), (2e10, 2e6), (math.inf, 4e6))


# What a search chooses, in the order that it is told.
CHOSEN_FIELDS = (
    "tensor_parallel",
    "pipeline_parallel",
    "virtual_pipeline",
    "context_parallel",
    "data_parallel",
    "expert_parallel",
    "micro_batch",
    "gradient_accumulation",
    "sharding",
    "recompute",
    "recompute_share",
)


# Of these, how replicas share their states is all of a layout, unless degrees are stated besides.
PLAIN_REPLICAS = (
    "pytorch", "deepspeed", "transformers", "accelerate", "lightning", "peft", "ms-swift", "litgpt", "llm-foundry",
)  # fmt: skip

# By what layouts are chosen where no calibration is at hand.
PRIORS = prior_judge()

# Sweeps, batches and whoever changes a price ask for the same layout again and again.
_CHOSEN: LRUCache[tuple[Judge, Parts], Part] = LRUCache(4096)
_LOCK = Lock()


def chosen_layouts(runs: Iterable[Parts], judge: Judge) -> dict[Parts, Part]:
    """Degrees, batch, sharding and recomputation of runs that are to happen; flaws where there are none.

    Those that leave the same open are searched as one table, and those that were searched lately not again.
    """
    asked = dict.fromkeys(runs)
    with _LOCK:
        known = {run: _CHOSEN[judge, run] for run in asked if (judge, run) in _CHOSEN}
    new = {run: _open_layout(run) for run in asked if run not in known}
    alike: dict[tuple[frozenset[str], bool, object, str], list[Parts]] = {}
    for run, (values, stated, _) in new.items():
        language = values["family"] in TRANSFORMER_FAMILIES
        policy = values.get("recompute") if "recompute" in stated else None
        # Nobody keeps the optimizer elsewhere unasked.
        alike.setdefault((stated, language, policy, str(values["offload"])), []).append(run)
    for (stated, _, _, offload), together in alike.items():
        rows = [new[run][0] for run in together]
        found = search(rows, stated, judge, offloads=(offload,), head_room=_head_room(stated)).candidates
        for run, candidates in zip(together, found, strict=True):
            values, _, batch = new[run]
            known[run] = _laid_out(run.training.stated, values, next(iter(candidates), None), batch)
    with _LOCK:
        _CHOSEN.update({(judge, run): known[run] for run in asked})
    return known


def _head_room(stated: Collection[str]) -> float:
    """The share of the memory that a run may be predicted to fill, by what is stated of its layout.

    Who says how many samples are computed at once has tried it: of the measured runs that say so and recompute nothing,
    half are predicted to fill more than 0.8 of the memory.
    """
    return USABLE_SHARE if "micro_batch" in stated else HEAD_ROOM


def _open_layout(run: Parts) -> tuple[Values, frozenset[str], Sequence[Assumption]]:
    """A run with its batch: its engine values, the fields of its layout that are fixed then, and what was assumed."""
    opened = Resolved(run.values())
    return opened.values, assume_batch(dict(run.training.stated), opened), opened.assumptions


def stated_layout(flat: Flat) -> frozenset[str]:
    """Engine names of the layout's fields that the caller fixed."""
    return frozenset(name for name in LAYOUT_FIELDS if flat.get(f"training.{name}") is not None)


def assume_batch(flat: Flat, resolved: Resolved) -> frozenset[str]:
    """Fills in the global batch where nobody states one; the fields of the layout that are fixed then.

    One that follows from the replicas isn't: what is filled in then is that of the most replicas there could be.
    """
    values, stated = resolved.values, stated_layout(flat)
    language = str(values["family"]) in TRANSFORMER_FAMILIES
    shares = "sharding" in stated and values["sharding"] != "none" and stated.isdisjoint((*SPLITTING, "data_parallel"))
    if language and shares and values["framework"] in PLAIN_REPLICAS:
        values |= dict.fromkeys(SPLITTING, 1.0)
        stated |= set(SPLITTING)
    if "global_batch" not in stated:
        values["global_batch"] = _assumed_batch(values, stated, float(values["count"]), language, str(values["mode"]))
        resolved.assumptions.append(
            Assumption("training.global_batch", values["global_batch"], _batch_reason(stated, language))
        )
    return stated if batch_follows(stated, language=language) else stated | {"global_batch"}


def _laid_out(given: Items, values: Values, best: Candidate | None, batch: Sequence[Assumption]) -> Part:
    """A run as the search found best, and what was chosen of it; `values` are those of the run with its batch."""
    stated = stated_layout(dict(given))
    family = str(values["family"])
    if best is None:
        return Part(given, {}, flaws=_of_training(layouts.flaws(_with_defaults(values))) or [_undivided(values)])
    values |= best.layout
    flaws = layouts.flaws(values)
    if flaws:
        return Part(given, {}, flaws=_of_training(flaws))
    # One accelerator may be several ranks.
    ranks = max(float(values["count"]), math.prod(float(values[name]) for name in (*SPLITTING, "data_parallel")))
    batch_size, replicas = float(values["global_batch"]), float(values["data_parallel"])
    steps = batch_size / (replicas * float(values["micro_batch"]))
    reason = (
        "quickest layout that fits in memory" if best.fits else "quickest of the layouts that need the least memory"
    )
    uneven = not math.isclose(steps, round(steps), rel_tol=1e-9)
    if uneven:
        even = max(round(batch_size / replicas), 1) * replicas
        reason += (
            f"; the batch doesn't divide by the replicas, so that some do more and the others wait: {even:g} would"
        )
    assumptions = [
        replace(made, value=values["global_batch"]) if made.field == "training.global_batch" else made for made in batch
    ]
    for name in CHOSEN_FIELDS:
        if name not in values:
            continue
        # One is told where it might have been more, so that all that is told makes the same run.
        trivial = values[name] == 1.0 and (
            (name == "virtual_pipeline" and float(values["pipeline_parallel"]) == 1)
            or (name == "context_parallel" and not number(values, "sequence_length", 0.0) >= 2 * LEAST_TOKENS_OF_RANK)
        )
        trivial = trivial or (name == "expert_parallel" and family != "moe")
        # How often is accumulated follows from the rest, but for replicas that have more than others.
        trivial = trivial or (name == "gradient_accumulation" and not uneven)
        if (
            name not in stated
            and not trivial
            and (ranks > 1 or name in ("micro_batch", "gradient_accumulation", "recompute", "recompute_share"))
        ):
            why = "no more layers than have to be for the rest to fit" if name == "recompute_share" else reason
            assumptions.append(Assumption(f"training.{name}", values[name], why))
    return Part(given, dict(best.layout), assumptions, fits=best.fits)


def _of_training(flaws: Sequence[Flaw]) -> list[Flaw]:
    return [replace(flaw, field=f"training.{flaw.field}") for flaw in flaws]


def _undivided(values: Values) -> Flaw:
    return Flaw(
        "training",
        f"no layout divides {values['count']:g} accelerators and a global batch of {values['global_batch']:g} evenly",
        "leave the degrees out, or give ones that multiply to a divisor of the accelerator count, and a global_batch "
        "that is a multiple of what that leaves",
    )


def _with_defaults(values: Values) -> Values:
    filled = dict(values)
    for name in ("tensor_parallel", "pipeline_parallel", "context_parallel"):
        filled.setdefault(name, 1.0)
    model = float(filled["tensor_parallel"]) * float(filled["pipeline_parallel"]) * float(filled["context_parallel"])
    filled.setdefault("data_parallel", max(float(filled["count"]), 1.0) / model)
    steps = float(filled["data_parallel"]) * max(number(filled, "gradient_accumulation", 1.0), 1.0)
    accumulated = max(math.ceil(number(filled, "global_batch", 1.0) / steps - 1e-9), 1.0)
    filled.setdefault("micro_batch", accumulated if "gradient_accumulation" in filled else 1.0)
    return filled


def _assumed_batch(values: Values, stated: Collection[str], count: float, language: bool, mode: str) -> float:
    model = math.prod(
        number(values, name, 1.0) for name in ("tensor_parallel", "pipeline_parallel", "context_parallel")
    )
    data = number(values, "data_parallel", 1.0) if "data_parallel" in stated else max(count / model, 1.0)
    accumulated = number(values, "gradient_accumulation", 1.0)
    if "micro_batch" in stated:
        stages = number(values, "pipeline_parallel", 1.0)
        filling = MICRO_BATCHES_PER_STAGE * stages if stages > 1 and "gradient_accumulation" not in stated else 1.0
        return float(values["micro_batch"]) * data * max(accumulated, filling)
    if not language:
        return _accumulating(TYPICAL_BATCH.get(str(values["family"]), 32.0), accumulated) * max(count, 1.0)
    length = number(values, "sequence_length", 2048.0)
    if mode in ("finetune", "lora", "qlora", "frozen", "fwd_bwd") or values["family"] == "encoder":
        per_rank = max(1.0, 2.0 ** round(math.log2(max(TOKENS_PER_MICRO_BATCH / length, 1.0))))
        return _accumulating(per_rank, accumulated) * data
    parameters = number(values, "parameters", 1e9)
    tokens = next(tokens for limit, tokens in TOKENS_PER_STEP if parameters <= limit)
    per_rank = max(1.0, 2.0 ** round(math.log2(max(tokens / length / data, 1.0))))
    return _accumulating(per_rank, accumulated) * data


def _accumulating(samples: float, steps: float) -> float:
    """About so many samples of a replica, in as many micro-batches as are stated."""
    return steps * max(round(samples / steps), 1.0)


def _batch_reason(stated: Collection[str], language: bool) -> str:
    if "micro_batch" in stated or (language and "gradient_accumulation" in stated):
        return "micro-batch x data-parallel ranks x accumulation, or what fills a pipeline"
    return "usual tokens per step for the model's size" if language else "usual samples per accelerator for the family"
