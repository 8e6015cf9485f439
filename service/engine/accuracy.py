"""How accurate the engine is on sources it has never seen, and what it takes to make its intervals honest.

Protocol: leave one lineage out (all editions of one benchmark together), fit without it, predict it, score every
source of it; average over sources, so that a source with 10,000 rows counts as one. Beside it, on the same rows, the
rule of thumb that people use: 6 N D over 40 % of peak.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from service.engine.calibration import Fit, fit, predict, sampled_rows
from service.engine.distribution import Z90, weighted_quantile
from service.engine.evidence import Evidence
from service.engine.forecast import Forecaster
from service.engine.observed import model_flops_per_sample
from service.engine.operations import TRANSFORMER_FAMILIES
from service.engine.table import BoolArray, FloatArray, Table, TextArray

RULE_OF_THUMB_MFU = 0.40
LEAST_ROWS = 20  # sources with fewer rows are listed, but not averaged
HELD_OUT_ITERATIONS = 5
HELD_OUT_ROWS = 500
WARM_ROWS = 20  # rows of a source that a warm start learns (seeded choice)
WARM_SEED = 20
NOMINAL_COVERAGE = 0.8
WIDENING_RANGE = (0.4, 3.0)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions of rows that the fit hadn't seen, natural logs of seconds per sample; shapes (n,).

    Cold: of a new site. Warm: after learning `WARM_ROWS` other rows of the same source; NaN for the rows learned and
    for sources with less than twice as many.
    """

    predicted: FloatArray
    variance: FloatArray
    warm_predicted: FloatArray
    warm_variance: FloatArray


def rule_of_thumb(table: Table) -> FloatArray:
    """Natural log of seconds per sample by 6 N D (6 x MACs for others) at 40 % of the peak, shape (n,)."""
    flops = model_flops_per_sample(table)
    return np.asarray(np.log(flops / (RULE_OF_THUMB_MFU * table["peak_tflops"] * 1e12 * table["count"])))


def leave_lineages_out(
    table: Table,
    log_seconds: FloatArray,
    fitted: Fit,
    *,
    processes: int = 2,
    refine: Callable[[Fit], Fit] = lambda without: without,
) -> HeldOut:
    """Predict every lineage by a fit that hasn't seen it (spreads kept from the full fit).

    `refine` is what each such fit goes through before it predicts: what submitted rows teach it.
    """
    lineages = table.text("lineage").astype(str)
    names = np.unique(lineages).tolist()
    columns = np.full((4, len(table)), np.nan)
    _shared.append((table, log_seconds, fitted, refine))  # before the fork, so that no worker has to be sent it
    try:
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            answers = pool.map(_one_lineage, names, chunksize=1)
    finally:
        _shared.clear()
    for name, answer in zip(names, answers, strict=True):
        columns[:, lineages == name] = answer
    return HeldOut(*columns)


_shared: list[tuple[Table, FloatArray, Fit, Callable[[Fit], Fit]]] = []


def _one_lineage(name: str) -> FloatArray:
    """The four columns of `HeldOut` for the rows of one lineage."""
    table, log_seconds, fitted, refine = _shared[-1]
    lineages = table.text("lineage").astype(str)
    without = fit(
        table,
        log_seconds,
        rows=lineages != name,
        design=fitted.design,
        start=fitted,
        iterations=HELD_OUT_ITERATIONS,
        learn_spreads=False,
        most_rows=HELD_OUT_ROWS,
    )
    without = refine(without)
    own, measured = table.take(lineages == name), log_seconds[lineages == name]
    others = np.flatnonzero((lineages != name) & sampled_rows(table, HELD_OUT_ROWS))
    evidence = evidence_of(without, others.astype(object), table.take(others), log_seconds[others])
    cold = Forecaster.of(without, evidence)
    nowhere = np.full(len(own), "", dtype=object)
    columns = np.full((4, len(own)), np.nan)
    columns[0], columns[1], _ = cold.log_seconds(own.replace(lineage=nowhere, site=nowhere))
    sources = own.text("site").astype(str)
    generator = np.random.default_rng(WARM_SEED)
    for source in np.unique(sources):
        rows = np.flatnonzero(sources == source)
        if len(rows) >= 2 * WARM_ROWS:
            learned = generator.choice(rows, WARM_ROWS, replace=False)
            rest = np.setdiff1d(rows, learned)
            warm = cold.learn(own.take(learned), measured[learned])
            columns[2, rest], columns[3, rest], _ = warm.log_seconds(own.take(rest))
    return columns


def evidence_of(fitted: Fit, ids: TextArray, table: Table, log_seconds: FloatArray) -> Evidence:
    """Evidence made of measurements and what a fit says of them, at their own site and as a new site."""
    predicted, _, _ = predict(fitted, table)
    nowhere = np.full(len(table), "", dtype=object)
    new_site, _, _ = predict(fitted, table.replace(lineage=nowhere, site=nowhere))
    return Evidence.of(ids, table, log_seconds, predicted, new_site)


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


def widening(table: Table, log_seconds: FloatArray, held_out: HeldOut, grades: TextArray) -> dict[str, float]:
    """Factor by which spreads must be stretched so that 80 % intervals cover 80 %, by class and grade.

    Classes: a new site's Transformers, its others, and `own`, a site that was learned from. Split-conformal (Vovk et
    al. 2005; Lei et al. 2018) on standardised residuals, every source of 20 rows or more weighing the same. A wider
    grade never gets a smaller factor than a narrower one.
    """
    classes, sources = family_class(table), table.text("site").astype(str)
    cold = np.abs(held_out.predicted - log_seconds) / np.sqrt(held_out.variance)
    warm = np.abs(held_out.warm_predicted - log_seconds) / np.sqrt(held_out.warm_variance)
    result: dict[str, float] = {}
    for name, standardised, members in (
        ("transformer", cold, classes == "transformer"),
        ("other", cold, classes == "other"),
        ("own", warm, np.ones(len(table), dtype=bool)),
    ):
        least = WIDENING_RANGE[0]
        for level in ("measured", "interpolated", "extrapolated"):
            mask = members & (grades == level) & np.isfinite(standardised)
            factor = 1.0
            if mask.sum() >= LEAST_ROWS:
                _, inverse, counts = np.unique(sources[mask], return_inverse=True, return_counts=True)
                # A source of a handful of rows is a handful of rows, one of thousands still one source.
                weight = 1.0 / np.maximum(counts[inverse], LEAST_ROWS)
                factor = weighted_quantile(standardised[mask], weight, NOMINAL_COVERAGE) / Z90
            least = float(np.clip(factor, least, WIDENING_RANGE[1]))
            result[f"{name}/{level}"] = round(least, 4)
    return result


def report(
    table: Table, log_seconds: FloatArray, held_out: HeldOut, factors: dict[str, float], grades: TextArray
) -> dict[str, Any]:
    """The accuracy report: held-out scores by source, family, chip and grade beside the rule of thumb, and warm ones.

    `factors` are those of `widening`; intervals are scored as they are given out.
    """
    classes = family_class(table)
    spread = np.sqrt(held_out.variance) * np.array(
        [factors[f"{kind}/{level}"] for kind, level in zip(classes, grades, strict=True)]
    )
    warm_spread = np.sqrt(held_out.warm_variance) * np.array([factors[f"own/{level}"] for level in grades])
    thumb = rule_of_thumb(table)
    sources = table.text("site").astype(str)

    def scored(mask: BoolArray) -> dict[str, Any]:
        return {
            **score(held_out.predicted[mask], log_seconds[mask], spread[mask]),
            "rule_of_thumb_mape": score(thumb[mask], log_seconds[mask])["mape"],
            "rule_of_thumb_median_ape": score(thumb[mask], log_seconds[mask])["median_ape"],
        }

    def by(column: TextArray, unit: Any) -> dict[str, Any]:
        """Mean over the sources (or lineages) within each value of a column."""
        names = column.astype(str)
        result: dict[str, Any] = {}
        for name in np.unique(names):
            inside = [scored((names == name) & (unit == one)) for one in np.unique(unit[names == name])]
            result[str(name)] = mean_over(inside)
        return result

    by_source = {
        str(name): {**scored(sources == name), "class": _majority(classes[sources == name])}
        for name in np.unique(sources)
    }
    warm = {
        str(name): {
            **score(
                held_out.warm_predicted[sources == name], log_seconds[sources == name], warm_spread[sources == name]
            ),
            "class": _majority(classes[sources == name]),
        }
        for name in np.unique(sources)
    }
    warm = {name: entry for name, entry in warm.items() if entry["n"]}
    large = [entry for entry in by_source.values() if entry["n"] >= LEAST_ROWS]
    return {
        "protocol": "leave one lineage out; means over sources, in `overall` over those with at least 20 rows",
        "overall": {
            name: mean_over([entry for entry in large if entry["class"] == name]) for name in ("transformer", "other")
        },
        "by_family": by(table.text("family"), sources),
        "by_family_over_lineages": by(table.text("family"), table.text("lineage").astype(str)),
        "by_grade": by(grades, sources),
        "by_chip_group": by(table.text("chip_group"), sources),
        "by_source": by_source,
        "warm": {
            "rows_learned": WARM_ROWS,
            "overall": {
                name: mean_over([entry for entry in warm.values() if entry["class"] == name])
                for name in ("transformer", "other")
            },
            "by_source": warm,
        },
        "reliability": reliability(held_out, log_seconds, spread, sources),
    }


def reliability(held_out: HeldOut, log_seconds: FloatArray, spread: FloatArray, sources: Any) -> list[dict[str, float]]:
    """Points of the reliability diagram: nominal against observed coverage, every source weighing the same."""
    standardised = np.abs(held_out.predicted - log_seconds) / spread
    _, inverse, counts = np.unique(sources, return_inverse=True, return_counts=True)
    weight = 1.0 / counts[inverse]
    points = []
    for nominal in np.arange(0.1, 1.0, 0.1):
        inside = standardised <= ndtri(0.5 + nominal / 2.0)
        points.append(
            {"nominal": round(float(nominal), 2), "observed": round(float(np.average(inside, weights=weight)), 4)}
        )
    return points


def mean_over(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Averages over sources of their scores; medians of the medians where the name says so."""

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


def _majority(values: TextArray) -> str:
    names, counts = np.unique(values.astype(str), return_counts=True)
    return str(names[int(np.argmax(counts))])
