"""Where the hours of a run go, and what is reckoned with: the caller's figures or the published record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from service.catalog.operating_facts import operating_facts, publications
from service.engine.distribution import Distribution, FloatArray
from service.engine.economics import Goodput, GoodputOverrides
from service.engine.operating_facts import OperatingFacts
from service.estimates.quantities import quantity, rounded
from service.estimates.schemas import EstimateRequest, GoodputAnswer, GoodputBasis, Quantity

# Fields of a request's `goodput` -> where `OperatingFacts.sources` lists what stands behind them.
SOURCES = {
    "failures_per_accelerator_hour": "failures_per_accelerator_hour",
    "recovery_seconds": "recovery_seconds",
    "checkpoint_seconds": "checkpoint_seconds",
    "checkpoint_interval_hours": "longest_checkpoint_interval_hours",
    "evaluation_share": "evaluation_share",
    "startup_seconds": "startup",
}
BEST_INTERVAL = "Young 1974, CACM 17(9):530"


def overrides(requests: Sequence[EstimateRequest]) -> GoodputOverrides:
    """What requests state of interruptions, as columns."""

    def column(name: str) -> FloatArray:
        stated = (getattr(request.goodput, name) for request in requests)
        return np.array([math.nan if value is None else value for value in stated], dtype=np.float64)

    return GoodputOverrides(**{name: column(name) for name in GoodputOverrides.__dataclass_fields__})


def constants(
    requests: Sequence[EstimateRequest], count: FloatArray, course: Goodput, facts: OperatingFacts
) -> dict[str, Distribution]:
    """What the course of each request's run was reckoned with, by field of `goodput`, shape (n,)."""
    return course.constants


def course_of(
    row: int, request: EstimateRequest, course: Goodput, reckoned: Mapping[str, Distribution]
) -> GoodputAnswer | None:
    """One run's hours by part, and the basis of each; None where the request says no amount of data."""
    share = quantity(course.share, row)
    if share is None or not math.isfinite(course.wall_hours.p50[row]):
        return None
    return GoodputAnswer(
        share=share,
        hours={name: rounded(hours[row]) for name, hours in course.parts.items()},
        failures=rounded(course.failures[row]),
        checkpoint_interval_hours=rounded(course.checkpoint_interval_hours[row]),
        basis={
            name: _basis(
                name,
                float(values.p10[row]),
                float(values.p50[row]),
                float(values.p90[row]),
                stated=getattr(request.goodput, name) is not None,
            )
            for name, values in reckoned.items()
        },
    )


@lru_cache(maxsize=4096)
def _basis(name: str, p10: float, p50: float, p90: float, *, stated: bool) -> GoodputBasis:
    """Remembered, for most requests state nothing and are reckoned with the same figures."""
    sources = [] if stated else publications(operating_facts(), SOURCES[name])
    if name == "checkpoint_interval_hours" and not stated:
        sources = [BEST_INTERVAL, *sources]
    value = Quantity(p10=rounded(p10), p50=rounded(p50), p90=rounded(p90))
    return GoodputBasis(value=value, stated=stated, sources=sources)
