"""From measurements to a calibration that ships: fit, hold out, make intervals honest, write."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from service.calibrations.shipped import Measured, measured, shipped_rows
from service.calibrations.team_rows import refining_rows
from service.catalog.catalog import Catalog, load_catalog
from service.catalog.records import DATA
from service.engine import accuracy, accuracy_report
from service.engine.calibration import Fit, fit
from service.engine.evidence import Evidence, grade
from service.engine.forecast import Forecaster
from service.engine.held_out import HeldOut, evidence_of, leave_lineages_out
from service.engine.memory_fit import fit_memory
from service.engine.trust import is_submitted, refine

CALIBRATION = DATA / "calibration.json.gz"
Progress = Callable[[str, float], None]
HOLDING_OUT = "predicting each lineage without it"
FITTED_SHARE, HELD_OUT_SHARE = 0.2, 0.9
"""How far a calibration is when all rows are fitted, and when each lineage was predicted without it; by their time."""


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
    """Fit all rows that were timed, predict each lineage without it, and widen intervals to what that shows.

    What teams submitted is judged by how well the lineages that ship are predicted with it.
    """
    timed, submitted = np.isfinite(data.log_seconds), is_submitted(data.table)
    table, log_seconds = data.table.take(timed & ~submitted), data.log_seconds[timed & ~submitted]
    progress("fitting", 0.0)
    anchor = fit(table, log_seconds)
    fitted, evidence = shared_fit(data, anchor)
    progress(HOLDING_OUT, FITTED_SHARE)
    held_out = leave_lineages_out(
        table,
        log_seconds,
        anchor,
        processes=processes,
        refine=partial(_refined, data=data),
        progress=lambda share: progress(HOLDING_OUT, FITTED_SHARE + share * (HELD_OUT_SHARE - FITTED_SHARE)),
    )
    progress("scoring", HELD_OUT_SHARE)
    grades = grade(table, evidence.distance_to_others(table))
    factors = accuracy.widening(table, log_seconds, held_out, grades)
    # Peaks are fitted with every lineage weighing the same: so far only those that ship have a say.
    measured_memory = np.isfinite(data.peak_memory_gb) & ~submitted
    memory = fit_memory(data.table.take(measured_memory), data.peak_memory_gb[measured_memory])
    report = {
        **accuracy_report.report(
            table, log_seconds, held_out, factors, grades, data.configurations[timed & ~submitted]
        ),
        "memory": memory.report,
        "rows": int(timed.sum()),
        "submitted_rows": int((timed & submitted).sum()),
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


def shared_fit(data: Measured, anchor: Fit) -> tuple[Fit, Evidence]:
    """What everybody is predicted by: a fit of what ships, refined by what teams submitted, and the rows to point at.

    Submitted rows have no say in what near measurements add to a prediction: they would be witnesses of themselves.
    """
    fitted = _refined(anchor, data)
    timed, submitted = np.isfinite(data.log_seconds), is_submitted(data.table)
    evidence = evidence_of(fitted, data.ids[timed], data.table.take(timed), data.log_seconds[timed])
    return fitted, replace(evidence, log_beyond=np.where(submitted[timed], np.nan, evidence.log_beyond))


def _refined(anchor: Fit, data: Measured) -> Fit:
    rows = np.isfinite(data.log_seconds) & refining_rows(data.table)
    return refine(anchor, data.table.take(rows), data.log_seconds[rows])


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
    near = evidence.distance_to_others(table.take(asked))
    grades[asked] = grade(table.take(asked), near)
    # Read as a document: a calibration of another version of the engine still knows its factors.
    factors = json.loads(gzip.decompress(CALIBRATION.read_bytes()))["widening"]
    report = accuracy_report.report(table, log_seconds, held_out, factors, grades, data.configurations[timed])
    forecaster = replace(Forecaster.of(fitted, evidence, widening=factors), report=report)
    return Calibrated(forecaster, data, fitted, held_out)


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
