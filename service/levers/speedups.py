"""From estimates to levers: how many times faster, with the uncertainty that the two runs do not share."""

from __future__ import annotations

import math

from service.engine.comparison import log_ratio
from service.engine.distribution import Z90
from service.engine.table import FloatArray, Table
from service.estimates.quantities import rounded
from service.estimates.schemas import Estimate, Quantity
from service.levers.schemas import Lever
from service.levers.trials import Trial
from service.sites.standpoint import Standpoint


def deviations(standpoint: Standpoint, table: Table, baseline: Table) -> FloatArray:
    """Standard deviation of the log of each row's time per sample over the baseline's, shape (n,)."""
    return log_ratio(standpoint.forecaster, table, baseline).deviation


def lever_of(trial: Trial, estimate: Estimate, baseline: Estimate, deviation: float) -> Lever:
    """What is said of a trial.

    The speed-up is hours over hours, so that it agrees with the estimates. Its interval is made of what the two times
    per sample do not share (`deviation`), of how the published constants of interruptions move the two wall-clocks
    apart, and of an amount of data that a scaling law predicts.
    """
    if baseline.duration_hours is not None and estimate.duration_hours is not None:
        ratio = baseline.duration_hours.p50 / estimate.duration_hours.p50
    else:
        rates = (each.throughput.samples_per_second.p50 for each in (estimate, baseline))
        ratio = next(rates) / next(rates)
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
