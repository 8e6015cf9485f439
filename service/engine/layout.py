"""Parallel layouts as stated: why one can't run, and what measured runs that don't say are taken to have done."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from service.engine.layout_space import SPLITTING, Row, number, ranks
from service.engine.memory import prior_peak_gb
from service.engine.operations import TRANSFORMER_FAMILIES
from service.engine.table import BoolArray, FloatArray, Table


@dataclass(frozen=True)
class Flaw:
    """Why something can't run: the field at fault, what is wrong, and what would work."""

    field: str
    message: str
    hint: str


# Judgement: held out, whole layers assumed wherever memory is short (1.1 x) made such rows 30 % too slow; 1.5 and 3
# score alike.
FULL_BEYOND = 1.5
STATE_BYTES_PER_PARAMETER = 16.0  # fp32 weight, gradient and two moments (ZeRO, arXiv 1910.02054, section 3.1)


def assumed(table: Table) -> Table:
    """A table of measured runs with the sharding and recomputation that nobody stated filled in.

    A run that happened fitted its memory: replicas are taken to be plain unless only sharding makes them fit, and
    activations to be kept unless only recomputation does.
    """
    sharding, policy = table.text("sharding").copy(), table.text("recompute").copy()
    room = 1.1 * table["memory_gb"]
    replicated = table["data_parallel"] > 1
    language = np.isin(table.text("family").astype(str), list(TRANSFORMER_FAMILIES))
    open_sharding, open_policy = sharding == "", policy == ""
    # Sharing out states helps only where they are what doesn't fit.
    stateful = language | (STATE_BYTES_PER_PARAMETER * np.nan_to_num(table["parameters"]) > 0.5 * room * 1e9)
    shareable = open_sharding & replicated & stateful
    plain = table.replace(
        sharding=np.where(open_sharding, np.where(replicated, "ddp", "none"), sharding).astype(object),
        recompute=np.where(open_policy, np.where(language, "full", "none"), policy).astype(object),
    )
    if not len(table):
        return plain
    # Pipelines go with a sharded optimizer; gathering weights anew for every micro-batch would drown them.
    sharding = plain.text("sharding")
    # Megatron calls replicas plain (DDP, as opposed to FSDP) whether or not they share out the optimizer's states.
    called_plain = (sharding == "ddp") & replicated & language
    unpiped = table["pipeline_parallel"] <= 1
    kept = np.where(open_policy, "none", policy).astype(object)
    for wanted, possible, held in (
        ("zero1", shareable | called_plain, kept),
        ("fsdp", shareable & unpiped, plain.text("recompute")),
    ):
        needs = _exceeds(plain.replace(sharding=sharding, recompute=held), possible, room)
        sharding = np.where(needs, wanted, sharding).astype(object)
    recompute = kept
    for more, limit in (("selective", room), ("full", FULL_BEYOND * room)):
        holding = plain.replace(sharding=sharding, recompute=recompute.astype(object))
        recompute = np.where(_exceeds(holding, open_policy & language, limit), more, recompute)
    return plain.replace(sharding=sharding, recompute=recompute.astype(object))


def _exceeds(table: Table, asked: BoolArray, limit_gb: FloatArray) -> BoolArray:
    """Which of the rows asked for need more memory than the limit, GB; shapes (n,)."""
    result = np.zeros(len(table), dtype=bool)
    rows = np.flatnonzero(asked)
    if len(rows):
        result[rows] = prior_peak_gb(table.take(rows)) > limit_gb[rows]
    return result


def _beyond(row: Row) -> Flaw | None:
    """What a layout lacks accelerators for: one degree by itself, or what one copy of the model is split over."""
    each = ranks(row)[-1]
    count = number(row, "count", 1.0) * each
    there_are = f"{count:g} {'accelerators' if each == 1 else 'cores on the accelerators'} of hardware.count"
    degrees = {name: number(row, name, 1.0) for name in (*SPLITTING, "data_parallel")}
    name = max(degrees, key=lambda name: degrees[name])
    hint = f"give at most {count:g}, or more accelerators (hardware.count)"
    if degrees[name] > count * (1.0 + 1e-9):
        return Flaw(name, f"{name} = {degrees[name]:g} is more than the {there_are}", hint)
    tensor, pipeline, context = (degrees[name] for name in SPLITTING)
    model = tensor * pipeline * context
    if not model > count * (1.0 + 1e-9):
        return None
    return Flaw(
        max(SPLITTING, key=lambda name: degrees[name]),
        f"one copy of the model takes tensor x pipeline x context parallel = {tensor:g} x {pipeline:g} x {context:g} = "
        f"{model:g} accelerators, more than the {there_are}",
        hint.replace("give at most", "give degrees that multiply to at most"),
    )


def flaws(row: Row) -> list[Flaw]:
    """What keeps one fully stated layout from running; an empty list if nothing does.

    Checked: degrees are no more than the accelerators, and multiply to their count; pipeline stages divide the layers;
    tensor ranks divide the attention heads; micro-batches divide the global batch, or are as many as are accumulated;
    expert ranks divide the experts.
    """
    found: list[Flaw] = []
    count = number(row, "count", 1.0)
    tensor, pipeline = number(row, "tensor_parallel", 1.0), number(row, "pipeline_parallel", 1.0)
    context, data = number(row, "context_parallel", 1.0), number(row, "data_parallel", 1.0)
    product, model = tensor * pipeline * context * data, tensor * pipeline * context
    too_many = _beyond(row) if count >= 1 else None
    if too_many is not None:
        found.append(too_many)
    elif count >= 1 and not any(math.isclose(product, count * each) for each in ranks(row)):
        hint = (
            f"with {model:g} accelerators a model copy, data_parallel = {count / model:g} uses all {count:g}"
            if math.isclose(count % model, 0.0)
            else f"choose a count that is a multiple of {model:g}, or degrees that divide {count:g}"
        )
        found.append(
            Flaw(
                "data_parallel",
                f"tensor x pipeline x context x data parallel is {tensor:g} x {pipeline:g} x {context:g} x {data:g} = "
                f"{product:g}, but hardware.count is {count:g}",
                hint,
            )
        )
    layers, heads = number(row, "layers", math.nan), number(row, "attention_heads", math.nan)
    if pipeline > 1 and layers > 0 and pipeline > layers:
        found.append(
            Flaw(
                "pipeline_parallel",
                f"{pipeline:g} pipeline stages for {layers:g} layers leave stages empty",
                f"use a divisor of {layers:g}: {_divisors(layers)}",
            )
        )
    if tensor > 1 and heads > 0 and not math.isclose(heads % tensor, 0.0):
        found.append(
            Flaw(
                "tensor_parallel",
                f"{heads:g} attention heads can't be split over {tensor:g} tensor-parallel ranks",
                f"use a divisor of {heads:g}: {_divisors(heads)}",
            )
        )
    experts, expert = number(row, "experts", math.nan), number(row, "expert_parallel", 1.0)
    if expert > 1 and experts > 0 and not math.isclose(experts % expert, 0.0):
        found.append(
            Flaw(
                "expert_parallel",
                f"{experts:g} experts can't be split over {expert:g} ranks",
                f"use a divisor of {experts:g}: {_divisors(experts)}",
            )
        )
    batch, micro = number(row, "global_batch", math.nan), number(row, "micro_batch", math.nan)
    if model > 1 and too_many is None and not math.isclose(data, round(data), rel_tol=1e-6):
        found.append(
            Flaw(
                max(SPLITTING, key=lambda name: number(row, name, 1.0)),
                f"one copy of the model takes {model:g} accelerators, and these do not divide hardware.count {count:g}",
                f"choose a count that is a multiple of {model:g}, or degrees that divide {count:g}",
            )
        )
    elif batch > 0 and micro > 0 and data > 0 and too_many is None:
        share = batch / (data * micro)
        steps, accumulated = math.ceil(share - 1e-9), number(row, "gradient_accumulation", math.nan)
        if accumulated > 0 and not math.isclose(steps, accumulated):
            found.append(
                Flaw(
                    "gradient_accumulation",
                    f"gradient_accumulation is {accumulated:g}, but global_batch / (data_parallel x micro_batch) is "
                    f"{batch:g} / ({data:g} x {micro:g}) = {share:.4g}",
                    f"give gradient_accumulation = {steps:g}, or global_batch = "
                    f"{max(round(accumulated), 1) * data * micro:g}, or leave one of gradient_accumulation, "
                    "micro_batch and global_batch out",
                )
            )
        elif not accumulated > 0 and (share < 1.0 - 1e-9 or not math.isclose(share, round(share), rel_tol=1e-9)):
            fitting = max(1.0, round(share)) * data * micro
            found.append(
                Flaw(
                    "global_batch",
                    f"global_batch {batch:g} is not a multiple of data_parallel x micro_batch = {data:g} x {micro:g}",
                    f"nearest that works: global_batch {fitting:g}"
                    + (", or leave micro_batch out" if micro > 1 else ", or fewer replicas"),
                )
            )
    return found


def _divisors(number: float) -> str:
    whole = int(number)
    return ", ".join(str(k) for k in range(1, min(whole, 64) + 1) if whole % k == 0)
