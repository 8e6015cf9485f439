"""Where the hours of a run go, and what is reckoned with: the caller's figures or the published record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from service.catalog.operating_facts import publications
from service.engine.distribution import Distribution, FloatArray, exactly
from service.engine.economics import Goodput, GoodputOverrides, interruptions
from service.engine.operating_facts import OperatingFacts
from service.estimates.quantities import quantity, rounded
from service.estimates.schemas import EstimateRequest, GoodputAnswer, GoodputBasis

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
    found = interruptions(count, facts, overrides(requests))
    return {**found, "checkpoint_interval_hours": exactly(course.checkpoint_interval_hours)}


def course_of(
    row: int, request: EstimateRequest, course: Goodput, reckoned: Mapping[str, Distribution], facts: OperatingFacts
) -> GoodputAnswer | None:
    """One run's hours by part, and the basis of each; None where the request says no amount of data."""
    share = quantity(course.share, row)
    if share is None or not math.isfinite(course.wall_hours.p50[row]):
        return None
    basis = {}
    for name, values in reckoned.items():
        stated = getattr(request.goodput, name) is not None
        value = quantity(values, row)
        if value is not None:
            basis[name] = GoodputBasis(value=value, stated=stated, sources=[] if stated else _sources(name, facts))
    return GoodputAnswer(
        share=share,
        hours={name: rounded(hours[row]) for name, hours in course.parts.items()},
        failures=rounded(course.failures[row]),
        checkpoint_interval_hours=rounded(course.checkpoint_interval_hours[row]),
        basis=basis,
    )


def _sources(name: str, facts: OperatingFacts) -> list[str]:
    named = publications(facts, SOURCES[name])
    return [BEST_INTERVAL, *named] if name == "checkpoint_interval_hours" else named
