"""What a fit says of rows that belong to the same groups: one normal distribution of their coefficients.

Rows of the same chip, framework, model and so on depend on the same unknowns. Their sums and covariances are worked
out once for each combination of groups, and what a row adds of its own is small: its gradient and its covariates.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from service.engine.coefficients import COEFFICIENTS, INDEX
from service.engine.covariance import Covariance
from service.engine.effects import SLOPES, TARGETS, TERMS, UNSEEN, Design, covariates, groupings, position
from service.engine.table import FloatArray, IntArray, Table, combinations

FIXED = len(COEFFICIENTS) + len(SLOPES)
# Where each of a row's unknowns is added to: slopes stay apart from their coefficients, for rows differ in their year.
_FOLDED: IntArray = np.concatenate([np.arange(FIXED), TARGETS[FIXED:]])
# Combinations remembered; each takes some three kilobytes. Judgement: shipped rows have about two thousand.
MOST_REMEMBERED = 4096


@dataclass(frozen=True, eq=False)
class Belief:
    """The coefficients, then the slopes, of rows of one combination of levels: jointly normal, with f in all."""

    mean: FloatArray  # (f,)
    covariance: FloatArray  # (f, f); a level never seen adds its term's whole prior variance


@dataclass(frozen=True, eq=False)
class Posterior:
    """Values and covariance of all unknowns, and the spread of each term (`calibration.Fit`)."""

    design: Design
    unknowns: FloatArray  # (size,)
    covariance: Covariance
    spreads: FloatArray  # per term, natural-log units
    _remembered: dict[tuple[str, ...], Belief] = field(init=False, repr=False, default_factory=dict)

    def beliefs(self, table: Table) -> tuple[list[Belief], IntArray]:
        """The belief of each of the c combinations that a table's n rows have, and the combination of each, (n,)."""
        columns = groupings(table)
        first, combination = combinations([column.codes for column in columns.values()])
        levels = [[column.vocabulary[code] for code in column.codes[first].tolist()] for column in columns.values()]
        return [self._belief(tuple(columns), key) for key in zip(*levels, strict=True)], combination

    def coefficients(self, table: Table) -> FloatArray:
        """Mean coefficients of every row, shape (n, k), on the scale of `COEFFICIENTS`."""
        beliefs, combination = self.beliefs(table)
        return mean_coefficients(beliefs, combination, covariates(table))

    def _belief(self, names: tuple[str, ...], key: tuple[str, ...]) -> Belief:
        found = self._remembered.get(key)
        if found is None:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            found = self._remembered[key] = self._worked_out(dict(zip(names, key, strict=True)))
        return found

    def _worked_out(self, level: dict[str, str]) -> Belief:
        terms = zip(TERMS, self.design.levels, strict=True)
        of_terms = [position(term, levels, level[term.grouping]) for term, levels in terms]
        positions = np.array([*range(FIXED), *of_terms])
        seen = positions >= 0
        where, target = positions[seen], _FOLDED[seen]
        fold = np.zeros((len(where), FIXED))
        fold[np.arange(len(where)), target] = 1.0
        covariance = fold.T @ self.covariance.among(where) @ fold
        unseen = np.array(of_terms) == UNSEEN
        prior = np.bincount(TARGETS[FIXED:][unseen], self.spreads[unseen] ** 2, minlength=FIXED)
        return Belief(fold.T @ self.unknowns[where], covariance + np.diag(prior))


def mean_coefficients(beliefs: list[Belief], combination: IntArray, slopes: FloatArray) -> FloatArray:
    """Mean coefficients of n rows, shape (n, k), from the belief of each one's combination and its covariates."""
    means = np.array([belief.mean for belief in beliefs])[combination]
    for offset, (coefficient, _, _) in enumerate(SLOPES, start=len(COEFFICIENTS)):
        means[:, INDEX[coefficient]] += means[:, offset] * slopes[offset - len(COEFFICIENTS)]
    return means[:, : len(COEFFICIENTS)]


def variances(beliefs: list[Belief], combination: IntArray, slopes: FloatArray, derivative: FloatArray) -> FloatArray:
    """Variance of what has the `derivative` (n, k) to the coefficients of n rows, shape (n,)."""
    to_slopes = [derivative[:, INDEX[slope[0]]] * covariate for slope, covariate in zip(SLOPES, slopes, strict=True)]
    gradient = np.column_stack([derivative, *to_slopes])
    if len(beliefs) == 1:
        return _quadratic(gradient, beliefs[0].covariance)
    result = np.empty(len(gradient))
    order = np.argsort(combination, kind="stable")
    ends = np.cumsum(np.bincount(combination, minlength=len(beliefs)))
    for belief, begin, end in zip(beliefs, [0, *ends[:-1]], ends, strict=True):
        rows = order[begin:end]
        result[rows] = _quadratic(gradient[rows], belief.covariance)
    return result


def _quadratic(gradient: FloatArray, covariance: FloatArray) -> FloatArray:
    result: FloatArray = np.maximum(np.einsum("ni,ni->n", gradient @ covariance, gradient), 0.0)
    return result
