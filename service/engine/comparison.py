"""How much faster one configuration is than another: what both share of a forecast's uncertainty cancels.

Two configurations of one site depend on the same unknowns, so the variance of the difference of their log times is
d' C d, with C the covariance of the unknowns and d the difference of the gradients: first-order propagation with
correlated inputs (JCGM 100:2008, section 5.2.2). What the mechanics leave unexplained is shared as far as the two are
alike, by the kernel that a site's own rows are learned with (`own_rows`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from service.engine.calibration import Mechanics
from service.engine.distribution import Z90, Distribution
from service.engine.effects import TERMS, UNSEEN, groupings
from service.engine.forecast import Forecaster
from service.engine.own_rows import distances_between, similarity
from service.engine.step_inputs import prepare
from service.engine.table import FloatArray, Table

# Distance over which two runs of a new site stop sharing what the mechanics leave unexplained, in the units of
# `own_rows`. Judgement: a round figure with which measured speed-ups of held-out lineages (`make scaling`) lie in their
# 80 % intervals three times in four within a node and five in six beyond; with 0.7 it was every other time within one.
RESIDUAL_REACH = 0.3


@dataclass(frozen=True, eq=False)
class LogRatio:
    """Natural log of seconds per sample of n configurations over those of their references; arrays of shape (n,)."""

    median: FloatArray
    deviation: FloatArray  # standard deviation of what is not shared

    @property
    def seconds(self) -> Distribution:
        """Time per sample over the reference's: below 1 where the configuration is faster."""
        up = np.exp(Z90 * self.deviation)
        ratio = np.exp(self.median)
        return Distribution(ratio / up, ratio, ratio * up)

    @property
    def speedup(self) -> Distribution:
        """Samples per second over the reference's."""
        return self.seconds.inverse()


def log_ratio(forecaster: Forecaster, table: Table, reference: Table) -> LogRatio:
    """How n configurations compare with their references in seconds per sample, at one and the same site.

    The median is that of `Forecaster.predict`; a configuration compared with itself is exactly 1.

    Args:
        forecaster: the calibration, with what a site's own rows taught it where there are any.
        table: n configurations.
        reference: n configurations, or one that all are compared with.

    Raises:
        ValueError: `reference` has neither one row nor as many as `table`.
    """
    if len(reference) == 1:
        reference = reference.take(np.zeros(len(table), dtype=np.int64))
    if len(reference) != len(table):
        raise ValueError(f"{len(table)} configurations cannot be compared with {len(reference)} references")
    ours, theirs = forecaster.as_own(table), forecaster.as_own(reference)
    (median, mechanics), (other_median, other_mechanics) = _said(forecaster, ours), _said(forecaster, theirs)
    difference = _slopes(mechanics, forecaster) - _slopes(other_mechanics, forecaster)
    variance = np.asarray(difference.multiply(forecaster.covariance.of_sums(difference)).sum(axis=1)).ravel()
    variance = np.maximum(variance, 0.0) + _unseen(forecaster, (ours, mechanics), (theirs, other_mechanics))
    if forecaster.own is None:
        alike = similarity(*distances_between(ours, theirs), 1.0, RESIDUAL_REACH)
        variance = variance + 2.0 * forecaster.sigma**2 * (1.0 - alike)
    else:
        variance = forecaster.own.variance_of_difference((ours, mechanics), (theirs, other_mechanics), variance)
    return LogRatio(median - other_median, np.sqrt(variance))


def _said(forecaster: Forecaster, table: Table) -> tuple[FloatArray, Mechanics]:
    """Median log seconds per sample, shape (n,), and the mechanics behind it."""
    inputs = prepare(table)
    mechanics = forecaster.mechanics(table, inputs)
    median, _ = forecaster.informed(table, mechanics)
    usual, _ = forecaster.fastest(inputs)
    return np.maximum(median, np.log(usual)), mechanics


def _slopes(mechanics: Mechanics, forecaster: Forecaster) -> sparse.csr_matrix:
    """Derivatives of the median log seconds to all unknowns, sparse (n, unknowns)."""
    positions, gradient = mechanics.gradient()
    rows, columns = np.nonzero(positions >= 0)
    entries = (gradient[rows, columns], (rows, positions[rows, columns]))
    return sparse.csr_matrix(entries, shape=(len(positions), forecaster.design.size))


def _unseen(forecaster: Forecaster, ours: tuple[Table, Mechanics], theirs: tuple[Table, Mechanics]) -> FloatArray:
    """Variance from effects of levels that the fit has not seen, shape (n,): one and the same level cancels."""
    variance = np.zeros(len(ours[0]))
    names, other_names = groupings(ours[0]), groupings(theirs[0])
    (positions, gradient), (other_positions, other_gradient) = ours[1].gradient(), theirs[1].gradient()
    for index, term in enumerate(TERMS):
        column = forecaster.design.fixed + index
        slope = np.where(positions[:, column] == UNSEEN, gradient[:, column], 0.0)
        other_slope = np.where(other_positions[:, column] == UNSEEN, other_gradient[:, column], 0.0)
        same = names[term.grouping].text == other_names[term.grouping].text
        apart = np.where(same, (slope - other_slope) ** 2, slope**2 + other_slope**2)
        variance += apart * forecaster.spreads[index] ** 2
    return variance
