"""Numbers as the API writes them: seven significant digits, more than any measurement holds, and shorter to read."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from service.engine.distribution import Distribution, FloatArray
from service.estimates.schemas import Quantity

DIGITS = 7
_POWERS = 10.0 ** np.arange(23)  # those that a double holds exactly
_TIE = 0.5 - 1e-6  # how far from a whole number the rounding of a product can't matter


def quantity(distribution: Distribution, row: int) -> Quantity | None:
    """One row of a distribution; None where it is unknown."""
    if not math.isfinite(float(distribution.p50[row])):
        return None
    return Quantity(
        p10=rounded(distribution.p10[row]), p50=rounded(distribution.p50[row]), p90=rounded(distribution.p90[row])
    )


def rounded(value: float | np.floating[Any]) -> float:
    """The value to seven significant digits."""
    return float(f"{float(value):.{DIGITS}g}")


def significant(values: FloatArray) -> FloatArray:
    """As `rounded`, of each of the values, any shape."""
    size = np.abs(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.floor(np.log10(size))
        places = np.where(np.isfinite(exponent), DIGITS - 1 - exponent, 0.0).astype(np.int64)
        up, down = (_POWERS[np.minimum(np.maximum(side, 0), 22)] for side in (places, -places))
        scaled = size * up / down
        digits = np.rint(scaled)
        # Halfway between two numbers, at the edge of a power of ten and beyond exact powers, text is the judge.
        sure = (np.abs(scaled - digits) < _TIE) & (scaled >= _POWERS[DIGITS - 1]) & (digits <= _POWERS[DIGITS])
        doubtful = np.isfinite(size) & (size > 0) & ~sure
    result: FloatArray = np.copysign(digits / up * down, values)
    if doubtful.any():
        result[doubtful] = [rounded(value) for value in values[doubtful].tolist()]
    return result
