"""What teams submit refines a fit that what ships anchors: whoever submits, however much, moves it only so far.

The anchor is fitted on what ships alone. Its posterior is the prior of the refinement, so that submitted rows teach
where the anchor is unsure (a new chip, a new framework) and hardly move what many sources have settled. Before that
they are looked at from the anchor. What a team's rows have in common (all of them slower or faster than expected) is
the team's own and moves nobody else's predictions, so it is taken off. What is left, how its runs compare with each
other, counts the less the more it scatters. A run far from its team's others has no say, nor has a team whose runs
scatter wildly, and all of them together count as `MOST_SAY` rows at most. A team's own predictions come from its own
rows as they are (`Forecaster.learn`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from service.engine.calibration import (
    STEP_LIMIT,
    TYPICAL_SIGMA,
    Fit,
    predict,
    robust_weights,
    row_weights,
    sampled_rows,
    sensitivities,
)
from service.engine.effects import jacobian, make_design, row_coefficients
from service.engine.step_inputs import prepare
from service.engine.table import BoolArray, FloatArray, Table

TEAM = "team:"
"""Begins the lineage of rows that a team submitted; no lineage that ships begins so."""
MOST_SCATTER = 0.8
"""Robust standard deviation, natural log, beyond which a team's runs tell others nothing. Judgement: of the lineages
that ship, nine in ten scatter less around the predictions of a new site."""
FAR_RUN = 1.5
"""Distance from its team's others, natural log (4.5 times), beyond which a run tells others nothing. Judgement: about
five times the typical scatter of what ships."""
MOST_SAY = 10.0
"""Rows that all submitted ones together count as at most, beside some two thousand that what ships counts as.
Judgement: `tests/benchmarks/poison.py` shows how far they then move what a new site is predicted."""
ITERATIONS = 5


@dataclass(frozen=True, eq=False)
class Vouched:
    """Submitted rows as a fit may use them; shapes (n,)."""

    used: BoolArray
    log_seconds: FloatArray  # without their teams' levels
    sigma: FloatArray  # residual scale of their team, natural log


def is_submitted(table: Table) -> BoolArray:
    """Which rows a team submitted, shape (n,)."""
    return np.char.startswith(table.text("lineage").astype(str), TEAM)


def vouch(anchor: Fit, table: Table, log_seconds: FloatArray) -> Vouched:
    """Looks at submitted rows from a fit that has not seen them."""
    nowhere = np.full(len(table), "", dtype=object)
    expected, _, _ = predict(anchor, table.replace(lineage=nowhere, site=nowhere))
    beyond = log_seconds - expected
    used, level, sigma = np.zeros(len(table), dtype=bool), np.zeros(len(table)), np.zeros(len(table))
    teams = table.text("lineage").astype(str)
    for name in np.unique(teams):
        own = np.flatnonzero(teams == name)
        level[own] = np.median(beyond[own])
        apart = np.abs(beyond[own] - level[own])
        scatter = 1.4826 * float(np.median(apart))
        used[own] = (apart < FAR_RUN) & (scatter < MOST_SCATTER)
        sigma[own] = max(scatter, TYPICAL_SIGMA)
    return Vouched(used, log_seconds - level, sigma)


def refine(anchor: Fit, table: Table, log_seconds: FloatArray) -> Fit:
    """The anchor, updated by n submitted rows (natural log of seconds per sample, shape (n,)).

    Gauss-Newton with the anchor's posterior as the prior; spreads and the residual scale of a new site stay.
    """
    if not len(table):
        return anchor
    vouched = vouch(anchor, table, log_seconds)
    rows = np.flatnonzero(vouched.used)
    rows = rows[sampled_rows(table.take(rows))]
    if not len(rows):
        return anchor
    subset, target, sigma = table.take(rows), vouched.log_seconds[rows], vouched.sigma[rows]
    design, extra = anchor.design.with_room(make_design(subset).levels, anchor.spreads)
    mean = np.concatenate([anchor.unknowns, np.zeros(len(extra))])
    prior = linalg.block_diag(anchor.covariance, np.diag(extra))
    precision = linalg.inv(prior, check_finite=False)
    inputs, base_weight = prepare(subset), row_weights(subset)
    base_weight = base_weight * min(1.0, MOST_SAY / float(base_weight.sum()))
    positions, multipliers, targets = design.columns(subset)
    unknowns, covariance = mean, prior
    for _ in range(ITERATIONS):
        coefficients = row_coefficients(positions, multipliers, targets, unknowns)
        predicted, derivative = sensitivities(inputs, coefficients)
        residual = target - predicted
        weight = base_weight * robust_weights(residual / sigma) / sigma**2
        matrix = jacobian(positions, multipliers, targets, derivative, design.size)
        scaled = matrix.multiply(weight[:, None]).tocsr()
        hessian = precision + np.asarray((matrix.T @ scaled).todense())
        covariance = linalg.inv(hessian, check_finite=False)
        step = covariance @ (scaled.T @ residual + precision @ (mean - unknowns))
        unknowns = unknowns + np.clip(step, -STEP_LIMIT, STEP_LIMIT)
    return Fit(design, unknowns, covariance, anchor.spreads, anchor.sigma, anchor.sigmas)
