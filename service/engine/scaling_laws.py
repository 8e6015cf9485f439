"""How loss, parameters and tokens of a language model hang together, as published; pure functions of arrays.

The law is that of Hoffmann et al. 2022 (arXiv 2203.15556, appendix D.3, eq. 10, "approach 3"): L = E + A / N^alpha +
B / D^beta, with L the cross-entropy in nats a token of held-out text, N the parameters of a dense decoder and D the
tokens it is trained on, each seen once. Besiroglu et al. 2024 (arXiv 2404.10102, eq. 4 and table 1) fitted the same
runs again. Losses are those of the law's text and tokenizer (MassiveText): another corpus has another scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from service.engine.distribution import Z90, Distribution, FloatArray

FLOPS_PER_PARAMETER_AND_TOKEN = 6.0  # Kaplan et al. 2020 (arXiv 2001.08361, section 2.1)

# What the experiments covered: over 400 models (Hoffmann et al. 2022, abstract).
PARAMETERS_TRIED = (70e6, 16e9)
TOKENS_TRIED = (5e9, 500e9)
# Hoffmann et al. then trained Chinchilla on 1.4e12 tokens where their analysis put the optimum (section 4): the one
# extrapolation that was checked, so the furthest that is answered.
MOST_PARAMETERS, MOST_TOKENS = 70e9, 1.4e12

DERIVATIVE_STEP = 1e-5


@dataclass(frozen=True)
class ScalingLaw:
    """A fit of L = E + A / N^alpha + B / D^beta; `source` names the paper and the place in it."""

    name: str
    irreducible: float
    parameters_factor: float
    tokens_factor: float
    parameters_exponent: float
    tokens_exponent: float
    source: str


HOFFMANN = ScalingLaw("hoffmann-2022", 1.69, 406.4, 410.7, 0.34, 0.28, "Hoffmann et al. 2022, arXiv 2203.15556, eq. 10")
BESIROGLU = ScalingLaw(
    "besiroglu-2024", 1.8172, 482.01, 2085.43, 0.3478, 0.3658, "Besiroglu et al. 2024, arXiv 2404.10102, table 1"
)
LAWS = {law.name: law for law in (BESIROGLU, HOFFMANN)}
"""The laws by name; the first is the one to take where nobody says: the original's printed fit misses its own runs."""

# Standard errors of ln A, ln B, E, alpha and beta in the re-fit, from 4,000 bootstraps: A 482.0 (124.5), B 2085 (1293),
# E 1.817 (0.0257), alpha 0.3478 (0.0154), beta 0.3659 (0.0206); the notebook that the paper publishes prints them.
PUBLISHED_ERRORS = np.array([124.52 / 482.0, 1293.28 / 2085.4, 0.02566, 0.0154, 0.0206])
GRID_POINTS = 20  # a side of the grid that stands for the experiments' design


class OutsideLawError(ValueError):
    """What is asked lies outside what the law was fitted on or checked at; `least` and `most` bound what is inside."""

    def __init__(self, quantity: str, value: float, least: float, most: float) -> None:
        super().__init__(f"{value:.3g} {quantity} are outside {least:.3g} to {most:.3g}")
        self.quantity, self.value, self.least, self.most = quantity, value, least, most


def loss(law: ScalingLaw, parameters: ArrayLike, tokens: ArrayLike) -> FloatArray:
    """Loss in nats a token of models of so many `parameters` after so many `tokens`; shapes broadcast."""
    n, d = np.asarray(parameters, dtype=np.float64), np.asarray(tokens, dtype=np.float64)
    return np.asarray(
        law.irreducible
        + law.parameters_factor * n**-law.parameters_exponent
        + law.tokens_factor * d**-law.tokens_exponent
    )


def tokens_for(law: ScalingLaw, parameters: ArrayLike, target_loss: ArrayLike) -> FloatArray:
    """Tokens after which models of so many `parameters` reach a loss; infinite where they never do."""
    n = np.asarray(parameters, dtype=np.float64)
    left = np.asarray(target_loss) - law.irreducible - law.parameters_factor * n**-law.parameters_exponent
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(left > 0, (law.tokens_factor / left) ** (1.0 / law.tokens_exponent), np.inf))


def parameters_for(law: ScalingLaw, tokens: ArrayLike, target_loss: ArrayLike) -> FloatArray:
    """Parameters of the models that reach a loss after so many `tokens`; infinite where none does."""
    d = np.asarray(tokens, dtype=np.float64)
    left = np.asarray(target_loss) - law.irreducible - law.tokens_factor * d**-law.tokens_exponent
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(left > 0, (law.parameters_factor / left) ** (1.0 / law.parameters_exponent), np.inf))


def compute_optimal(law: ScalingLaw, flops: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Parameters and tokens with the least loss that a budget of training FLOPs = 6 N D buys.

    Hoffmann et al. 2022, section 3.3, eq. 4: N = G (C / 6)^a, D = (C / 6)^b / G, with a = beta / (alpha + beta),
    b = alpha / (alpha + beta) and G = (alpha A / (beta B))^(1 / (alpha + beta)).
    """
    budget = np.asarray(flops, dtype=np.float64) / FLOPS_PER_PARAMETER_AND_TOKEN
    together = law.parameters_exponent + law.tokens_exponent
    gain = law.parameters_exponent * law.parameters_factor / (law.tokens_exponent * law.tokens_factor)
    parameters = gain ** (1.0 / together) * budget ** (law.tokens_exponent / together)
    return np.asarray(parameters), np.asarray(budget / parameters)


def least_compute(law: ScalingLaw, target_loss: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Parameters and tokens that reach a loss with the fewest FLOPs; infinite at or below the irreducible loss.

    On the frontier of `compute_optimal` alpha A / N^alpha = beta B / D^beta, so the reducible loss is shared out as
    beta : alpha between parameters and tokens.
    """
    left = np.asarray(target_loss, dtype=np.float64) - law.irreducible
    alpha, beta = law.parameters_exponent, law.tokens_exponent
    of_parameters = left * beta / (alpha + beta)
    with np.errstate(divide="ignore", invalid="ignore"):
        parameters = np.where(left > 0, (law.parameters_factor / of_parameters) ** (1.0 / alpha), np.inf)
        tokens = np.where(left > 0, (law.tokens_factor / (left - of_parameters)) ** (1.0 / beta), np.inf)
    return np.asarray(parameters), np.asarray(tokens)


def check_range(parameters: float, tokens: float) -> bool:
    """Whether a model of `parameters` after `tokens` lies within the experiments; False where it is extrapolated.

    Raises:
        OutsideLawError: It lies beyond what was ever checked.
    """
    for quantity, value, least, most in (
        ("parameters", parameters, PARAMETERS_TRIED[0], MOST_PARAMETERS),
        ("tokens", tokens, TOKENS_TRIED[0], MOST_TOKENS),
    ):
        # A published 70B has 70.6e9 parameters.
        if not 0.98 * least <= value <= 1.02 * most:
            raise OutsideLawError(quantity, value, least, most)
    return parameters <= PARAMETERS_TRIED[1] and tokens <= TOKENS_TRIED[1]


def losses_within(law: ScalingLaw, parameters: float) -> tuple[float, float]:
    """The least and the largest loss that a model of `parameters` has within the range of tokens."""
    return float(loss(law, parameters, MOST_TOKENS)), float(loss(law, parameters, TOKENS_TRIED[0]))


def tokens_interval(law: ScalingLaw, parameters: float, target_loss: float) -> Distribution:
    """`tokens_for` with the interval that the fit's uncertainty leaves, shape (1,)."""
    return _interval(law, lambda moved: tokens_for(moved, parameters, target_loss))


def equal_loss_tokens(law: ScalingLaw, parameters: float, tokens: float, other_parameters: float) -> Distribution:
    """Tokens after which models of `other_parameters` have the loss of `parameters` after `tokens`, shape (1,).

    The fit's uncertainty moves both losses together, so that most of it cancels.
    """
    return _interval(law, lambda moved: tokens_for(moved, other_parameters, loss(moved, parameters, tokens)))


def _interval(law: ScalingLaw, tokens: Callable[[ScalingLaw], FloatArray]) -> Distribution:
    """First-order propagation of the fit's covariance to the log of a number of tokens (JCGM 100:2008, 5.2.2)."""
    median = np.atleast_1d(tokens(law))
    if not np.isfinite(median).all():
        return Distribution(median, median, median)
    slopes = np.array([np.log(np.atleast_1d(tokens(moved)) / median)[0] / DERIVATIVE_STEP for moved in _moved(law)])
    up = np.exp(Z90 * np.sqrt(slopes @ covariance(law) @ slopes))
    return Distribution(median / up, median, median * up)


def _moved(law: ScalingLaw) -> list[ScalingLaw]:
    """The law with one of ln A, ln B, E, alpha, beta a little larger, in that order."""
    name, irreducible, of_parameters, of_tokens, alpha, beta, source = astuple(law)
    step = DERIVATIVE_STEP
    return [
        ScalingLaw(name, irreducible, of_parameters * np.exp(step), of_tokens, alpha, beta, source),
        ScalingLaw(name, irreducible, of_parameters, of_tokens * np.exp(step), alpha, beta, source),
        ScalingLaw(name, irreducible + step, of_parameters, of_tokens, alpha, beta, source),
        ScalingLaw(name, irreducible, of_parameters, of_tokens, alpha + step, beta, source),
        ScalingLaw(name, irreducible, of_parameters, of_tokens, alpha, beta + step, source),
    ]


@cache
def covariance(law: ScalingLaw) -> FloatArray:
    """Covariance of ln A, ln B, E, alpha and beta, shape (5, 5).

    Published are the errors one by one, but A and alpha (B and beta) make up for each other. How far follows from
    where the runs were: the least-squares covariance of a log-uniform grid over the tried ranges, scaled so that the
    re-fit's errors are the published ones in geometric mean; each is within 30 % of its own. The original's intervals
    are too narrow by far (Besiroglu et al. 2024, section 3): its fit of the same runs is taken to scatter as they do.
    """
    ratios = PUBLISHED_ERRORS / np.sqrt(np.diag(_unscaled_covariance(BESIROGLU)))
    return np.asarray(_unscaled_covariance(law) * np.exp(2.0 * np.mean(np.log(ratios))))


def _unscaled_covariance(law: ScalingLaw) -> FloatArray:
    """The covariance if the log of every loss scattered by one."""
    sides = (np.geomspace(*tried, GRID_POINTS) for tried in (PARAMETERS_TRIED, TOKENS_TRIED))
    n, d = (side.ravel() for side in np.meshgrid(*sides))
    whole = loss(law, n, d)
    slopes = np.stack([(loss(moved, n, d) - whole) / DERIVATIVE_STEP / whole for moved in _moved(law)], axis=1)
    return np.asarray(np.linalg.inv(slopes.T @ slopes))
