"""A fit that what ships anchors, and what teams submit refines: whoever submits, however much, moves it only so far.

The rows that nobody vouches for but the team that submitted them are looked at from a fit that has not seen them. What
a team's rows have in common (its level: all of them slower or faster than expected) is the team's own and moves nobody
else's predictions: it is taken off, but for `LEVEL_SAY`. What is left, how its runs compare with each other, is learned
from, the less the more it scatters; a team whose runs scatter wildly has no say, nor has a run far from its others.
A team's own predictions come from its own rows as they are (`Forecaster.learn`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.engine.calibration import SIGMA_RANGE, TYPICAL_SIGMA, Fit, fit, predict, sampled_rows
from service.engine.effects import Design, make_design
from service.engine.table import BoolArray, FloatArray, Table

LEVEL_SAY = 0.0
MOST_SCATTER = 0.8
FAR_RUN = 1.5
REFINING_ITERATIONS = 6


@dataclass(frozen=True, eq=False)
class Vouched:
    """Submitted rows as a fit may use them: which, their times without their teams' levels, and scales by lineage."""

    used: BoolArray
    log_seconds: FloatArray
    scales: dict[str, float]


def vouch(anchor: Fit, table: Table, log_seconds: FloatArray) -> Vouched:
    """Looks at submitted rows, each lineage a team, from a fit that has not seen them. Shapes (n,)."""
    nowhere = np.full(len(table), "", dtype=object)
    expected, _, _ = predict(anchor, table.replace(lineage=nowhere, site=nowhere))
    beyond = log_seconds - expected
    used, adjusted = np.zeros(len(table), dtype=bool), log_seconds.copy()
    scales: dict[str, float] = {}
    lineages = table.text("lineage").astype(str)
    for name in np.unique(lineages):
        own = np.flatnonzero(lineages == name)
        level = float(np.median(beyond[own]))
        apart = np.abs(beyond[own] - level)
        scatter = 1.4826 * float(np.median(apart))
        adjusted[own] -= level - np.clip(level, -LEVEL_SAY, LEVEL_SAY)
        used[own] = (apart < FAR_RUN) & (scatter < MOST_SCATTER)
        scales[str(name)] = float(np.clip(max(scatter, TYPICAL_SIGMA), *SIGMA_RANGE))
    return Vouched(used, adjusted, scales)


def refine(anchor: Fit, table: Table, log_seconds: FloatArray, submitted: BoolArray) -> tuple[Fit, BoolArray, FloatArray]:
    """The anchor, refined by submitted rows; and which rows that used, with what times. Shapes (n,)."""
    vouched = vouch(anchor, table.take(submitted), log_seconds[submitted])
    used, adjusted = np.ones(len(table), dtype=bool), log_seconds.copy()
    used[submitted], adjusted[submitted] = vouched.used, vouched.log_seconds
    # Drawn apart, so that the anchor's rows are the same whoever submits.
    sampled = np.ones(len(table), dtype=bool)
    for part in (submitted & used, ~submitted):
        sampled[part] = sampled_rows(table.take(part))
    rows = np.flatnonzero(used & sampled)
    subset = table.take(rows)
    design = make_design(subset)
    start = Fit(
        design,
        _carried(anchor.design, design, anchor.unknowns),
        np.empty((0, 0)),
        anchor.spreads,
        anchor.sigma,
        anchor.sigmas | vouched.scales,
    )
    refined = fit(
        subset, adjusted[rows], design=design, start=start, iterations=REFINING_ITERATIONS, learn_spreads=False,
        most_rows=len(rows),
    )  # fmt: skip
    return refined, used, adjusted


def _carried(old: Design, new: Design, unknowns: FloatArray) -> FloatArray:
    """Values of a new design's unknowns: those of the old design, and the prior's where it has none."""
    values = new.prior_mean()
    values[: new.fixed] = unknowns[: old.fixed]
    for before, after in zip(old.levels, new.levels, strict=True):
        for name, position in after.items():
            if name in before:
                values[position] = unknowns[before[name]]
    return values
