"""What is published about running training jobs, as constants: power, failures, checkpoints, start-up, evaluation.

Nothing here is typed in that the facts table states: each constant is a 10th/50th/90th percentile over the published
values, and `sources` says which. What is typed in is how to read a row whose exposure (chips x time) stands in its
context as text, and which catalog chip a context names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from service.engine.distribution import quantiles

Triple = tuple[float, float, float]


class PublishedFact(Protocol):
    """One row of the facts table (`service.catalog.records.Fact`)."""

    @property
    def topic(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def context(self) -> str: ...
    @property
    def source(self) -> str: ...


@dataclass(frozen=True)
class OperatingFacts:
    """Constants of long runs; every triple is (p10, p50, p90).

    Attributes:
        node_power_by_chip: Power of a node at load per accelerator (chip, host, fans, power supply), as a multiple
            of the accelerator's TDP, for the chips whose nodes were metered; keyed by catalog slug.
        node_power: The same for a chip that was not metered.
        accelerator_share: Share of the node's power that the accelerators draw.
        network_power: Power of switches and cables between nodes per accelerator, as a multiple of TDP.
        failures_per_accelerator_hour: Interruptions of a job per accelerator and hour.
        recovery_seconds: From a failure to training again, without what is lost since the last checkpoint.
        checkpoint_seconds: Time that training stands still for one checkpoint.
        longest_checkpoint_interval_hours: Where rare failures would let the interval grow beyond all habit.
        evaluation_share: Share of productive-plus-evaluation time spent in evaluation.
        startup_intercept, startup_slope, startup_spread: ln(seconds from launch to the first step) =
            intercept + slope * ln(accelerators), with this standard deviation.
        sources: Attribute name -> the sources of its values.
    """

    node_power_by_chip: Mapping[str, Triple]
    node_power: Triple
    accelerator_share: float
    network_power: Triple
    failures_per_accelerator_hour: Triple
    recovery_seconds: Triple
    checkpoint_seconds: Triple
    longest_checkpoint_interval_hours: float
    evaluation_share: Triple
    startup_intercept: float
    startup_slope: float
    startup_spread: float
    sources: Mapping[str, tuple[str, ...]]


# How a context names its chip -> the catalog chip that was metered.
METERED_CHIPS: tuple[tuple[str, str], ...] = (
    ("H100", "H100-SXM5-80GB"),
    ("B200", "B200-SXM-180GB"),
    ("V100", "V100-SXM2-32GB"),
    ("P100", "P100-SXM2-16GB"),
    ("TPU v2", "TPU-v2"),
    ("TPU v3", "TPU-v3"),
    ("TPU v4", "TPU-v4"),
)
NODE_POWER_KEYS = frozenset(
    {
        "node_power_per_accelerator",
        "system_power_per_accelerator",
        "system_power_per_accelerator_mean",
        "measured_system_power_per_chip",
        "avg_system_power",
    }
)


@dataclass(frozen=True)
class Exposure:
    """How to turn a published failure count, interval or rate into failures per accelerator-hour.

    `events`: the value counts failures over `accelerator_hours`. `interval_hours`: the value is a mean time between
    failures, in this unit, of a job of `accelerators`. `node_days`: the value is failures per so many node-days.
    """

    key: str
    source: str
    context: str
    accelerators: float
    days: float = 0.0
    unit_hours: float = 0.0
    node_days: float = 0.0


# Chips and days are those that the row's context states; nodes of the RSC clusters have 8 accelerators.
EXPOSURES: tuple[Exposure, ...] = (
    Exposure("unexpected_interruptions", "arXiv:2407.21783", "Llama 3 405B, 54 days", 16384, days=54),
    Exposure("restarts_total", "github:facebookresearch/metaseq", "OPT-175B", 992, days=61),
    Exposure("gpu_failure_interval", "github:bigscience-workshop", "BLOOM-176B", 384, unit_hours=7 * 24),
    Exposure("mttf", "arXiv:2410.21680", "jobs of 1,024", 1024, unit_hours=1),
    Exposure("mttf", "arXiv:2410.21680", "8-GPU jobs", 8, unit_hours=24),
    Exposure("failure_rate", "arXiv:2410.21680", "RSC-1", 8, node_days=1000),
    Exposure("failure_rate", "arXiv:2410.21680", "RSC-2", 8, node_days=1000),
)


def read_operating_facts(facts: Iterable[PublishedFact], tdp_w: Mapping[str, float]) -> OperatingFacts:
    """Read the constants from the facts table.

    Args:
        facts: All rows of the facts table, any topic.
        tdp_w: Thermal design power in watts by catalog slug, of the metered chips at least.

    Raises:
        ValueError: A constant has no row left to stand on.
    """
    rows = list(facts)
    power = [fact for fact in rows if fact.topic == "power"]
    goodput = [fact for fact in rows if fact.topic == "goodput"]
    sources: dict[str, tuple[str, ...]] = {}

    def values(name: str, chosen: Sequence[PublishedFact], scale: float = 1.0) -> list[float]:
        found = [(number * scale, fact.source) for fact in chosen if np.isfinite(number := first_number(fact.value))]
        if not found:
            raise ValueError(f"the facts table has no row for {name}")
        sources[name] = tuple(dict.fromkeys(source for _, source in found))
        return [number for number, _ in found]

    metered = [fact for fact in power if fact.key in NODE_POWER_KEYS and fact.unit.startswith("W")]
    values("node_power", metered)
    by_chip, unmetered = _node_power(metered, tdp_w)
    for name, slug in METERED_CHIPS:
        if slug in by_chip:
            values(f"node_power.{slug}", [fact for fact in metered if fact.context.startswith(name)])

    fabric = [fact for fact in power if fact.key.startswith(("network_power_estimate", "network_switch_power"))]
    values("network_power", fabric)
    hopper_w = tdp_w["H100-SXM5-80GB"]
    network = quantiles([first_number(fact.value) / _accelerators_in(fact.context) / hopper_w for fact in fabric])

    rates = [(rate, exposure.source) for exposure in EXPOSURES if (rate := _failure_rate(exposure, goodput)) > 0]
    sources["failures_per_accelerator_hour"] = tuple(dict.fromkeys(source for _, source in rates))

    # Automated recovery, diagnosis and requeueing by hand, pooled.
    recoveries = [
        *values("recovery_seconds", _keyed(goodput, "incident_resolution_mean")),
        *values("diagnosis", _keyed(goodput, "failure_detection_and_diagnosis_time"), scale=60),
        *values("requeue", _keyed(goodput, "restart_scheduling_time_requeue")),
    ]
    sources["recovery_seconds"] += sources.pop("diagnosis") + sources.pop("requeue")

    stops = [*_keyed(goodput, "checkpoint_time"), *_keyed(goodput, "checkpoint_blocking_time")]
    habit = next(fact for fact in goodput if fact.key == "checkpoint_interval")
    sources["longest_checkpoint_interval_hours"] = (habit.source,)

    # The benchmark whose logs these are evaluates far more often than ordinary pre-training, so its least is the
    # usual here and its median the high end; many runs do not evaluate at all.
    shares = values("evaluation_share", _keyed(goodput, "evaluation_share_of_run"), scale=0.01)

    starts = _keyed(goodput, "startup_time_init_to_run_start")
    seconds = np.log(values("startup", starts))
    chips = np.log([first_number(fact.context) for fact in starts])
    slope, intercept = np.polyfit(chips, seconds, 1)
    drawn = next(fact for fact in power if fact.key == "gpu_share_of_server_power")
    sources["accelerator_share"] = (drawn.source,)
    return OperatingFacts(
        node_power_by_chip=by_chip,
        node_power=unmetered,
        accelerator_share=_fraction(drawn.value),
        network_power=network,
        failures_per_accelerator_hour=quantiles([rate for rate, _ in rates]),
        recovery_seconds=quantiles(recoveries),
        checkpoint_seconds=quantiles(values("checkpoint_seconds", stops)),
        longest_checkpoint_interval_hours=first_number(habit.context.partition("~")[2]),
        evaluation_share=(0.0, min(shares), float(np.median(shares))),
        startup_intercept=float(intercept),
        startup_slope=float(slope),
        startup_spread=float(np.std(seconds - (intercept + slope * chips), ddof=2)),
        sources=sources,
    )


def first_number(text: str) -> float:
    """The first number in a text, thousands separators allowed (`at least 35`, `16,384 H100`); NaN if none."""
    found = re.search(r"\d[\d,]*(?:\.\d+)?", text)
    return float(found.group().replace(",", "")) if found else np.nan


def _keyed(facts: Iterable[PublishedFact], key: str) -> list[PublishedFact]:
    return [fact for fact in facts if fact.key == key]


def _fraction(text: str) -> float:
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)


def _accelerators_in(context: str) -> float:
    """How many accelerators a network's context names: `(512 GPUs)`, `64 nodes x 8 H100`, `8 x XE9680 (64 H100)`."""
    found = re.search(r"\((\d+) (?:GPUs|H100)\)", context)
    if found is None:
        raise ValueError(f"no accelerator count in {context!r}")
    return float(found.group(1))


def _node_power(metered: Iterable[PublishedFact], tdp_w: Mapping[str, float]) -> tuple[dict[str, Triple], Triple]:
    """Metered node power over TDP by chip, and for a chip that was not metered."""
    ratios: dict[str, list[float]] = {}
    for fact in metered:
        slug = next((slug for name, slug in METERED_CHIPS if fact.context.startswith(name)), None)
        if slug is not None and np.isfinite(tdp_w.get(slug, np.nan)):
            ratios.setdefault(slug, []).append(first_number(fact.value) / tdp_w[slug])
    if not ratios:
        raise ValueError("the facts table has no metered node power")
    # The best metered chip tells how much load and workload alone make; a chip with one row has at least that.
    p10, p50, p90 = quantiles(max(ratios.values(), key=len))
    below, above = np.log(p50 / p10), np.log(p90 / p50)
    by_chip: dict[str, Triple] = {}
    for slug, found in ratios.items():
        low, median, high = quantiles(found)
        by_chip[slug] = (min(low, median * np.exp(-below)), median, max(high, median * np.exp(above)))
    low, median, high = quantiles([triple[1] for triple in by_chip.values()])
    spread_below = np.hypot(np.log(median / low), below)
    spread_above = np.hypot(np.log(high / median), above)
    return by_chip, (median * np.exp(-spread_below), median, median * np.exp(spread_above))


def _failure_rate(exposure: Exposure, facts: Iterable[PublishedFact]) -> float:
    """Failures per accelerator-hour from the row that the exposure describes; NaN if the table has no such row."""
    fact = next(
        (
            fact
            for fact in facts
            if fact.key == exposure.key
            and fact.source.startswith(exposure.source)
            and fact.context.startswith(exposure.context)
        ),
        None,
    )
    if fact is None:
        return np.nan
    value = first_number(fact.value)
    if exposure.node_days:
        return value / (exposure.node_days * 24 * exposure.accelerators)
    if exposure.unit_hours:
        # `week or so` states its number in words: one unit.
        return 1.0 / ((value if np.isfinite(value) else 1.0) * exposure.unit_hours * exposure.accelerators)
    return value / (exposure.days * 24 * exposure.accelerators)
