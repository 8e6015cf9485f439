"""Numbers as the API writes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from service.engine.distribution import Distribution
from service.estimates.schemas import Quantity


def quantity(distribution: Distribution, row: int) -> Quantity | None:
    """One row of a distribution; None where it is unknown."""
    if not math.isfinite(float(distribution.p50[row])):
        return None
    return Quantity(
        p10=rounded(distribution.p10[row]), p50=rounded(distribution.p50[row]), p90=rounded(distribution.p90[row])
    )


def rounded(value: float | np.floating[Any]) -> float:
    """The value to seven significant digits: more than any measurement holds, and shorter to read."""
    return float(f"{float(value):.7g}")
