"""Parallel layouts: which can run, what is usual, and which of the possible ones to take when none is given."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from service.engine.coefficients import COEFFICIENTS
from service.engine.memory import USABLE_SHARE, prior_peak_gb
from service.engine.operations import TRANSFORMER_FAMILIES
from service.engine.step_inputs import prepare
from service.engine.step_time import log_seconds_per_sample
from service.engine.table import Table

Row = Mapping[str, float | str]
HEAD_ROOM = 0.75
MICRO_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


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
    for wanted, possible in (("zero1", np.ones(len(table), dtype=bool)), ("fsdp", table["pipeline_parallel"] <= 1)):
        needs = shareable & possible & (prior_peak_gb(plain.replace(sharding=sharding)) > room)
        sharding = np.where(needs, wanted, sharding).astype(object)
    recompute = np.where(open_policy, "none", policy)
    for more, limit in (("selective", room), ("full", FULL_BEYOND * room)):
        kept = plain.replace(sharding=sharding, recompute=recompute.astype(object))
        recompute = np.where(open_policy & language & (prior_peak_gb(kept) > limit), more, recompute)
    return plain.replace(sharding=sharding, recompute=recompute.astype(object))


def flaws(row: Row) -> list[Flaw]:
    """What keeps one fully stated layout from running; an empty list if nothing does.

    Checked: degrees multiply to the accelerator count; pipeline stages divide the layers; tensor ranks divide the
    attention heads; micro-batches divide the global batch; expert ranks divide the experts.
    """
    found: list[Flaw] = []
    count = _number(row, "count", 1.0)
    tensor, pipeline = _number(row, "tensor_parallel", 1.0), _number(row, "pipeline_parallel", 1.0)
    context, data = _number(row, "context_parallel", 1.0), _number(row, "data_parallel", 1.0)
    product = tensor * pipeline * context * data
    if count >= 1 and not math.isclose(product, count):
        model = tensor * pipeline * context
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
    layers, heads = _number(row, "layers", math.nan), _number(row, "attention_heads", math.nan)
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
    experts, expert = _number(row, "experts", math.nan), _number(row, "expert_parallel", 1.0)
    if expert > 1 and experts > 0 and not math.isclose(experts % expert, 0.0):
        found.append(
            Flaw(
                "expert_parallel",
                f"{experts:g} experts can't be split over {expert:g} ranks",
                f"use a divisor of {experts:g}: {_divisors(experts)}",
            )
        )
    batch, micro = _number(row, "global_batch", math.nan), _number(row, "micro_batch", math.nan)
    if batch > 0 and micro > 0 and data > 0:
        share = batch / (data * micro)
        if share < 1.0 - 1e-9 or not math.isclose(share, round(share), rel_tol=1e-9):
            fitting = max(1.0, round(share)) * data * micro
            found.append(
                Flaw(
                    "global_batch",
                    f"global_batch {batch:g} is not a multiple of data_parallel x micro_batch = {data:g} x {micro:g}",
                    f"nearest that works: global_batch {fitting:g}, or leave micro_batch out",
                )
            )
    return found


def candidates(row: Row, fixed: Iterable[str]) -> list[dict[str, float | str]]:
    """Layouts that divide evenly, given what is `fixed` (engine names of fields the caller stated), as full rows."""
    stated = set(fixed)
    count = _number(row, "count", 1.0)
    family = str(row.get("family", ""))
    language = family in TRANSFORMER_FAMILIES
    per_node = max(_number(row, "per_node", 8.0), 1.0)
    layers, heads = _number(row, "layers", math.nan), _number(row, "attention_heads", math.nan)
    experts = _number(row, "experts", math.nan)
    batch = _number(row, "global_batch", math.nan)

    def options(name: str, values: Iterable[float]) -> list[float]:
        return [_number(row, name, 1.0)] if name in stated else list(values)

    powers = [float(2**k) for k in range(17)]
    tensors = options(
        "tensor_parallel",
        [t for t in powers if language and t <= min(per_node, count, 16.0) and (not heads > 0 or heads % t == 0)]
        or [1.0],
    )
    pipelines = options(
        "pipeline_parallel",
        [
            p
            for p in powers
            if language and p <= count and (p == 1.0 or (layers > 0 and p <= layers / 2 and layers % p == 0))
        ]
        or [1.0],
    )
    contexts = options("context_parallel", [1.0])
    rows: list[dict[str, float | str]] = []
    for tensor in tensors:
        for pipeline in pipelines:
            for context in contexts:
                model = tensor * pipeline * context
                data = _number(row, "data_parallel", 1.0) if "data_parallel" in stated else count / model
                if count >= 1 and (data < 1 or not math.isclose(data, round(data), rel_tol=1e-9)):
                    continue
                if batch > 0 and data > batch:
                    continue
                micro_batches = _micro_batches(row, stated, batch, data, language)
                expert_options = options(
                    "expert_parallel",
                    [
                        e
                        for e in powers
                        if experts > 0 and e <= min(experts, data, 64.0) and experts % e == 0 and data % e == 0
                    ]
                    or [1.0],
                )
                shardings = (
                    [str(row["sharding"])] if "sharding" in stated else _shardings(language, data, pipeline, tensor)
                )
                policies = (
                    [str(row["recompute"])] if "recompute" in stated else (["none", "full"] if language else ["none"])
                )
                rows.extend(
                    {
                        **row,
                        "tensor_parallel": tensor,
                        "pipeline_parallel": pipeline,
                        "context_parallel": context,
                        "data_parallel": data,
                        "expert_parallel": expert,
                        "micro_batch": micro,
                        "sharding": sharding,
                        "recompute": policy,
                    }
                    for micro, expert, sharding, policy in itertools.product(
                        micro_batches, expert_options, shardings, policies
                    )
                )
    return rows


def choose(row: Row, fixed: Iterable[str]) -> tuple[dict[str, float | str], bool]:
    """The quickest layout that fits, by the mechanics with prior coefficients; (full row, whether it fits).

    Where none fits, the one that needs the least memory. Raises ValueError where no layout divides evenly.
    """
    rows = candidates(row, fixed)
    if not rows:
        raise ValueError("no layout divides evenly")
    if len(rows) == 1:
        table = Table.from_rows(rows)
        peak = prior_peak_gb(table)
        return rows[0], bool(peak[0] <= USABLE_SHARE * table["memory_gb"][0])
    table = Table.from_rows(rows)
    peak = prior_peak_gb(table)
    means = np.array([coefficient.prior_mean for coefficient in COEFFICIENTS])
    seconds = log_seconds_per_sample(prepare(table), np.broadcast_to(means, (len(table), len(means))))
    room = np.nan_to_num(table["memory_gb"], nan=np.inf)
    # Head-room, since peaks are predicted within a quarter or so: a layout chosen for somebody else must not sit on
    # the edge.
    fits = peak <= HEAD_ROOM * room
    if fits.any():
        return rows[int(np.argmin(np.where(fits, seconds, np.inf)))], True
    best = int(np.argmin(peak))
    return rows[best], bool(peak[best] <= USABLE_SHARE * room[best])


def _micro_batches(row: Row, stated: set[str], batch: float, data: float, language: bool) -> list[float]:
    if "micro_batch" in stated:
        return [_number(row, "micro_batch", 1.0)]
    if not batch > 0:
        return [1.0]
    share = batch / data
    if "gradient_accumulation" in stated:
        return [max(share / max(_number(row, "gradient_accumulation", 1.0), 1.0), 1e-6)]
    if not language:
        # Vision and speech rarely accumulate: the largest even split that fits is the whole share.
        # Where the batch doesn't divide, some replicas have a sample more.
        return [float(math.ceil(share / k - 1e-9)) for k in (1, 2, 4, 8, 16) if share / k >= 1 or k == 1]
    options = [float(m) for m in MICRO_BATCHES[:7] if m <= share]
    even = [m for m in options if math.isclose(share % m, 0.0, abs_tol=1e-9)]
    return even or options or [1.0]


def _shardings(language: bool, data: float, pipeline: float, tensor: float) -> list[str]:
    if data <= 1:
        return ["none"]
    if not language:
        return ["ddp"]
    if pipeline > 1:
        return ["zero1"]
    return ["zero1", "fsdp"] if tensor <= 8 else ["zero1"]


def _divisors(number: float) -> str:
    whole = int(number)
    return ", ".join(str(k) for k in range(1, min(whole, 64) + 1) if whole % k == 0)


def _number(row: Row, name: str, default: float) -> float:
    value = row.get(name, math.nan)
    number = float(value) if not isinstance(value, str) else math.nan
    return default if math.isnan(number) else number
