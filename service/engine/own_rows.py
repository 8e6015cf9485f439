"""Learning from a site's own measurements: its coefficients, and what its similar runs share beyond them.

One Gaussian process (Rasmussen and Williams 2006, chapters 2 and 5) of a site's residuals: the mechanics with the
calibration's uncertain unknowns as a linear kernel (so an own row moves the coefficients that could have caused its
residual), and a smooth kernel over configurations. How noisy a site is, how much its runs share and how far that
reaches differ from site to site: a grid of such hypotheses is weighed by the evidence (marginal likelihood) of the
site's own rows, so that a careful site gets narrow intervals and a careless one wide ones. Outliers lose their say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import linalg

from service.engine.calibration import Mechanics
from service.engine.evidence import FEATURE_WEIGHTS, features
from service.engine.table import FloatArray, IntArray, Table, TextArray

OWN_SITE = "own"  # name of the level that a site's own rows speak about
MOST_OWN_ROWS = 400  # rows of one site that are learned from at most: a seeded sample beyond
# The constants below are judgement: round figures between two fits, each to one half of the lineages, of the likelihood
# of the other rows of a source once 20 were learned (51 sources). Grids of five to 36 hypotheses left the mean error of
# Transformers between 26 and 27 %, of others between 49 and 53 %.
NOISES = (0.03, 0.06, 0.12, 0.25)  # repeat scatter, natural log; careful vendors 3 %, community data 15 % and more
SHARED_SPREADS = (0.15, 0.3, 0.6)  # standard deviation of what near-identical runs share, natural log
REACHES = (0.7, 1.5, 3.0)  # distances over which it fades, in units of the two tables below
OUTLIER_REACH = 4.0  # noises beyond which a row loses its say (Cauchy weights)
LEAST_WEIGHT = 0.01
REWEIGHTINGS = 3
LEAST_SHARE = 0.003  # hypotheses less likely than this are dropped
# Natural-log units of each of `evidence.features` over which similarity fades at reach 1.
FEATURE_LENGTHS = np.array([2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 4.0, 2.0])
# Distance that a differing name adds at reach 1.
NAME_DISTANCES = {
    "accelerator": 0.5,
    "chip_group": 0.5,
    "model": 0.6,
    "precision": 0.7,
    "mode": 0.7,
    "framework": 0.7,
    "evidence": 0.7,
    "sharding": 0.45,
    "recompute": 0.45,
    "attention": 0.45,
    "optimizer": 0.45,
    "family": 0.45,
    "data_input": 0.45,
    "packing": 0.45,
}
# Distance that a switch of software adds between two runs that are compared: how much it brings differs from model to
# model. Measured pairs that differ in nothing else scatter about the ratio predicted by 0.16 to 0.67 for compilation
# (natural log, robust standard deviations of three lineages, 481 pairs) and by 0.2 for recorded graphs (two pairs); the
# mechanics alone say 0.04. Judgement: as much as a name of the software, which says 0.18 at a new site.
SWITCH_DISTANCE = 0.45
SWITCHES = ("compile", "cuda_graphs", "memory_format")


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One kind of site: its noise, shared spread and reach, how likely it is, and what it makes of n own rows."""

    noise: float
    spread: float
    reach: float
    share: float  # posterior probability
    weights: FloatArray  # (n,): B^-1 times the residuals of the linearised mechanics
    inverse: FloatArray  # (n, n): B^-1, of all covariance between own rows, noise included


@dataclass(frozen=True, eq=False)
class OwnRows:
    """What n own rows taught about a site."""

    coordinates: FloatArray  # (n, features), in units of FEATURE_LENGTHS
    names: dict[str, TextArray]
    influence: FloatArray  # (unknowns, n): covariance of the unknowns with the rows' predictions
    hypotheses: tuple[Hypothesis, ...]

    def shift_and_variance(
        self, table: Table, positions: IntArray, gradient: FloatArray, mechanics: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """What the site's runs exceed the mechanics by (natural log), and the variance of a new run; shapes (m,).

        Args:
            table: m configurations.
            positions: unknowns that each depends on, shape (m, w), -1 where none.
            gradient: derivatives of log seconds to them, shape (m, w).
            mechanics: prior variance from uncertain unknowns, shape (m,).
        """
        shift, whole, variance = np.zeros((3, len(table)))
        wholes = []
        for one, smooth, cross in self._covariances(table, positions, gradient):
            left = mechanics + one.spread**2 - np.einsum("mn,mn->m", cross @ one.inverse, cross)
            wholes.append(cross @ one.weights)
            shift += one.share * (smooth @ one.weights)
            whole += one.share * wholes[-1]
            variance += one.share * (np.maximum(left, 0.0) + one.noise**2)
        # Hypotheses disagree, about the coefficients too.
        for one, mean in zip(self.hypotheses, wholes, strict=True):
            variance += one.share * (mean - whole) ** 2
        return shift, variance

    def variance_of_difference(
        self, ours: tuple[Table, Mechanics], theirs: tuple[Table, Mechanics], mechanics: FloatArray
    ) -> FloatArray:
        """Variance of the difference between new runs' log seconds and those of other new runs, shape (m,).

        Args:
            ours: m configurations, and what the mechanics say of them.
            theirs: those that each is compared with.
            mechanics: prior variance of the difference from uncertain unknowns, shape (m,).
        """
        far, differing = distances_between(ours[0], theirs[0])
        pairs = (self._covariances(table, *said.gradient()) for table, said in (ours, theirs))
        variance, whole = np.zeros((2, len(ours[0])))
        moves = []
        for (one, _, cross), (_, _, other) in zip(*pairs, strict=True):
            apart = cross - other
            unshared = 2.0 * (1.0 - similarity(far, differing, 1.0, one.reach))
            left = mechanics + one.spread**2 * unshared - np.einsum("mn,mn->m", apart @ one.inverse, apart)
            moves.append(apart @ one.weights)
            whole += one.share * moves[-1]
            variance += one.share * (np.maximum(left, 0.0) + one.noise**2 * unshared)
        for one, move in zip(self.hypotheses, moves, strict=True):
            variance += one.share * (move - whole) ** 2
        return variance

    def _covariances(
        self, table: Table, positions: IntArray, gradient: FloatArray
    ) -> Iterator[tuple[Hypothesis, FloatArray, FloatArray]]:
        """By hypothesis, the covariance of m configurations with the own rows: beyond the mechanics, and whole."""
        far, differing = distances(table, self.coordinates, self.names)
        linear = np.einsum("mw,mwn->mn", np.where(positions >= 0, gradient, 0.0), self.influence[positions])
        for one in self.hypotheses:
            smooth = similarity(far, differing, one.spread, one.reach)
            yield one, smooth, smooth + linear


def coordinates_of(table: Table) -> FloatArray:
    """Coordinates of every configuration in units over which similarity fades, shape (n, features)."""
    return np.asarray(features(table) / np.array(FEATURE_WEIGHTS) / FEATURE_LENGTHS, dtype=np.float64)


def distances(table: Table, coordinates: FloatArray, names: dict[str, TextArray]) -> tuple[FloatArray, FloatArray]:
    """Squared distances of m configurations to n own rows: by features, and by names; shapes (m, n)."""
    mine = coordinates_of(table)
    far = (mine**2).sum(axis=1)[:, None] + (coordinates**2).sum(axis=1)[None, :] - 2.0 * mine @ coordinates.T
    differing = np.zeros_like(far)
    for name, distance in NAME_DISTANCES.items():
        differing += distance**2 * (table.text(name)[:, None] != names[name][None, :])
    return np.maximum(far, 0.0), differing


def distances_between(ours: Table, theirs: Table) -> tuple[FloatArray, FloatArray]:
    """Squared distances of m configurations each to its own counterpart: by features, and by names; shapes (m,)."""
    far = ((coordinates_of(ours) - coordinates_of(theirs)) ** 2).sum(axis=1)
    differing = np.zeros(len(ours))
    for name, distance in NAME_DISTANCES.items():
        differing += distance**2 * (ours.text(name) != theirs.text(name))
    for name in SWITCHES:
        differing += SWITCH_DISTANCE**2 * (_switched(ours, name) != _switched(theirs, name))
    return far, differing


def _switched(table: Table, name: str) -> TextArray:
    """How a switch stands, shape (n,): one that nobody mentions is as usual."""
    if name == "compile":
        return np.where(table[name] > 0, "on", "")
    stated = table.text(name)
    return np.where(np.isin(stated.astype(str), ("none", "contiguous")), "", stated)


def similarity(far: FloatArray, differing: FloatArray, spread: float, reach: float) -> FloatArray:
    """Covariance of what runs share, at squared distances: a wide reach doesn't reach further across names."""
    return np.asarray(spread**2 * np.exp(-0.5 * (far / reach**2 + differing / min(reach, 1.0) ** 2)))


def weigh(own: Table, residual: FloatArray, influence: FloatArray, mechanics: FloatArray) -> tuple[OwnRows, FloatArray]:
    """Weigh all hypotheses about a site by its own rows.

    Args:
        own: n own configurations.
        residual: what they exceed the prior mechanics by, linearised, natural log, shape (n,).
        influence: covariance of the unknowns with the rows' predictions, shape (unknowns, n).
        mechanics: covariance of the rows' predictions, shape (n, n).

    Returns: what the rows taught, and how far the unknowns move, shape (unknowns,).
    """
    coordinates, names = coordinates_of(own), {name: own.text(name) for name in NAME_DISTANCES}
    far, differing = distances(own, coordinates, names)
    found: list[tuple[float, float, float, float, FloatArray, FloatArray]] = []
    for noise, spread, reach in product(NOISES, SHARED_SPREADS, REACHES):
        shared = mechanics + similarity(far, differing, spread, reach)
        say = np.ones(len(residual))
        for _ in range(REWEIGHTINGS):
            factor = linalg.cho_factor(shared + np.diag(noise**2 / say), lower=True, check_finite=False)
            weights = linalg.cho_solve(factor, residual, check_finite=False)
            unexplained = residual - shared @ weights
            evidence = -0.5 * float(residual @ weights) - float(np.log(np.diag(factor[0])).sum())
            say = np.maximum(1.0 / (1.0 + (unexplained / (OUTLIER_REACH * noise)) ** 2), LEAST_WEIGHT)
        inverse = linalg.cho_solve(factor, np.eye(len(residual)), check_finite=False)
        found.append((evidence, noise, spread, reach, weights, inverse))
    evidences = np.array([one[0] for one in found])
    shares = np.exp(evidences - evidences.max())
    shares /= shares.sum()
    kept = np.flatnonzero(shares > LEAST_SHARE)
    hypotheses = tuple(
        Hypothesis(*found[index][1:4], float(shares[index] / shares[kept].sum()), *found[index][4:]) for index in kept
    )
    move = influence @ sum(one.share * one.weights for one in hypotheses)
    return OwnRows(coordinates, names, influence, hypotheses), np.asarray(move, dtype=np.float64)
