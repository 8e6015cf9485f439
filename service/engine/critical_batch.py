"""How the size of a batch trades steps against samples: the critical batch size; pure functions of arrays.

McCandlish et al. 2018 (arXiv 1812.06162, eq. 2.11): training to one loss takes S steps and E samples with
(S / S_min - 1)(E / E_min - 1) = 1, so S = S_min (1 + B_crit / B) and E = E_min (1 + B / B_crit) at a batch of B. Far
below the critical batch twice the batch halves the steps; far above it only wastes samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from service.engine.distribution import FloatArray

# Kaplan et al. 2020 (arXiv 2001.08361, section 5.1, eq. 5.3), decoders on WebText2, loss in nats a token.
CRITICAL_TOKENS_AT_ONE_NAT = 2e8
LOSS_EXPONENT = 0.21
# ResNet-50 on ImageNet, averaged over training (McCandlish et al. 2018, table 1), images.
CRITICAL_IMAGES_OF_IMAGENET = 15_000.0


def critical_batch_tokens(loss: ArrayLike) -> FloatArray:
    """Critical batch of a decoder that has reached a loss (nats a token), tokens: B* / L^(1 / alpha_B)."""
    return np.asarray(CRITICAL_TOKENS_AT_ONE_NAT * np.asarray(loss, dtype=np.float64) ** (-1.0 / LOSS_EXPONENT))


def samples_ratio(batch: ArrayLike, reference_batch: ArrayLike, critical_batch: ArrayLike) -> FloatArray:
    """Samples to one loss at `batch` over those at `reference_batch`; all three in one unit, samples or tokens."""
    critical = np.asarray(critical_batch, dtype=np.float64)
    return np.asarray((critical + np.asarray(batch)) / (critical + np.asarray(reference_batch)))


def steps_ratio(batch: ArrayLike, reference_batch: ArrayLike, critical_batch: ArrayLike) -> FloatArray:
    """Optimizer steps to one loss at `batch` over those at `reference_batch`; all three in one unit."""
    ratio = samples_ratio(batch, reference_batch, critical_batch)
    return np.asarray(ratio * np.asarray(reference_batch) / np.asarray(batch))
