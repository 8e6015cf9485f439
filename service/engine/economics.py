"""What a run takes beyond its steps: hours lost, money, energy and carbon.

Pure functions of columns, shape (n,) throughout. Constants come from `OperatingFacts`, which names their sources;
prices, grid intensities and PUE are arguments. Every total is the sum of named parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from service.engine.distribution import Z90, Distribution, FloatArray, exactly, product, total
from service.engine.observed import WHOLE_RUN_UNITS, seconds_per_sample
from service.engine.operating_facts import OperatingFacts
from service.engine.table import Table, TextArray

SECONDS_PER_HOUR = 3600.0
# Root mean square of ln(share lost as published / as predicted from the constants) over the six published runs of
# `goodput_check.py`: how much better or worse than their parts whole runs go (loss spikes, restarts by hand, teams that
# automate everything). Each left out in turn, the other five cover it in five of six.
UNEXPLAINED_LOSS = 1.15
ABOVE_BELOW = np.array([[1.0], [-1.0]])
UNEXPLAINED = np.expm1(ABOVE_BELOW * Z90 * UNEXPLAINED_LOSS)  # of hours lost, at their 90th and 10th percentile
# Scenarios of a run, by the percentile (0 = p10, 1 = median, 2 = p90) of each of the five constants of interruptions:
# all at their median, then one at a time at its 90th percentile, then one at a time at its 10th.
CONSTANT = np.arange(5)[:, None]
SCENARIOS = np.ones((5, 11), dtype=np.int64)
SCENARIOS[np.arange(5), np.arange(1, 6)] = 2
SCENARIOS[np.arange(5), np.arange(6, 11)] = 0


@dataclass(frozen=True, eq=False)
class Goodput:
    """Where the hours of a whole run go.

    Attributes:
        wall_hours: From launch to the last step, all interruptions included.
        share: Productive hours over wall-clock hours ("goodput", "effective training time ratio"), 0 to 1.
        productive_hours, evaluation_hours, checkpoint_hours, failure_hours, startup_hours: Medians, shape (n,);
            they sum to `wall_hours.p50`. Failure hours are work done twice and the time to recover.
        failures: Expected number of interruptions, shape (n,).
        checkpoint_interval_hours: Hours of training between checkpoints, shape (n,).
        interruptions: The constants that it is reckoned with, shape (3, n) each: p10, p50, p90.
    """

    wall_hours: Distribution
    share: Distribution
    productive_hours: FloatArray
    evaluation_hours: FloatArray
    checkpoint_hours: FloatArray
    failure_hours: FloatArray
    startup_hours: FloatArray
    failures: FloatArray
    checkpoint_interval_hours: FloatArray
    interruptions: Interruptions

    @property
    def constants(self) -> dict[str, Distribution]:
        """What it is reckoned with, by the field of `GoodputOverrides` that states it: the published spread, or exactly
        what is stated; the interval between checkpoints follows from the others where it is not stated."""
        used = self.interruptions
        return {
            "failures_per_accelerator_hour": Distribution(*used.failures_per_accelerator_hour),
            "recovery_seconds": Distribution(*used.recovery_hours).scaled(SECONDS_PER_HOUR),
            "checkpoint_seconds": Distribution(*used.checkpoint_hours).scaled(SECONDS_PER_HOUR),
            "evaluation_share": Distribution(*used.evaluation_share),
            "startup_seconds": Distribution(*used.startup_hours).scaled(SECONDS_PER_HOUR),
            "checkpoint_interval_hours": exactly(self.checkpoint_interval_hours),
        }

    @property
    def parts(self) -> dict[str, FloatArray]:
        """Hours by part (`productive`, `evaluation`, `checkpoint`, `failure`, `startup`), summing to the median."""
        return {
            "productive": self.productive_hours,
            "evaluation": self.evaluation_hours,
            "checkpoint": self.checkpoint_hours,
            "failure": self.failure_hours,
            "startup": self.startup_hours,
        }


@dataclass(frozen=True, eq=False)
class GoodputOverrides:
    """What the caller knows better than the published record; columns of shape (n,), NaN = not stated.

    `share` fixes the whole ratio (0 to 1); the parts that it does not come from are then shared out in proportion.
    """

    share: FloatArray
    failures_per_accelerator_hour: FloatArray
    recovery_seconds: FloatArray
    checkpoint_seconds: FloatArray
    checkpoint_interval_hours: FloatArray
    evaluation_share: FloatArray
    startup_seconds: FloatArray

    @classmethod
    def none(cls, count: int) -> GoodputOverrides:
        """Nothing overridden, for `count` rows."""
        return cls(*(np.full(count, np.nan) for _ in range(7)))


@dataclass(frozen=True, eq=False)
class Energy:
    """Energy of a run in kWh: the total and its parts (medians that sum to the total's median), shape (n,)."""

    total: Distribution
    accelerators: FloatArray
    hosts: FloatArray
    network: FloatArray
    facility: FloatArray

    @property
    def parts(self) -> dict[str, FloatArray]:
        """kWh by part: `accelerators`, `hosts`, `network`, `facility` (what cooling and power delivery add)."""
        return {
            "accelerators": self.accelerators,
            "hosts": self.hosts,
            "network": self.network,
            "facility": self.facility,
        }


@dataclass(frozen=True, eq=False)
class Interruptions:
    """How runs are interrupted in m scenarios, shape (m, n) each."""

    failures_per_accelerator_hour: FloatArray
    recovery_hours: FloatArray
    checkpoint_hours: FloatArray
    evaluation_share: FloatArray
    startup_hours: FloatArray


def checkpoint_interval_hours(
    checkpoint_hours: FloatArray, failures_per_hour: FloatArray, longest_hours: float
) -> FloatArray:
    """The interval between checkpoints that loses least, hours, shape (n,).

    First-order optimum sqrt(2 x checkpoint time x mean time between failures) of Young 1974 (CACM 17(9):530), not
    longer than `longest_hours`, which people keep to however rare failures are.
    """
    with np.errstate(over="ignore"):
        best = np.sqrt(2.0 * checkpoint_hours / np.maximum(failures_per_hour, 1e-300))
    return np.where(failures_per_hour > 0, np.minimum(best, longest_hours), longest_hours)


def wall_clock_factor(
    interval_hours: FloatArray, checkpoint_hours: FloatArray, recovery_hours: FloatArray, failures_per_hour: FloatArray
) -> FloatArray:
    """Wall-clock hours per hour of work under checkpoints and failures, shape (n,), at least 1.

    Daly 2006 (Future Generation Computer Systems 22(3):303), equation for exponentially distributed failures:
    M e^(R/M) (e^((t+d)/M) - 1) / t, with M the mean time between failures, t the interval, d the checkpoint time and
    R the recovery time. To first order it is (1 + d/t) / (1 - (R + t/2)/M), the effective training time ratio of
    Kokolis et al. 2025 (arXiv:2410.21680), but stays finite when failures come faster than work.
    """
    rate = failures_per_hour
    growth = (interval_hours + checkpoint_hours) * rate
    # Past e^500 the run never ends; a finite number keeps rankings and sums defined.
    exponent = np.minimum(recovery_hours * rate + growth, 500.0)
    # expm1(x)/x tends to 1 as failures vanish.
    steady = np.where(growth > 1e-12, np.expm1(np.minimum(growth, 500.0)) / np.maximum(growth, 1e-300), 1.0)
    return np.asarray(np.exp(exponent - np.minimum(growth, 500.0)) * steady * (1.0 + checkpoint_hours / interval_hours))


def goodput(
    count: ArrayLike,
    hours: Distribution | ArrayLike,
    facts: OperatingFacts,
    overrides: GoodputOverrides | None = None,
) -> Goodput:
    """Wall-clock of a run whose steps alone take `hours` on `count` accelerators.

    Interruptions grow with count x hours; checkpoints are as frequent as pays off; evaluation and start-up come on
    top. The interval combines the spread of `hours` with the spread of each published constant and of what published
    runs lost besides.

    Args:
        count: Accelerators, shape (n,).
        hours: Hours of steps alone, p10/p50/p90 or exactly known, shape (n,).
        facts: Published constants.
        overrides: What the caller states instead; NaN where not stated.
    """
    chips = np.atleast_1d(np.asarray(count, dtype=np.float64))
    work = hours if isinstance(hours, Distribution) else exactly(hours)
    given = overrides or GoodputOverrides.none(len(chips))
    constants = _constants(chips, facts, given)
    with np.errstate(invalid="ignore", divide="ignore"):
        overheads, interval = _overheads(chips, work.p50, facts, given, Interruptions(*constants[CONSTANT, SCENARIOS]))
        totals = sum(overheads.values(), start=work.p50)
        median, usual = totals[0], {name: hours[0] for name, hours in overheads.items()}
        lost = np.maximum(median - work.p50, 1e-300)
        # The effects on ln(hours lost) of each constant, and of what the constants leave unexplained of all but the
        # start-up, add in quadrature.
        moved = np.log(np.maximum(totals[1:] - work.p50, 1e-300) / lost).reshape(2, -1, len(chips))
        unexplained = np.log1p((lost - usual["startup"]) / lost * UNEXPLAINED)
        spread = ABOVE_BELOW * np.sqrt(unexplained**2 + (moved**2).sum(axis=1))
        factor = np.where(np.isnan(given.share), np.exp(spread), 1.0)
        most, least = lengths = np.where(median > 0, (work.p50 + lost * factor) / median, 1.0)
        # Spread of the hours of work and of what is lost add in quadrature; in their ratio the former cancels.
        of_work = np.where(work.p50 > 0, np.stack((work.p90, work.p10)) / work.p50, 1.0)
        above, below = np.exp(np.hypot(np.log(of_work), np.log(lengths)))
        wall = Distribution(np.maximum(median / below, work.p10), median, median * above)
        share = np.where(median > 0, work.p50 / median, 1.0)
    return Goodput(
        wall_hours=wall,
        share=Distribution(share / most, share, np.minimum(share / least, 1.0)),
        productive_hours=work.p50,
        evaluation_hours=usual["evaluation"],
        checkpoint_hours=usual["checkpoint"],
        failure_hours=usual["failure"],
        startup_hours=usual["startup"],
        failures=constants[0, 1] * chips * median,
        checkpoint_interval_hours=interval[0],
        interruptions=Interruptions(*constants),
    )


def productive_hours(count: ArrayLike, wall_hours: ArrayLike, facts: OperatingFacts) -> FloatArray:
    """The median hours of steps in a run of `wall_hours` on `count` accelerators: `goodput` turned round, shape (n,).

    Start-up is taken to be at most half of the wall-clock, so that very short runs keep a positive answer.
    """
    chips = np.atleast_1d(np.asarray(count, dtype=np.float64))
    wall = np.atleast_1d(np.asarray(wall_hours, dtype=np.float64))
    one_hour = goodput(chips, np.ones_like(chips), facts)
    startup = np.minimum(one_hour.startup_hours, wall / 2)
    return np.asarray((wall - startup) / (one_hour.wall_hours.p50 - one_hour.startup_hours))


def step_seconds_per_sample(
    table: Table, value: FloatArray, unit: TextArray, samples: FloatArray, facts: OperatingFacts
) -> FloatArray:
    """Measured seconds of steps per sample, shape (n,), from what a source published (`observed.UNITS`).

    The engine learns the speed of steps: what the wall-clock of a whole run loses besides is taken off.
    """
    seconds = seconds_per_sample(table, value, unit, samples)
    whole = np.isin(unit.astype(str), list(WHOLE_RUN_UNITS)) & np.isfinite(seconds)
    if whole.any():
        wall = seconds[whole] * samples[whole] / 3600.0
        seconds[whole] = productive_hours(table["count"][whole], wall, facts) * 3600.0 / samples[whole]
    return seconds


def node_power_of_tdp(accelerator: ArrayLike, facts: OperatingFacts) -> Distribution:
    """Power at load per accelerator with its share of the node, as a multiple of TDP, by catalog slug, shape (n,)."""
    slugs = np.atleast_1d(np.asarray(accelerator, dtype=object))
    rows = np.array([facts.node_power_by_chip.get(slug, facts.node_power) for slug in slugs], dtype=np.float64)
    return Distribution(*rows.reshape(-1, 3).T)


def energy_kwh(
    accelerator_hours: Distribution,
    accelerator: ArrayLike,
    tdp_w: ArrayLike,
    networked: ArrayLike,
    pue: Distribution,
    facts: OperatingFacts,
    watts_per_accelerator: ArrayLike = np.nan,
) -> Energy:
    """Energy of a run, kWh.

    accelerator-hours x (node power at load + network power) x PUE. Node power is metered, at the power supply, under
    training load; the accelerators' share of it is `facts.accelerator_share`.

    Args:
        accelerator_hours: Wall-clock hours x accelerators, shape (n,).
        accelerator: Catalog slugs, shape (n,).
        tdp_w: Thermal design power, W per accelerator, shape (n,); NaN makes the energy NaN.
        networked: True where the run spans several nodes, shape (n,).
        pue: Facility energy over machine energy, at least 1, shape (n,).
        facts: Published constants.
        watts_per_accelerator: Metered node power per accelerator where the caller knows it, W; NaN = unknown.
    """
    tdp = np.atleast_1d(np.asarray(tdp_w, dtype=np.float64))
    watts = np.broadcast_to(np.asarray(watts_per_accelerator, dtype=np.float64), tdp.shape)
    node = _either(watts, node_power_of_tdp(accelerator, facts).scaled(tdp))
    networked_tdp = np.where(np.asarray(networked, dtype=bool), tdp, 0.0)
    fabric = Distribution(*(networked_tdp * share for share in facts.network_power))
    machine = total([node, fabric])
    energy = product(accelerator_hours, machine, pue).scaled(1e-3)
    node_kwh = accelerator_hours.p50 * node.p50 * 1e-3
    network = accelerator_hours.p50 * fabric.p50 * 1e-3
    return Energy(
        total=energy,
        accelerators=node_kwh * facts.accelerator_share,
        hosts=node_kwh * (1.0 - facts.accelerator_share),
        network=network,
        facility=(node_kwh + network) * (pue.p50 - 1.0),
    )


def carbon_kg_co2e(energy: Distribution, gco2e_per_kwh: Distribution) -> Distribution:
    """Emissions of the electricity, kg CO2e: energy in kWh x grid intensity in g/kWh / 1000, shape (n,).

    Location-based, as the GHG Protocol's Scope 2 guidance calls it; making the machines is not in it.
    """
    return product(energy, gco2e_per_kwh).scaled(1e-3)


def cost_usd(accelerator_hours: Distribution, usd_per_accelerator_hour: Distribution) -> Distribution:
    """Rent in USD: accelerator-hours x USD per accelerator-hour, shape (n,)."""
    return product(accelerator_hours, usd_per_accelerator_hour)


def _either(stated: FloatArray, otherwise: Distribution) -> Distribution:
    """`stated` where it is not NaN, exactly; `otherwise` elsewhere."""
    sides = np.array((otherwise.p10, otherwise.p50, otherwise.p90))
    return Distribution(*np.where(np.isnan(stated), sides, stated))


def _constants(chips: FloatArray, facts: OperatingFacts, given: GoodputOverrides) -> FloatArray:
    """The fields of `Interruptions` at p10, p50 and p90, as stated or as published, shape (5, 3, n)."""
    stated = np.stack(
        (
            given.failures_per_accelerator_hour,
            given.recovery_seconds / SECONDS_PER_HOUR,
            given.checkpoint_seconds / SECONDS_PER_HOUR,
            given.evaluation_share,
            given.startup_seconds / SECONDS_PER_HOUR,
        )
    )
    startup = facts.startup_intercept + facts.startup_slope * np.log(np.maximum(chips, 1.0))
    published = np.empty((len(stated), 3, len(chips)))
    published[0] = np.array(facts.failures_per_accelerator_hour)[:, None]
    published[1] = np.array(facts.recovery_seconds)[:, None] / SECONDS_PER_HOUR
    published[2] = np.array(facts.checkpoint_seconds)[:, None] / SECONDS_PER_HOUR
    published[3] = np.array(facts.evaluation_share)[:, None]
    published[4] = np.exp(startup + np.array([[-Z90], [0.0], [Z90]]) * facts.startup_spread) / SECONDS_PER_HOUR
    return np.where(np.isnan(stated)[:, None], published, stated[:, None])


def _overheads(
    chips: FloatArray, work: FloatArray, facts: OperatingFacts, given: GoodputOverrides, course: Interruptions
) -> tuple[Mapping[str, FloatArray], FloatArray]:
    """Hours besides those of work, by part, and the checkpoint interval; in each scenario, shape (m, n)."""
    rate = course.failures_per_accelerator_hour * chips
    best = checkpoint_interval_hours(course.checkpoint_hours, rate, facts.longest_checkpoint_interval_hours)
    # A checkpoint that takes no time would make the best interval zero.
    best = np.maximum(best, 1.0 / SECONDS_PER_HOUR)
    interval = np.where(np.isnan(given.checkpoint_interval_hours), best, given.checkpoint_interval_hours)
    evaluation = work * course.evaluation_share / (1.0 - course.evaluation_share)
    running = work + evaluation
    checkpoint = running * course.checkpoint_hours / interval
    factor = wall_clock_factor(interval, course.checkpoint_hours, course.recovery_hours, rate)
    failure = running * factor - running - checkpoint
    overhead = {
        "evaluation": evaluation,
        "checkpoint": checkpoint,
        "failure": np.maximum(failure, 0.0),
        "startup": course.startup_hours,
    }
    # A stated share decides the sum of the overheads; their proportions stay.
    estimated = sum(overhead.values(), start=np.zeros_like(work))
    stated = work / given.share - work
    scale = np.where(np.isnan(given.share), 1.0, stated / np.maximum(estimated, 1e-300))
    return {name: hours * scale for name, hours in overhead.items()}, interval
