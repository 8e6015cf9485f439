"""From measurements to a calibration that ships: fit, hold out, make intervals honest, write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import optimize

from service.calibrations.shipped import Measured, measured, shipped_rows
from service.catalog.catalog import Catalog, load_catalog
from service.catalog.records import DATA
from service.engine import accuracy
from service.engine.calibration import Fit, fit
from service.engine.evidence import grade
from service.engine.forecast import Forecaster
from service.engine.memory import MEMORY_COEFFICIENTS, log_peak_gb
from service.engine.step_inputs import prepare
from service.engine.table import FloatArray, Table

CALIBRATION = DATA / "calibration.json.gz"
Progress = Callable[[str, float], None]
# Own rows are told apart from all else by 20 random ones of each source (seeded) when warm starts are scored.
WARM_ROWS = 20
WARM_SEED = 20


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
    stretch = np.array(
        [factors[f"{kind}/{level}"] for kind, level in zip(accuracy.family_class(table), grades, strict=True)]
    )
    spread = np.sqrt(held_out.variance) * stretch
    memory, memory_sigma, memory_report = fit_memory(data)
    report = {
        **accuracy.report(table, log_seconds, held_out, spread, grades),
        "memory": memory_report,
        "rows": int(timed.sum()),
    }
    fingerprint = data.fingerprint
    forecaster = Forecaster(
        f"{fingerprint[:12]}",
        fingerprint,
        fitted.design,
        fitted.unknowns,
        fitted.covariance,
        fitted.spreads,
        fitted.sigma,
        {**factors, "own/measured": 1.0, "own/interpolated": 1.0, "own/extrapolated": 1.3},
        memory,
        memory_sigma,
        evidence,
        report,
    )
    progress("done", 1.0)
    return Calibrated(forecaster.identified(), data, fitted, held_out)


def fit_memory(data: Measured) -> tuple[FloatArray, float, dict[str, object]]:
    """Memory coefficients from measured peaks, each lineage weighing the same; (values, spread, held-out report)."""
    has = np.isfinite(data.peak_memory_gb) & (data.peak_memory_gb > 0.2)
    table, target = data.table.take(has), np.log(data.peak_memory_gb[has])
    lineages = table.text("lineage").astype(str)
    everything = np.ones(len(table), dtype=bool)
    values = _memory_solution(table, target, everything)
    errors = np.full(len(table), np.nan)
    names = np.unique(lineages)
    for name in names:
        mask = lineages == name
        without = _memory_solution(table, target, ~mask)
        errors[mask] = _memory_prediction(table.take(mask), without) - target[mask]
    weights = 1.0 / np.array([np.sum(lineages == name) for name in lineages])
    order = np.argsort(np.abs(errors))
    cumulative = np.cumsum(weights[order])
    spread = float(np.abs(errors)[order[np.searchsorted(cumulative, 0.8 * cumulative[-1])]]) / 1.2816
    ape = np.abs(np.expm1(errors))
    room = np.log(table["memory_gb"])
    fits = _memory_prediction(table, values) <= room
    by_lineage = {
        str(name): {
            "n": int(np.sum(lineages == name)),
            "mape": round(float(ape[lineages == name].mean()), 4),
            "median_ape": round(float(np.median(ape[lineages == name])), 4),
        }
        for name in names
    }
    report = {
        "rows": int(has.sum()),
        "mape": round(float(np.mean([entry["mape"] for entry in by_lineage.values()])), 4),
        "fit_share": round(float(fits.mean()), 4),
        "by_lineage": by_lineage,
    }
    return values, spread, report


def _memory_prediction(table: Table, values: FloatArray) -> FloatArray:
    return log_peak_gb(prepare(table), np.broadcast_to(values, (len(table), len(values))))


def _memory_solution(table: Table, target: FloatArray, used: np.ndarray) -> FloatArray:
    subset, aim = table.take(used), target[used]
    inputs = prepare(subset)
    lineages = subset.text("lineage").astype(str)
    _, inverse, counts = np.unique(lineages, return_inverse=True, return_counts=True)
    weight = 1.0 / np.sqrt(counts[inverse])
    prior = np.array([coefficient.prior_mean for coefficient in MEMORY_COEFFICIENTS])
    deviation = np.array([coefficient.prior_sd for coefficient in MEMORY_COEFFICIENTS])

    def residuals(values: FloatArray) -> FloatArray:
        error = log_peak_gb(inputs, np.broadcast_to(values, (len(subset), len(values)))) - aim
        return np.concatenate([weight * np.clip(error, -1.5, 1.5) / 0.2, (values - prior) / deviation])

    solved = optimize.least_squares(residuals, prior, loss="soft_l1")
    return np.asarray(solved.x, dtype=np.float64)


def load_shipped(catalog: Catalog | None = None) -> Measured:
    """The shipped measurements, resolved."""
    rows, ids = shipped_rows()
    return measured(rows, ids, catalog or load_catalog())


def fit_shipped(path: Path = CALIBRATION, *, progress: Progress = _silent) -> Calibrated:
    """Fit the shipped measurements and write the calibration that ships; reproducible from them."""
    result = calibrate(load_shipped(), progress=progress)
    path.write_bytes(result.forecaster.dump())
    return result


def warm_scores(result: Calibrated) -> dict[str, dict[str, object]]:
    """Scores per source after learning 20 of its rows on top of a fit that hasn't seen its lineage (`--full`)."""
    timed = np.isfinite(result.measured.log_seconds)
    table, log_seconds = result.measured.table.take(timed), result.measured.log_seconds[timed]
    lineages, sources = table.text("lineage").astype(str), table.text("site").astype(str)
    generator = np.random.default_rng(WARM_SEED)
    scores: dict[str, dict[str, object]] = {}
    for lineage in np.unique(lineages):
        without = fit(
            table,
            log_seconds,
            rows=lineages != lineage,
            design=result.fitted.design,
            start=result.fitted,
            iterations=accuracy.HELD_OUT_ITERATIONS,
            learn_spreads=False,
            most_rows=accuracy.HELD_OUT_ROWS,
        )
        base = result.forecaster
        others = np.flatnonzero(lineages != lineage)
        evidence = accuracy.evidence_of(without, others.astype(object), table.take(others), log_seconds[others])
        cold = Forecaster(
            base.calibration_version, base.fingerprint, without.design, without.unknowns, without.covariance,
            without.spreads, base.sigma, base.widening, base.memory_unknowns, base.memory_sigma, evidence, {},
        )  # fmt: skip
        for source in np.unique(sources[lineages == lineage]):
            rows = np.flatnonzero(sources == source)
            if len(rows) < 2 * WARM_ROWS:
                continue
            chosen = generator.choice(rows, WARM_ROWS, replace=False)
            rest = np.setdiff1d(rows, chosen)
            learned = cold.learn(table.take(chosen), log_seconds[chosen])
            test = table.take(rest)
            median, variance, _ = learned.log_seconds(test, prepare(test))
            scores[str(source)] = dict(accuracy.score(median, log_seconds[rest], np.sqrt(variance)))
            scores[str(source)]["class"] = str(accuracy.family_class(test)[0])
    return scores
