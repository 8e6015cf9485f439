"""Covariance of all unknowns, of which those that no measurement of the fit depends on are known by their priors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from service.engine.table import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Covariance:
    """Of m unknowns of a fit, and of more behind them: what a site adds shares the fit's own, some 50 MB."""

    fitted: FloatArray  # (m, m)
    further: FloatArray = field(default_factory=lambda: np.zeros(0))  # variances of those behind, which are independent

    def among(self, where: IntArray) -> FloatArray:
        """The covariance of the unknowns at `where`, all different; shape (len(where), len(where))."""
        count = len(self.fitted)
        inside = np.flatnonzero(where < count)
        if len(inside) == len(where):
            return np.asarray(self.fitted[np.ix_(where, where)])
        variances = np.zeros(len(where))
        behind = np.flatnonzero(where >= count)
        variances[behind] = self.further[where[behind] - count]
        result = np.diag(variances)
        result[np.ix_(inside, inside)] = self.fitted[np.ix_(where[inside], where[inside])]
        return result

    def of_sums(self, weights: Any) -> FloatArray:
        """Covariance of n weighted sums of unknowns with each unknown; `weights`: sparse, shape (n, unknowns), too."""
        count = len(self.fitted)
        return np.hstack([weights[:, :count] @ self.fitted, weights[:, count:].toarray() * self.further])

    def with_further(self, variances: FloatArray) -> Covariance:
        """The same with more unknowns behind."""
        return Covariance(self.fitted, np.concatenate([self.further, variances]))

    def deviations(self) -> FloatArray:
        """Standard deviation of each unknown."""
        return np.asarray(np.sqrt(np.concatenate([np.diag(self.fitted), self.further])))
