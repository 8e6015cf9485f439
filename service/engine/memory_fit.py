"""Memory coefficients from measured peaks, judged on lineages left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.engine.distribution import Z90, weighted_quantile
from service.engine.memory import MEMORY_COEFFICIENTS, USABLE_SHARE, log_peak_gb, log_spread, memory_parts
from service.engine.step_inputs import prepare
from service.engine.table import BoolArray, FloatArray, Table

LEAST_PEAK_GB = 0.2  # smaller "peaks" are other things: allocator deltas, units gone wrong
RESIDUAL_SCALE = 0.2  # natural-log units within which a peak counts in full; about the scatter of the largest source
RESIDUAL_CLIP = 1.5  # natural-log units beyond which a peak is another layout than the source states
# Of the variance of held-out peaks, what all runs of one source share (what it counts as memory, its allocator); about
# as much scatters within it (biases and scatters of the twelve lineages both lie between 0.1 and 0.4). Judgement.
SOURCE_SHARE = 0.5
SCATTER_PRIOR_ROWS = 4.0


@dataclass(frozen=True, eq=False)
class OwnMemory:
    """What a site's own peaks taught: how far they lie from the calibration's, and how certain its next one is."""

    log_shift: float
    narrowing: float  # factor on the spread of a new run


@dataclass(frozen=True, eq=False)
class MemoryFit:
    """Values of `MEMORY_COEFFICIENTS`, the widening of `log_spread` that held-out peaks ask for, and their report."""

    unknowns: FloatArray
    sigma: float
    report: dict[str, object]


def fit_memory(table: Table, peak_gb: FloatArray) -> MemoryFit:
    """Fit measured peaks (GB per accelerator, shape (n,)), each lineage weighing the same.

    The widening makes an 80 % interval cover 80 % of held-out lineages; `fit_share` is the share of rows, all of which
    ran, that a fit without their lineage predicts to fit.
    """
    large = peak_gb > LEAST_PEAK_GB
    table, target = table.take(large), np.log(peak_gb[large])
    lineages = table.text("lineage").astype(str)
    predicted, spread = np.full(len(table), np.nan), np.full(len(table), np.nan)
    for name in np.unique(lineages):
        mask = lineages == name
        values = _solution(table, target, ~mask)
        parts = memory_parts(prepare(table.take(mask)), values)
        predicted[mask], spread[mask] = np.log(sum(parts.values())), log_spread(parts)
    error = np.abs(predicted - target)
    ape = np.abs(np.expm1(predicted - target))
    weight = 1.0 / np.array([np.sum(lineages == name) for name in lineages])
    sigma = weighted_quantile(error / spread, weight, 0.8) / Z90
    covered = error <= Z90 * sigma * spread
    fits = predicted <= np.log(table["memory_gb"] * USABLE_SHARE)
    by_lineage = {
        str(name): {
            "n": int(np.sum(lineages == name)),
            "mape": round(float(ape[lineages == name].mean()), 4),
            "median_ape": round(float(np.median(ape[lineages == name])), 4),
            "fit_share": round(float(fits[lineages == name].mean()), 4),
            "coverage": round(float(covered[lineages == name].mean()), 4),
        }
        for name in np.unique(lineages)
    }
    report: dict[str, object] = {
        "rows": len(table),
        "mape": round(float(np.mean([entry["mape"] for entry in by_lineage.values()])), 4),
        "fit_share": round(float(fits.mean()), 4),
        "median_width": round(float(np.median(np.exp(2.0 * Z90 * sigma * spread))), 4),
        "by_lineage": by_lineage,
    }
    return MemoryFit(_solution(table, target, np.ones(len(table), dtype=bool)), sigma, report)


def learn_peaks(table: Table, peak_gb: FloatArray, unknowns: FloatArray, sigma: float) -> OwnMemory | None:
    """What a site's own peaks (GB per accelerator, shape (n,), NaN where not measured) teach; None if there are none.

    The posterior of one shift common to all its runs, normal with a normal prior, and the scatter about it.
    """
    measured = np.nan_to_num(peak_gb) > LEAST_PEAK_GB
    if not measured.any():
        return None
    own, count = table.take(measured), int(measured.sum())
    parts = memory_parts(prepare(own), unknowns)
    residual = np.log(peak_gb[measured]) - np.log(sum(parts.values()))
    variance = float(np.mean((sigma * log_spread(parts)) ** 2))
    shared, scatter = SOURCE_SHARE * variance, (1.0 - SOURCE_SHARE) * variance
    centre = float(np.median(residual))
    seen = (1.4826 * float(np.median(np.abs(residual - centre)))) ** 2
    scatter = (count * seen + SCATTER_PRIOR_ROWS * scatter) / (count + SCATTER_PRIOR_ROWS)
    left = 1.0 / (1.0 / shared + count / scatter)
    return OwnMemory(centre * left * count / scatter, float(np.sqrt(min((scatter + left) / variance, 1.0))))


def _solution(table: Table, target: FloatArray, used: BoolArray) -> FloatArray:
    subset, aim = table.take(used), target[used]
    inputs = prepare(subset)
    _, inverse, counts = np.unique(subset.text("lineage").astype(str), return_inverse=True, return_counts=True)
    weight = 1.0 / np.sqrt(counts[inverse])
    prior = np.array([coefficient.prior_mean for coefficient in MEMORY_COEFFICIENTS])
    deviation = np.array([coefficient.prior_sd for coefficient in MEMORY_COEFFICIENTS])

    def residuals(values: FloatArray) -> FloatArray:
        error = log_peak_gb(inputs, values) - aim
        error = np.clip(error, -RESIDUAL_CLIP, RESIDUAL_CLIP)
        return np.concatenate([weight * error / RESIDUAL_SCALE, (values - prior) / deviation])

    # Only a fit needs it, and it is slow to import.
    from scipy import optimize

    solved = optimize.least_squares(residuals, prior, loss="soft_l1")
    return np.asarray(solved.x, dtype=np.float64)
