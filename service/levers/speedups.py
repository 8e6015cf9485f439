"""From estimates to levers: how many times faster, with the uncertainty that the two runs do not share."""

from __future__ import annotations

import math

from service.engine.distribution import Z90
from service.estimates.quantities import rounded
from service.estimates.schemas import Estimate, Quantity
from service.levers.schemas import Lever
from service.levers.trials import Trial


def times_faster(estimate: Estimate, baseline: Estimate) -> float:
    """Median hours now over median hours then; speeds where either says no amount of data."""
    if baseline.duration_hours is not None and estimate.duration_hours is not None:
        return baseline.duration_hours.p50 / estimate.duration_hours.p50
    return estimate.throughput.samples_per_second.p50 / baseline.throughput.samples_per_second.p50


def lever_of(trial: Trial, estimate: Estimate, baseline: Estimate, deviation: float) -> Lever:
    """What is said of a trial.

    The speed-up's interval is made of what the two times per sample do not share, of how the published constants of
    interruptions move the two wall-clocks apart, and of an amount of data that a scaling law predicts.

    Args:
        trial: what was changed.
        estimate: the changed run.
        baseline: the run as it was.
        deviation: standard deviation of the log of time per sample over the baseline's (`engine.comparison`).
    """
    ratio = times_faster(estimate, baseline)
    interruptions = _goodput_deviation(estimate) - _goodput_deviation(baseline)
    amount = math.log(trial.amount_factor) / Z90
    up = math.exp(Z90 * math.hypot(deviation, interruptions, amount))
    cost = estimate.cost_usd
    return Lever(
        name=trial.name,
        group=trial.group,
        change=dict(trial.change),
        at_once=trial.at_once,
        duration_hours=estimate.duration_hours,
        speedup=Quantity(p10=rounded(ratio / up), p50=rounded(ratio), p90=rounded(ratio * up)),
        cost_usd=None if cost is None else _times(cost, trial.at_once),
        memory=estimate.memory,
        layout=estimate.layout,
        trade_off=trial.trade_off,
        basis=trial.basis,
        assumed=trial.assumed,
        grade=estimate.evidence.grade,
    )


def _goodput_deviation(estimate: Estimate) -> float:
    """Standard deviation of the log of wall-clock over productive time, from the published constants."""
    if estimate.goodput is None:
        return 0.0
    share = estimate.goodput.share
    return math.log(share.p90 / share.p10) / (2.0 * Z90)


def _times(quantity: Quantity, factor: int) -> Quantity:
    return Quantity(**{side: rounded(value * factor) for side, value in quantity.model_dump().items()})
