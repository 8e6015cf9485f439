"""Measurements to coefficients: maximum a posteriori with a Laplace approximation, robust and partially pooled.

Model: log t_i = log f(x_i; c_i) + e_i, with c_i the row's coefficients (global value + slopes + effects of its groups,
see `effects.py`), effects normal with a learned spread each, and e_i heavy-tailed. Gauss-Newton on iteratively
reweighted rows; spreads by expectation-maximisation (Dempster, Laird and Rubin 1977; Laird and Ware 1982).
Rows of one lineage repeat each other's habits: a lineage's rows count in full up to `FULL_ROWS`, and then with the
square root, so that no source drowns the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from service.engine.beliefs import Posterior, mean_coefficients, variances
from service.engine.covariance import Covariance
from service.engine.effects import TERMS, Design, covariates, jacobian, make_design, row_coefficients
from service.engine.step_gradient import log_gradient
from service.engine.step_inputs import Inputs, prepare
from service.engine.step_time import timed
from service.engine.table import BoolArray, FloatArray, IntArray, Table

FULL_ROWS = 15.0
# More rows of one lineage than this tell nothing new about other lineages; a seeded sample of them is fitted.
MOST_ROWS = 900
SAMPLE_SEED = 20240229
# Residuals beyond so many scales lose their say (some published numbers are wrong): Geman-McClure weights, with a
# generous reach first so that the start doesn't decide who is an outlier.
REACH, FIRST_REACH = 2.5, 6.0
# Residual scales of lineages. Careful data scatter by 3 to 5 % about what a fit of them alone says; what they say of
# others is not that sure. A lineage of which a third went wrong (pipelines of the ultrascale rows that wait a second
# for every micro-batch) looks as if all of it scattered widely, and pulled its sound rows along while it might.
TYPICAL_SIGMA = 0.15
SIGMA_RANGE = (0.1, 0.2)
SIGMA_PRIOR_ROWS = 10.0
SPREAD_PRIOR_ROWS = 4.0  # how many groups' worth of belief a term's prior spread carries
SPREAD_FACTOR = 1.6  # how far a learned spread may be from its prior: a few odd groups must not set everyone free
STEP_LIMIT = 0.7  # natural-log units that an unknown may move in one Gauss-Newton step


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted calibration: values and covariance of the unknowns, learned spreads and residual scale."""

    design: Design
    unknowns: FloatArray  # (size,)
    covariance: FloatArray  # (size, size)
    spreads: FloatArray  # per term
    sigma: float  # residual scale that a new site should expect, natural-log units
    sigmas: dict[str, float]  # residual scale by lineage


def sensitivities(inputs: Inputs, coefficients: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log seconds per sample (n,) and its derivative to each coefficient (n, k)."""
    step = timed(inputs, coefficients)
    return step.log_seconds_per_sample(), log_gradient(step, coefficients)


def robust_weights(standardised: FloatArray, reach: float = REACH) -> FloatArray:
    """Say of residuals given in units of their scale, 1 at zero and falling (Geman and McClure 1987), shape (n,)."""
    return np.asarray((1.0 + (standardised / reach) ** 2) ** -2)


def row_weights(table: Table) -> FloatArray:
    """How much each row counts, shape (n,): see the module's note on lineages."""
    lineage = table.text("lineage").astype(str)
    _, inverse, counts = np.unique(lineage, return_inverse=True, return_counts=True)
    of_row = counts[inverse].astype(np.float64)
    return np.where(of_row > FULL_ROWS, np.sqrt(FULL_ROWS / of_row), 1.0)


def sampled_rows(table: Table, most_rows: int = MOST_ROWS) -> BoolArray:
    """Which rows a fit uses, shape (n,): all of a lineage up to `most_rows`, beyond that a seeded sample."""
    lineage = table.text("lineage").astype(str)
    keep = np.ones(len(table), dtype=bool)
    generator = np.random.default_rng(SAMPLE_SEED)
    for name in np.unique(lineage):
        where = np.flatnonzero(lineage == name)
        if len(where) > most_rows:
            keep[where] = False
            keep[generator.choice(where, most_rows, replace=False)] = True
    return keep


def fit(
    table: Table,
    log_seconds: FloatArray,
    *,
    rows: BoolArray | None = None,
    design: Design | None = None,
    start: Fit | None = None,
    iterations: int = 18,
    learn_spreads: bool = True,
    most_rows: int = MOST_ROWS,
) -> Fit:
    """Calibrate on a table of measurements.

    Args:
        table: n measured configurations.
        log_seconds: natural log of measured seconds per sample, shape (n,).
        rows: which rows to learn from (all if None); levels of the others keep their prior.
        design: unknowns to use (those of the table if None).
        start: a fit to begin at, for refits that leave rows out.
        iterations: Gauss-Newton steps.
        most_rows: rows of one lineage to use at most.
        learn_spreads: re-estimate the terms' spreads and the residual scale, or keep those of `start`.
    """
    design = design or make_design(table)
    used = np.ones(len(table), dtype=bool) if rows is None else rows
    used = used & sampled_rows(table, most_rows)
    subset = table.take(used)
    inputs, target, base_weight = prepare(subset), log_seconds[used], row_weights(subset)
    positions, multipliers, targets = design.columns(subset)
    spreads = np.array([term.spread for term in TERMS]) if start is None else start.spreads.copy()
    prior_spreads = np.array([term.spread for term in TERMS])
    scales = {} if start is None else start.sigmas
    sigma = np.array([scales.get(str(name), TYPICAL_SIGMA) for name in subset.text("lineage")])
    mean = design.prior_mean()
    unknowns = mean.copy() if start is None else start.unknowns.copy()
    if start is not None:
        left_out = np.setdiff1d(np.arange(design.fixed, design.size), np.unique(positions))
        unknowns[left_out] = 0.0
    covariance = np.empty((0, 0))
    for iteration in range(iterations):
        last = iteration == iterations - 1
        coefficients = row_coefficients(positions, multipliers, targets, unknowns)
        predicted, derivative = sensitivities(inputs, coefficients)
        residual = target - predicted
        weight = base_weight * robust_weights(
            residual / sigma, FIRST_REACH if start is None and iteration < iterations // 3 else REACH
        )
        matrix = jacobian(positions, multipliers, targets, derivative, design.size)
        precision = 1.0 / design.prior_variance(spreads)
        scaled = matrix.multiply((weight / sigma**2)[:, None]).tocsr()
        hessian = np.asarray((matrix.T @ scaled).todense())
        hessian[np.diag_indices_from(hessian)] += precision
        gradient = scaled.T @ residual + precision * (mean - unknowns)
        factor = linalg.cho_factor(hessian, lower=True, overwrite_a=False, check_finite=False)
        step = linalg.cho_solve(factor, gradient, check_finite=False)
        unknowns = unknowns + np.clip(step, -STEP_LIMIT, STEP_LIMIT)
        refresh = learn_spreads and (iteration % 3 == 2)
        if last or refresh:
            covariance = linalg.cho_solve(factor, np.eye(design.size), check_finite=False, overwrite_b=True)
        if refresh and not last:
            spreads = _learned_spreads(design, unknowns, covariance, prior_spreads)
            scales = _learned_sigmas(residual, subset)
            sigma = np.array([scales[str(name)] for name in subset.text("lineage")])
    expected = float(np.median(list(scales.values()))) if scales else TYPICAL_SIGMA
    return Fit(design, unknowns, covariance, spreads, expected if start is None else start.sigma, scales)


def _learned_spreads(design: Design, unknowns: FloatArray, covariance: FloatArray, prior: FloatArray) -> FloatArray:
    variance = np.diag(covariance)
    result = np.empty(len(TERMS))
    for index, levels in enumerate(design.levels):
        where = list(levels.values())
        total = float(np.sum(unknowns[where] ** 2 + variance[where])) + SPREAD_PRIOR_ROWS * prior[index] ** 2
        learned = np.sqrt(total / (len(where) + SPREAD_PRIOR_ROWS))
        result[index] = np.clip(learned, prior[index] / SPREAD_FACTOR, prior[index] * SPREAD_FACTOR)
    return result


def _learned_sigmas(residual: FloatArray, table: Table) -> dict[str, float]:
    """Robust scale of every lineage: 1.4826 x median absolute residual, drawn to the typical one where rows are few."""
    lineage = table.text("lineage").astype(str)
    result: dict[str, float] = {}
    for name in np.unique(lineage):
        own = np.abs(residual[lineage == name])
        raw = 1.4826 * float(np.median(own))
        variance = (len(own) * raw**2 + SIGMA_PRIOR_ROWS * TYPICAL_SIGMA**2) / (len(own) + SIGMA_PRIOR_ROWS)
        result[str(name)] = float(np.clip(np.sqrt(variance), *SIGMA_RANGE))
    return result


def predict(fitted: Fit, table: Table) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Median log seconds per sample, its variance from uncertain unknowns, and the rows' coefficients.

    A row of groups never seen carries their whole prior spread as variance. Shapes (n,), (n,), (n, k).
    """
    posterior = Posterior(fitted.design, fitted.unknowns, Covariance(fitted.covariance), fitted.spreads)
    found = predict_with(prepare(table), posterior)
    return found.median, found.variance, found.coefficients


@dataclass(frozen=True, eq=False)
class Mechanics:
    """What the mechanics say of n rows, and how that depends on the k coefficients of each."""

    table: Table
    design: Design
    median: FloatArray  # (n,), natural log of seconds per sample
    variance: FloatArray  # (n,), from uncertain unknowns
    coefficients: FloatArray  # (n, k)
    derivative: FloatArray  # (n, k), of the median to the coefficients
    parts: dict[str, FloatArray]  # seconds of the median step by part, (n,) each

    def gradient(self) -> tuple[IntArray, FloatArray]:
        """Positions of the w unknowns that each row depends on (`Design.columns`), shape (n, w), and the derivatives of
        the median to them."""
        positions, multipliers, targets = self.design.columns(self.table)
        return positions, self.derivative[:, targets] * multipliers


def predict_with(inputs: Inputs, posterior: Posterior) -> Mechanics:
    """`predict` of prepared rows, from a fit's posterior."""
    table = inputs.table
    beliefs, combination = posterior.beliefs(table)
    slopes = covariates(table)
    coefficients = mean_coefficients(beliefs, combination, slopes)
    step = timed(inputs, coefficients)
    derivative = log_gradient(step, coefficients)
    variance = variances(beliefs, combination, slopes, derivative)
    median = step.log_seconds_per_sample()
    return Mechanics(table, posterior.design, median, variance, coefficients, derivative, step.parts())
