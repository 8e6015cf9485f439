"""Quantities with uncertainty: the median and an 80 % interval, and arithmetic on them.

Every positive quantity is taken as two-piece log-normal: ln(p90/p50) above and ln(p50/p10) below its median. For a
product of independent factors the spreads of the logarithms add in quadrature; for a sum of independent parts the
absolute spreads do. Both are first-order propagation of uncertainty (JCGM 100:2008, section 5.1.2) on each side of
the median, so medians of products and sums are the products and sums of medians.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# The standard normal quantile of 0.9: an 80 % interval reaches so many standard deviations from the median.
Z90 = 1.2815515655446004
BELOW_ABOVE = np.array([[-1.0], [1.0]])


@dataclass(frozen=True, eq=False)
class Distribution:
    """Columns of equal length n: the 10th, 50th and 90th percentile of a quantity, in the quantity's own unit."""

    p10: FloatArray
    p50: FloatArray
    p90: FloatArray

    def __len__(self) -> int:
        return len(self.p50)

    def scaled(self, factor: ArrayLike) -> Distribution:
        """The same quantity times an exactly known, non-negative `factor` (scalar or shape (n,))."""
        exact = np.asarray(factor, dtype=np.float64)
        return Distribution(self.p10 * exact, self.p50 * exact, self.p90 * exact)

    @cached_property
    def log_squares(self) -> FloatArray:
        """Squares of ln(p10/p50) and of ln(p90/p50), shape (2, n)."""
        if (self.p10 > 0).all():
            away: FloatArray = np.log(np.array((self.p10, self.p90)) / self.p50)
            return away * away
        # 0 x anything is exactly 0; ln(0/0) must not turn it into NaN.
        with np.errstate(divide="ignore", invalid="ignore"):
            away = np.log(np.array((self.p10, self.p90)) / self.p50)
            return np.where(self.p50 > 0, away * away, 0.0)

    def take(self, index: IntArray | slice) -> Distribution:
        """The rows at `index`."""
        return Distribution(self.p10[index], self.p50[index], self.p90[index])

    def inverse(self) -> Distribution:
        """One over the quantity."""
        return Distribution(1.0 / self.p90, 1.0 / self.p50, 1.0 / self.p10)


def exactly(values: ArrayLike) -> Distribution:
    """A quantity known exactly: all three percentiles are `values`, shape (n,)."""
    known = np.atleast_1d(np.asarray(values, dtype=np.float64))
    return Distribution(known, known, known)


def product(*factors: Distribution) -> Distribution:
    """The product of independent positive quantities, element by element (length 1 broadcasts)."""
    median = reduce(np.multiply, (factor.p50 for factor in factors))
    p10, p90 = median * np.exp(BELOW_ABOVE * np.sqrt(reduce(np.add, (factor.log_squares for factor in factors))))
    return Distribution(p10, median, p90)


def total(parts: Iterable[Distribution]) -> Distribution:
    """The sum of independent non-negative quantities, element by element (length 1 broadcasts)."""
    listed = list(parts)
    median = reduce(np.add, (part.p50 for part in listed))
    below = np.sqrt(sum((part.p50 - part.p10) ** 2 for part in listed))
    above = np.sqrt(sum((part.p90 - part.p50) ** 2 for part in listed))
    return Distribution(np.maximum(median - below, 0.0), median, median + above)


def probability_at_most(quantity: Distribution, limit: float) -> FloatArray:
    """Probability that a positive quantity is at most `limit`, in the same unit, shape (n,); NaN where unknown."""
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.log(limit / quantity.p50)
        spread = np.log(np.where(away > 0, quantity.p90 / quantity.p50, quantity.p50 / quantity.p10)) / Z90
        # Known exactly, it is within the limit or it is not.
        return np.asarray(np.where(spread > 0, ndtr(away / spread), np.where(away >= 0, 1.0, 0.0) + 0.0 * away))


def quantiles(values: ArrayLike) -> tuple[float, float, float]:
    """The 10th, 50th and 90th percentile (linear interpolation) of the finite `values`; NaNs if there are none."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return (np.nan, np.nan, np.nan)
    p10, p50, p90 = np.quantile(finite, [0.1, 0.5, 0.9])
    return (float(p10), float(p50), float(p90))


def weighted_quantile(values: FloatArray, weights: FloatArray, share: float) -> float:
    """The smallest of `values` below or at which `share` of the weight lies; `values` and `weights` of shape (n,)."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(cumulative, share * cumulative[-1])]])
