"""Goodput as predicted against goodput as reported: published shares, and whole runs beside their own step speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.calibrations.shipped import shipped_rows
from service.catalog.catalog import Catalog
from service.catalog.normalise import normalise
from service.catalog.operating_facts import operating_facts
from service.catalog.resolution import Resolved
from service.catalog.resolve import resolve_table
from service.engine.economics import goodput
from service.engine.observed import WHOLE_RUN_UNITS, seconds_per_sample
from service.engine.operating_facts import first_number
from service.engine.table import FloatArray, Table

HOURS_PER_DAY = 24.0


@dataclass(frozen=True)
class Reported:
    """A published share of productive time, found in the facts table by key, source and context (beginnings).

    `accelerators` and `days` are what the row (or its source's rows about the same run) states; where it states no
    duration, a week: the share hardly depends on it. `also_input`: rows of the same source are among those that the
    constants are percentiles of, so that agreement proves less.
    """

    key: str
    source: str
    context: str
    accelerators: float
    days: float
    note: str = ""
    also_input: bool = True
    # Ideal days -> days really taken, on `accelerators`; 0: the value is a share in percent, or a fraction.
    ideal_accelerators: float = 0.0


REPORTED: tuple[Reported, ...] = (
    Reported("effective_training_time", "arXiv:2407.21783", "Llama 3 405B", 16384, 54, "a lower bound"),
    Reported("effective_training_time", "arXiv:2402.15627", "same run", 10000, 21, "a lower bound; several weeks"),
    Reported("ettr_cumulative", "arXiv:2509.16293", "dense LLM job", 9600, 91, "automatic recovery"),
    Reported("ettr_large_jobs", "arXiv:2410.21680", "jobs over 1024", 1024, 7, "about; duration not stated"),
    Reported(
        "ideal_training_days",
        "github:facebookresearch/metaseq",
        "OPT-175B",
        992,
        52,
        "by hand; includes restarts from older checkpoints after loss spikes; mid-November to January 6",
        ideal_accelerators=1024,
    ),
    Reported(
        "effective_time_naive_vs_ft",
        "arXiv:2602.00277",
        "100,000 GPUs",
        100_000,
        7,
        "plain synchronous training, failures every 18 minutes; duration not stated",
        also_input=False,
    ),
)
# A whole run and a step speed are of one run, as far as the source says, if they agree in these columns.
PAIRED_TEXTS = ("site", "model", "accelerator", "precision", "mode", "framework", "optimizer", "packing")
PAIRED_NUMBERS = ("count", "global_batch", "micro_batch", "sequence_length", "image_size", "year")


def published_shares(catalog: Catalog) -> list[dict[str, Any]]:
    """One entry for each of `REPORTED` that the facts table has: reported and predicted share of productive time."""
    facts = operating_facts()
    entries = []
    for known in REPORTED:
        fact = next(
            (
                fact
                for fact in catalog.facts
                if fact.key == known.key
                and fact.source.startswith(known.source)
                and fact.context.startswith(known.context)
            ),
            None,
        )
        if fact is None:
            continue
        value = first_number(fact.value)
        if known.ideal_accelerators:
            share = value * known.ideal_accelerators / known.accelerators / known.days
        else:
            share = value / 100.0 if value > 1.0 else value
        wall = known.days * HOURS_PER_DAY
        course = goodput(known.accelerators, wall, facts)
        entries.append(
            {
                "run": fact.context,
                "source": fact.source,
                "accelerators": known.accelerators,
                "days": known.days,
                "reported": round(share, 4),
                "predicted": {side: round(float(getattr(course.share, side)[0]), 4) for side in ("p10", "p50", "p90")},
                "also_input": known.also_input,
                "note": known.note,
            }
        )
    return entries


def whole_runs(catalog: Catalog) -> list[dict[str, Any]]:
    """Whole runs of the shipped measurements whose step speed the same source measured, by source and model.

    Reported share: hours of steps, at the measured speed, over hours of the whole run; above 1, the source's two
    figures are of different runs (another software, another number of epochs).
    """
    rows, _ = shipped_rows()
    sources = {_source(row) for row in rows if row.get("result.unit") in WHOLE_RUN_UNITS}
    table, value, unit, samples = _resolved([row for row in rows if _source(row) in sources], catalog)
    seconds = seconds_per_sample(table, value, unit, samples)
    whole = np.isin(unit.astype(str), list(WHOLE_RUN_UNITS)) & np.isfinite(seconds) & np.isfinite(samples)
    stepped = ~np.isin(unit.astype(str), list(WHOLE_RUN_UNITS)) & np.isfinite(seconds)
    keys = _keys(table)
    speeds: dict[tuple[object, ...], list[float]] = {}
    for index in np.flatnonzero(stepped):
        speeds.setdefault(keys[index], []).append(float(seconds[index]))
    paired = np.array([index for index in np.flatnonzero(whole) if keys[index] in speeds], dtype=np.int64)
    if not len(paired):
        return []
    step = np.array([np.median(speeds[keys[index]]) for index in paired])
    wall = seconds[paired] * samples[paired] / 3600.0
    predicted = goodput(table["count"][paired], step * samples[paired] / 3600.0, operating_facts())
    entries = []
    names = list(zip(table.text("site")[paired], table.text("model")[paired], strict=True))
    for name in dict.fromkeys(names):
        mine = np.array([other == name for other in names])
        reported = (step / seconds[paired])[mine]
        entries.append(
            {
                "source": name[0],
                "model": name[1],
                "runs": int(mine.sum()),
                "hours": round(float(np.median(wall[mine])), 2),
                "reported": round(float(np.median(reported)), 4),
                "reported_range": [round(float(reported.min()), 4), round(float(reported.max()), 4)],
                "predicted": round(float(np.median(predicted.share.p50[mine])), 4),
                "wall_mape": round(float(np.mean(np.abs(predicted.wall_hours.p50[mine] / wall[mine] - 1.0))), 4),
            }
        )
    return entries


def _source(row: Mapping[str, Any]) -> str:
    return str(row.get("provenance.source", ""))


def _resolved(
    rows: Sequence[Mapping[str, Any]], catalog: Catalog
) -> tuple[Table, FloatArray, np.ndarray[Any, Any], FloatArray]:
    """The rows that resolve: table, published value, unit, samples trained on."""
    table, answers = resolve_table([normalise(dict(row)) for row in rows], catalog, measured=True)
    kept = [(row, answer) for row, answer in zip(rows, answers, strict=True) if isinstance(answer, Resolved)]
    value = np.array([float(row.get("result.value") or np.nan) for row, _ in kept])
    unit = np.array([str(row.get("result.unit", "")) for row, _ in kept], dtype=object)
    return table, value, unit, np.array([answer.samples_to_train for _, answer in kept])


def _keys(table: Table) -> list[tuple[object, ...]]:
    columns: list[list[object]] = [table.text(name).tolist() for name in PAIRED_TEXTS]
    columns += [np.nan_to_num(table[name], nan=-1.0).tolist() for name in PAIRED_NUMBERS]
    return list(zip(*columns, strict=True))
