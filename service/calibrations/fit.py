"""From measurements to a calibration that ships: fit, hold out, make intervals honest, write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.calibrations.shipped import Measured, measured, shipped_rows
from service.catalog.catalog import Catalog, load_catalog
from service.catalog.records import DATA
from service.engine import accuracy
from service.engine.calibration import Fit, fit
from service.engine.evidence import grade
from service.engine.forecast import Forecaster
from service.engine.memory_fit import fit_memory

CALIBRATION = DATA / "calibration.json.gz"
Progress = Callable[[str, float], None]


def _silent(stage: str, share: float) -> None:
    """Reports nothing."""


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A forecaster and what held-out predictions it was judged by."""

    forecaster: Forecaster
    measured: Measured
    fitted: Fit
    held_out: accuracy.HeldOut


def calibrate(data: Measured, *, progress: Progress = _silent, processes: int = 2) -> Calibrated:
    """Fit all rows that were timed, predict each lineage without it, and widen intervals to what that shows."""
    timed = np.isfinite(data.log_seconds)
    table, log_seconds = data.table.take(timed), data.log_seconds[timed]
    progress("fitting", 0.0)
    fitted = fit(table, log_seconds)
    progress("predicting each lineage without it", 0.2)
    held_out = accuracy.leave_lineages_out(table, log_seconds, fitted, processes=processes)
    progress("scoring", 0.9)
    evidence = accuracy.evidence_of(fitted, data.ids[timed], table, log_seconds)
    grades = grade(table, evidence.nearest_distance(table, other_lineages_only=True))
    factors = accuracy.widening(table, log_seconds, held_out, grades)
    measured_memory = np.isfinite(data.peak_memory_gb)
    memory = fit_memory(data.table.take(measured_memory), data.peak_memory_gb[measured_memory])
    report = {
        **accuracy.report(table, log_seconds, held_out, factors, grades),
        "memory": memory.report,
        "rows": int(timed.sum()),
    }
    forecaster = Forecaster.of(
        fitted,
        evidence,
        fingerprint=data.fingerprint,
        widening=factors,
        memory_unknowns=memory.unknowns,
        memory_sigma=memory.sigma,
        report=report,
    )
    progress("done", 1.0)
    return Calibrated(forecaster.identified(), data, fitted, held_out)


def load_shipped(catalog: Catalog | None = None) -> Measured:
    """The shipped measurements, resolved, in the canonical order of a fit: that of their ids."""
    rows, ids = shipped_rows()
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return measured([rows[index] for index in order], [ids[index] for index in order], catalog or load_catalog())


def fit_shipped(path: Path = CALIBRATION, *, progress: Progress = _silent) -> Calibrated:
    """Fit the shipped measurements and write the calibration that ships; reproducible from them."""
    result = calibrate(load_shipped(), progress=progress)
    path.write_bytes(result.forecaster.dump())
    return result
