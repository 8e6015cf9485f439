"""The accuracy report: held-out scores by source, family, chip and grade, cold and warm, beside the rule of thumb."""

from __future__ import annotations

from typing import Any

import numpy as np

from service.engine.accuracy import (
    CLASSES,
    LEAST_ROWS,
    family_class,
    given_spreads,
    mean_over,
    reliability,
    repeat_scatter,
    rule_of_thumb,
    score,
    source_classes,
)
from service.engine.held_out import WARM_ROWS, HeldOut
from service.engine.table import BoolArray, FloatArray, Table, TextArray

PROTOCOL = (
    "APE is |t_predicted - t_measured| / t_measured of the time per sample. Cold: a whole lineage of sources (all "
    "editions of one benchmark) is left out of the fit and predicted as a new site would be. Warm: the same, after "
    f"learning {WARM_ROWS} random rows (seeded) of the source; its other rows are scored. Scores are computed by "
    "source and then averaged, so that a source of 10,000 rows counts as one (by lineage where the name says so); "
    f"overall: sources with at least {LEAST_ROWS} rows. Intervals are scored as they are given out; the factors that "
    "widen them are few (by class and grade) and were set on these same held-out predictions. Rule of thumb: 6 N D, "
    "or 6 x multiply-accumulates, at 40 % of the peak. Repeat scatter: rows of a source that state the same in every "
    "column but another value, mean APE around their median."
)
# Warm goals of mean APE: never asked to be better than a source agrees with itself.
WARM_GOAL = {"transformer": 0.07, "other": 0.10}
WARM_GOAL_OVER_SCATTER = 1.3
LEAST_REPEATS = 3  # groups of repeats from which a source's scatter is known well enough to loosen its goal


def report(
    table: Table,
    log_seconds: FloatArray,
    held_out: HeldOut,
    factors: dict[str, float],
    grades: TextArray,
    configurations: TextArray,
) -> dict[str, Any]:
    """The accuracy report of n measured rows; rows that were not predicted (NaN) are not in it.

    Args:
        table: the measured configurations.
        log_seconds: natural log of measured seconds per sample, shape (n,).
        held_out: what was predicted without them.
        factors: those of `accuracy.widening`; intervals are scored as they are given out.
        grades: how well founded each prediction was, shape (n,).
        configurations: one value for all rows that state the same, shape (n,).
    """
    predicted = np.isfinite(held_out.predicted)
    classes, sources = family_class(table), table.text("site").astype(str).astype(object)
    lineages = table.text("lineage").astype(str).astype(object)
    of_source = source_classes(table)
    spread, warm_spread = given_spreads(table, held_out, factors, grades)
    thumb = rule_of_thumb(table)

    def cold(mask: BoolArray) -> dict[str, Any]:
        return {
            **score(held_out.predicted[mask], log_seconds[mask], spread[mask]),
            "rule_of_thumb_mape": score(thumb[mask], log_seconds[mask])["mape"],
            "rule_of_thumb_median_ape": score(thumb[mask], log_seconds[mask])["median_ape"],
        }

    def warm(mask: BoolArray) -> dict[str, Any]:
        return score(held_out.warm_predicted[mask], log_seconds[mask], warm_spread[mask])

    def by(column: TextArray, unit: TextArray, of: Any, rows: BoolArray, least_rows: int = 1) -> dict[str, Any]:
        """Mean over the sources (or lineages) within each value of a column that has rows enough."""
        result: dict[str, Any] = {}
        for name in np.unique(column[rows].astype(str)):
            inside = rows & (column == name)
            if name and inside.sum() >= least_rows:
                result[str(name)] = mean_over([of(inside & (unit == one)) for one in np.unique(unit[inside])])
        return result

    def by_source(of: Any, rows: BoolArray) -> dict[str, dict[str, Any]]:
        result = {}
        for name in np.unique(sources[rows]):
            own = rows & (sources == name)
            result[str(name)] = {**of(own), "class": of_source[str(name)], "lineage": str(lineages[own][0])}
        return result

    def overall(scores: dict[str, dict[str, Any]], least_rows: int) -> dict[str, Any]:
        large = [entry for entry in scores.values() if entry["n"] >= least_rows]
        return {name: mean_over([entry for entry in large if entry["class"] == name]) for name in CLASSES}

    def diagrams(log_predicted: FloatArray, spreads: FloatArray) -> dict[str, Any]:
        return {
            name: reliability(*(column[classes == name] for column in (log_predicted, log_seconds, spreads, sources)))
            for name in CLASSES
        }

    family, grade = table.text("family"), grades
    cold_sources = by_source(cold, predicted)
    learned = np.isfinite(held_out.warm_predicted)
    warm_sources = by_source(warm, learned)
    scatter = repeat_scatter(sources[predicted], configurations[predicted], log_seconds[predicted])
    for name, entry in warm_sources.items():
        own = scatter.get(name, {"groups": 0, "mape": None})
        floor = own["mape"] if own["groups"] >= LEAST_REPEATS else 0.0
        entry["repeat_scatter"] = own["mape"]
        entry["goal"] = round(max(WARM_GOAL[entry["class"]], WARM_GOAL_OVER_SCATTER * floor), 4)
    return {
        "protocol": PROTOCOL,
        "overall": overall(cold_sources, LEAST_ROWS),
        "by_family": by(family, sources, cold, predicted),
        "by_family_over_lineages": by(family, lineages, cold, predicted),
        "by_grade": by(grade, sources, cold, predicted),
        "by_accelerator": by(table.text("accelerator"), sources, cold, predicted, LEAST_ROWS),
        "by_chip_group": by(table.text("chip_group"), sources, cold, predicted),
        "by_source": cold_sources,
        "reliability": diagrams(held_out.predicted, spread),
        "warm": {
            "rows_learned": WARM_ROWS,
            "overall": overall(warm_sources, 1),
            "by_family": by(family, sources, warm, learned),
            "by_grade": by(grade, sources, warm, learned),
            "by_source": warm_sources,
            "reliability": diagrams(held_out.warm_predicted, warm_spread),
        },
        "repeat_scatter": scatter,
    }
