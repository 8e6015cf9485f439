"""Where changes of a run are tried: estimated as one table, and compared with the run as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.catalog.catalog import Catalog
from service.engine.comparison import log_ratio
from service.engine.table import Table, concatenate
from service.estimates.schemas import Estimate, EstimateRequest
from service.estimates.service import compute_many
from service.levers.schemas import Lever
from service.levers.speedups import lever_of, times_faster
from service.levers.trials import Trial, changed
from service.sites.standpoint import Standpoint

# A predicted gain below this is no reason to change anything. Judgement.
LEAST_GAIN = 1.005


@dataclass(frozen=True, eq=False)
class Tried:
    """A change that can run: its estimate, the engine's row behind it, and how many times faster it is."""

    trial: Trial
    estimate: Estimate
    row: Table
    gain: float


@dataclass(frozen=True)
class Failed:
    """A change that cannot run, and why."""

    trial: Trial
    reason: str


@dataclass(frozen=True, eq=False)
class Bench:
    """A run, and what it is estimated with."""

    request: EstimateRequest
    baseline: Estimate
    row: Table
    catalog: Catalog
    standpoint: Standpoint

    def tried(self, trials: Sequence[Trial]) -> list[Tried | Failed]:
        """What comes of each change, in order."""
        requests = [changed(self.request, trial.change) for trial in trials]
        computed = compute_many(requests, self.catalog, self.standpoint, with_remedies=False)
        rows = {position: row for row, position in enumerate(computed.computed)}
        found: list[Tried | Failed] = []
        for position, (trial, answer) in enumerate(zip(trials, computed.estimates(), strict=True)):
            if isinstance(answer, Estimate):
                row = computed.runs.table.take(np.array([rows[position]]))
                found.append(Tried(trial, answer, row, times_faster(answer, self.baseline)))
            else:
                found.append(Failed(trial, f"{answer[0].field}: {answer[0].message}"))
        return found

    def levers(self, tried: Sequence[Tried]) -> list[Lever]:
        """What is said of changes, with the intervals of their speed-ups."""
        if not tried:
            return []
        table = concatenate(one.row for one in tried)
        apart = log_ratio(self.standpoint.forecaster, table, self.row).deviation
        return [
            lever_of(one.trial, one.estimate, self.baseline, float(deviation))
            for one, deviation in zip(tried, apart, strict=True)
        ]


def drawback(one: Tried | Failed) -> str | None:
    """Why a change is none to propose."""
    if isinstance(one, Failed):
        return one.reason
    memory = one.estimate.memory
    if not memory.fits:
        space = "" if memory.available_gb is None else f" of {memory.available_gb:g}"
        return f"would not fit: needs about {memory.peak_gb.p50:.3g}{space} GB on each accelerator"
    if one.gain < LEAST_GAIN:
        return "makes no difference" if one.gain > 1.0 / LEAST_GAIN else f"takes {1.0 / one.gain:.3g} times as long"
    return None
