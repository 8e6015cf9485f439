"""From measurements to a calibration that ships: fit, hold out, make intervals honest, write."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from service.calibrations.shipped import Measured, measured, shipped_rows
from service.catalog.catalog import Catalog, load_catalog
from service.catalog.records import DATA
from service.engine import accuracy, accuracy_report
from service.engine.calibration import Fit, fit
from service.engine.evidence import grade
from service.engine.forecast import Forecaster
from service.engine.held_out import HeldOut, evidence_of, leave_lineages_out
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
    held_out: HeldOut


def calibrate(data: Measured, *, progress: Progress = _silent, processes: int = 2) -> Calibrated:
    """Fit all rows that were timed, predict each lineage without it, and widen intervals to what that shows."""
    timed = np.isfinite(data.log_seconds)
    table, log_seconds = data.table.take(timed), data.log_seconds[timed]
    progress("fitting", 0.0)
    fitted = fit(table, log_seconds)
    progress("predicting each lineage without it", 0.2)
    held_out = leave_lineages_out(table, log_seconds, fitted, processes=processes)
    progress("scoring", 0.9)
    evidence = evidence_of(fitted, data.ids[timed], table, log_seconds)
    grades = grade(table, evidence.nearest_distance(table, other_lineages_only=True))
    factors = accuracy.widening(table, log_seconds, held_out, grades)
    measured_memory = np.isfinite(data.peak_memory_gb)
    memory = fit_memory(data.table.take(measured_memory), data.peak_memory_gb[measured_memory])
    report = {
        **accuracy_report.report(table, log_seconds, held_out, factors, grades, data.configurations[timed]),
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


def hold_out(data: Measured, lineages: Sequence[str], *, processes: int = 2) -> Calibrated:
    """`calibrate`, but only these lineages are left out and reported; intervals as the shipped calibration's.

    A tool of research: seconds instead of minutes. The forecaster is not one to ship.
    """
    timed = np.isfinite(data.log_seconds)
    table, log_seconds = data.table.take(timed), data.log_seconds[timed]
    fitted = fit(table, log_seconds)
    held_out = leave_lineages_out(table, log_seconds, fitted, lineages=lineages, processes=processes)
    evidence = evidence_of(fitted, data.ids[timed], table, log_seconds)
    asked = np.isin(table.text("lineage").astype(str), list(lineages))
    grades = np.full(len(table), "extrapolated", dtype=object)
    near = evidence.nearest_distance(table.take(asked), other_lineages_only=True)
    grades[asked] = grade(table.take(asked), near)
    # Read as a document: a calibration of another version of the engine still knows its factors.
    factors = json.loads(gzip.decompress(CALIBRATION.read_bytes()))["widening"]
    report = accuracy_report.report(table, log_seconds, held_out, factors, grades, data.configurations[timed])
    forecaster = replace(Forecaster.of(fitted, evidence, widening=factors), report=report)
    return Calibrated(forecaster, data, fitted, held_out)


def load_shipped(catalog: Catalog | None = None) -> Measured:
    """The shipped measurements, resolved."""
    rows, ids = shipped_rows()
    return measured(rows, ids, catalog or load_catalog())


def fit_shipped(path: Path = CALIBRATION, *, progress: Progress = _silent) -> Calibrated:
    """Fit the shipped measurements and write the calibration that ships; reproducible from them."""
    result = calibrate(load_shipped(), progress=progress)
    path.write_bytes(result.forecaster.dump())
    return result
