"""How accurate predictions are: scores on time, what makes intervals honest, and the rule of thumb beside them.

What is scored, and how it is averaged, is in `accuracy_report`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri

from service.engine.distribution import Z90, weighted_quantile
from service.engine.evidence import GRADES
from service.engine.held_out import HeldOut
from service.engine.observed import model_flops_per_sample
from service.engine.operations import TRANSFORMER_FAMILIES
from service.engine.table import FloatArray, Table, TextArray

RULE_OF_THUMB_MFU = 0.40
LEAST_ROWS = 20  # sources with fewer rows are listed, but not averaged
NOMINAL_COVERAGE = 0.8
WIDENING_RANGE = (0.4, 3.0)
CLASSES = ("transformer", "other")
NOMINAL = tuple(round(0.1 * tenth, 1) for tenth in range(1, 10))  # coverages that a reliability diagram asks for


def rule_of_thumb(table: Table) -> FloatArray:
    """Natural log of seconds per sample by 6 N D (6 x MACs for others) at 40 % of the peak, shape (n,)."""
    flops = model_flops_per_sample(table)
    return np.asarray(np.log(flops / (RULE_OF_THUMB_MFU * table["peak_tflops"] * 1e12 * table["count"])))


def score(
    log_predicted: FloatArray, log_measured: FloatArray, spread: FloatArray | None = None
) -> dict[str, float | int | None]:
    """Accuracy of n predictions, on time: `n`, `mape`, `median_ape`, `bias`, `coverage_80`, `median_interval_ratio`.

    APE = |t_predicted - t_measured| / t_measured; bias = median ln(t_predicted / t_measured); `spread` is the standard
    deviation of the natural log that the interval stands on. Fractions; None where nothing can be said.
    """
    known = np.isfinite(log_predicted) & np.isfinite(log_measured)
    count = int(known.sum())
    if count == 0:
        return {
            "n": 0,
            "mape": None,
            "median_ape": None,
            "bias": None,
            "coverage_80": None,
            "median_interval_ratio": None,
        }
    error = log_predicted[known] - log_measured[known]
    ape = np.abs(np.expm1(error))
    covered = ratio = None
    if spread is not None:
        covered = round(float(np.mean(np.abs(error) <= Z90 * spread[known])), 4)
        ratio = round(float(np.median(np.exp(2.0 * Z90 * spread[known]))), 4)
    return {
        "n": count,
        "mape": round(float(ape.mean()), 4),
        "median_ape": round(float(np.median(ape)), 4),
        "bias": round(float(np.median(error)), 4),
        "coverage_80": covered,
        "median_interval_ratio": ratio,
    }


def family_class(table: Table) -> TextArray:
    """`transformer` or `other`, shape (n,): the two classes that intervals are calibrated for."""
    language = np.isin(table.text("family").astype(str), list(TRANSFORMER_FAMILIES))
    return np.where(language, "transformer", "other").astype(object)


def source_classes(table: Table) -> dict[str, str]:
    """By source: the class that most of its rows are of."""
    classes, sources = family_class(table).astype(str), table.text("site").astype(str)
    result: dict[str, str] = {}
    for source in np.unique(sources):
        names, counts = np.unique(classes[sources == source], return_counts=True)
        result[str(source)] = str(names[int(np.argmax(counts))])
    return result


def widening(table: Table, log_seconds: FloatArray, held_out: HeldOut, grades: TextArray) -> dict[str, float]:
    """Factor by which spreads must be stretched so that 80 % intervals cover 80 %, by class and grade.

    Classes: a new site's Transformers, its others, and `own`, a site that was learned from. Split-conformal (Vovk et
    al. 2005; Lei et al. 2018) on standardised residuals, every source of 20 rows or more weighing the same. A wider
    grade never gets a smaller factor than a narrower one.
    """
    classes, sources = family_class(table), table.text("site").astype(str)
    cold = np.abs(held_out.predicted - log_seconds) / np.sqrt(held_out.variance)
    warm = np.abs(held_out.warm_predicted - log_seconds) / np.sqrt(held_out.warm_variance)
    _, inverse, counts = np.unique(sources, return_inverse=True, return_counts=True)
    # As scored: every source of `LEAST_ROWS` rows counts as one; those of a handful only where there are no others.
    source_weight = np.where(counts[inverse] >= LEAST_ROWS, 1.0 / counts[inverse], 1e-6)
    result: dict[str, float] = {}
    for name, standardised, members in (
        ("transformer", cold, classes == "transformer"),
        ("other", cold, classes == "other"),
        ("own", warm, np.ones(len(table), dtype=bool)),
    ):
        least = WIDENING_RANGE[0]
        for level in GRADES:
            mask = members & (grades == level) & np.isfinite(standardised)
            factor = 1.0
            if mask.sum() >= LEAST_ROWS:
                weight = source_weight[mask]
                factor = weighted_quantile(standardised[mask], weight, NOMINAL_COVERAGE) / Z90
            least = float(np.clip(factor, least, WIDENING_RANGE[1]))
            result[f"{name}/{level}"] = round(least, 4)
    return result


def given_spreads(
    table: Table, held_out: HeldOut, factors: dict[str, float], grades: TextArray
) -> tuple[FloatArray, FloatArray]:
    """Standard deviations (natural log) that intervals are given out with, cold and warm, shapes (n,)."""
    cold = np.array([factors[f"{kind}/{level}"] for kind, level in zip(family_class(table), grades, strict=True)])
    warm = np.array([factors[f"own/{level}"] for level in grades])
    return np.sqrt(held_out.variance) * cold, np.sqrt(held_out.warm_variance) * warm


def reliability(
    log_predicted: FloatArray, log_measured: FloatArray, spread: FloatArray, sources: TextArray
) -> list[dict[str, float]]:
    """Points of the reliability diagram: nominal against observed coverage, every source weighing the same.

    Rows that were not predicted (NaN) are left out; no rows, no points.
    """
    known = np.isfinite(log_predicted) & np.isfinite(log_measured)
    if not known.any():
        return []
    standardised = np.abs(log_predicted - log_measured)[known] / spread[known]
    _, inverse, counts = np.unique(sources[known].astype(str), return_inverse=True, return_counts=True)
    weight = 1.0 / counts[inverse]
    return [
        {
            "nominal": nominal,
            "observed": round(float(np.average(standardised <= ndtri(0.5 + nominal / 2.0), weights=weight)), 4),
        }
        for nominal in NOMINAL
    ]


def repeat_scatter(sources: TextArray, configurations: TextArray, log_seconds: FloatArray) -> dict[str, dict[str, Any]]:
    """How far a source's own repeats are apart: rows that state the same in every column, but another value.

    By source: `groups` of such rows, their `rows`, and the mean and median APE of their times around their group's
    median time. Nobody who knows only what is stated can do better, and with few rows to a group (whose median lies
    amid them) the figure is still on the low side. Equal values are one figure listed twice, and count once.

    Args:
        sources: whose rows these are, shape (n,).
        configurations: one value for all rows that state the same, shape (n,).
        log_seconds: natural log of measured seconds per sample, shape (n,).
    """
    result: dict[str, dict[str, Any]] = {}
    for source in np.unique(sources.astype(str)):
        mine = np.flatnonzero((sources.astype(str) == source) & np.isfinite(log_seconds))
        _, inverse = np.unique(configurations[mine].astype(str), return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        groups = np.split(log_seconds[mine][order], np.flatnonzero(np.diff(inverse[order])) + 1)
        different = [unique for group in groups if len(unique := np.unique(np.round(group, 6))) > 1]
        if different:
            ape = np.concatenate([np.abs(np.expm1(group - np.median(group))) for group in different])
            result[str(source)] = {
                "groups": len(different),
                "rows": len(ape),
                "mape": round(float(ape.mean()), 4),
                "median_ape": round(float(np.median(ape)), 4),
            }
    return result


def mean_over(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Averages over sources of their scores; medians over them where the name starts with `median`."""

    def mean(name: str) -> float | None:
        values = [entry[name] for entry in scores if entry.get(name) is not None]
        return round(float(np.mean(values)), 4) if values else None

    def median(name: str) -> float | None:
        values = [entry[name] for entry in scores if entry.get(name) is not None]
        return round(float(np.median(values)), 4) if values else None

    return {
        "sources": len(scores),
        "rows": int(sum(entry["n"] for entry in scores)),
        "mape": mean("mape"),
        "median_source_mape": median("mape"),
        "median_ape": median("median_ape"),
        "coverage_80": mean("coverage_80"),
        "median_interval_ratio": median("median_interval_ratio"),
        "rule_of_thumb_mape": mean("rule_of_thumb_mape"),
        "rule_of_thumb_median_ape": median("rule_of_thumb_median_ape"),
    }
