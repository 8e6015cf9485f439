"""How well the current calibration predicts given measurements: pure, on top of the engine; nothing is stored.

Each row is predicted from its configuration alone, as a new site would be, and compared on time per unit of work.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import numpy as np

from service.catalog.catalog import Catalog
from service.catalog.normalise import normalise
from service.catalog.resolution import Resolved, Unresolvable
from service.catalog.resolve import resolve_table
from service.codec import Row
from service.configuration import CONFIGURATION_FIELDS
from service.engine.distribution import Distribution, FloatArray
from service.engine.economics import goodput, step_seconds_per_sample
from service.engine.forecast import Forecast, Forecaster
from service.engine.observed import WHOLE_RUN_UNITS, in_unit, seconds_per_sample
from service.engine.operating_facts import OperatingFacts
from service.engine.table import Table, TextArray
from service.evaluations.schemas import Score

CHUNK = 4096
"""Rows that are predicted as one table."""
OWN_NAME = "provenance.source"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measurement beside its forecast, in the measurement's own unit.

    `log_time_ratio` is ln(predicted / measured time per unit of work); `interval_ratio` is p90 / p10;
    `measured_memory_gb` is NaN where the row has none.
    """

    line: int
    unit: str
    measured: float
    p10: float
    p50: float
    p90: float
    grade: str
    log_time_ratio: float
    covered: bool
    interval_ratio: float
    measured_memory_gb: float
    predicted_memory_gb: float
    fits: bool


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that cannot be compared, and why."""

    line: int
    reason: str


def compare(
    rows: Iterable[Row], catalog: Catalog, forecaster: Forecaster, facts: OperatingFacts
) -> Iterator[Comparison | Skipped]:
    """Each row beside its forecast, in order.

    Args:
        rows: measurements, as the codec reads them.
        catalog: the reference tables.
        forecaster: the calibration to judge.
        facts: published constants, for values that are the wall-clock of whole runs.
    """
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK)):
        yield from _compare_chunk(chunk, catalog, forecaster, facts)


def learn(rows: Iterable[Row], catalog: Catalog, forecaster: Forecaster, facts: OperatingFacts) -> Forecaster:
    """The forecaster as it would be for a team that had submitted these rows; rows that say no speed are left out.

    Nothing is vetted, as the rows are the team's own.
    """
    flats = [
        normalise({name: value for name, value in cast(Mapping[str, object], row.values).items() if name != OWN_NAME})
        for row in rows
        if _unusable(row) is None
    ]
    table, answers = resolve_table(flats, catalog, measured=True, judge=forecaster.layout_judge)
    known = [(flat, answer) for flat, answer in zip(flats, answers, strict=True) if isinstance(answer, Resolved)]
    if not known:
        return forecaster
    value, unit, samples = _observed(known)
    seconds = step_seconds_per_sample(table, value, unit, samples, facts)
    usable = np.isfinite(seconds)
    peaks = np.array([_number(flat.get("result.peak_memory_gb")) for flat, _ in known])
    return forecaster.learn(table.take(usable), np.log(seconds[usable]), peaks[usable])


def run_and_result(row: Row) -> str | None:
    """What a row says of the run and of what came of it, whatever its source; None where it says no speed."""
    if _unusable(row) is not None:
        return None
    said = normalise(cast(Mapping[str, object], row.values))
    told = {name: value for name, value in said.items() if name.startswith("result.") or name in CONFIGURATION_FIELDS}
    return json.dumps(told, sort_keys=True, default=str)


def score(comparisons: Sequence[Comparison]) -> Score:
    """Accuracy over rows, as fractions; null where there is nothing to say it of."""
    if not comparisons:
        return Score()
    ratio = np.array([made.log_time_ratio for made in comparisons])
    error = np.abs(np.expm1(ratio))
    measured = np.array([made.measured_memory_gb for made in comparisons])
    predicted = np.array([made.predicted_memory_gb for made in comparisons])
    known = np.isfinite(measured) & np.isfinite(predicted)
    memory_error = np.abs(predicted[known] / measured[known] - 1.0)
    return Score(
        n=len(comparisons),
        mape=float(np.mean(error)),
        median_ape=float(np.median(error)),
        bias=float(np.median(ratio)),
        coverage_80=float(np.mean([made.covered for made in comparisons])),
        median_interval_ratio=float(np.median([made.interval_ratio for made in comparisons])),
        memory_n=int(known.sum()),
        memory_mape=float(np.mean(memory_error)) if known.any() else None,
        memory_fit_share=float(np.mean([made.fits for made in comparisons])),
    )


def _compare_chunk(
    chunk: Sequence[Row], catalog: Catalog, forecaster: Forecaster, facts: OperatingFacts
) -> Iterator[Comparison | Skipped]:
    outcome: dict[int, Comparison | Skipped] = {}
    readable: list[tuple[Row, dict[str, object]]] = []
    for row in chunk:
        reason = _unusable(row)
        if reason is not None:
            outcome[row.line] = Skipped(row.line, reason)
        else:
            stated = {name: value for name, value in cast(Mapping[str, object], row.values).items() if name != OWN_NAME}
            readable.append((row, normalise(stated)))
    table, answers = resolve_table(
        [flat for _, flat in readable], catalog, measured=True, judge=forecaster.layout_judge
    )
    resolved: list[tuple[int, dict[str, object], Resolved]] = []
    for (row, flat), answer in zip(readable, answers, strict=True):
        if isinstance(answer, Unresolvable):
            outcome[row.line] = Skipped(row.line, str(answer))
        else:
            resolved.append((row.line, flat, answer))
    if resolved:
        for made in _compared(table, resolved, forecaster, facts):
            outcome[made.line] = made
    yield from (outcome[row.line] for row in chunk)


def _unusable(row: Row) -> str | None:
    if row.values is None:
        return row.error or "unreadable"
    if row.values.get("result.value") is None:
        return "no result.value"
    return None if row.values.get("result.unit") is not None else "no result.unit"


def _compared(
    table: Table,
    resolved: Sequence[tuple[int, dict[str, object], Resolved]],
    forecaster: Forecaster,
    facts: OperatingFacts,
) -> Iterator[Comparison | Skipped]:
    forecast = forecaster.predict(table)
    value, unit, samples = _observed([(flat, answer) for _, flat, answer in resolved])
    memory = np.array([_number(flat.get("result.peak_memory_gb")) for _, flat, _ in resolved])
    measured = seconds_per_sample(table, value, unit, samples)
    predicted = _seconds(table, forecast, unit, samples, facts)
    shown = [in_unit(table, side, unit, samples) for side in (predicted.p10, predicted.p50, predicted.p90)]
    low, high = np.minimum(shown[0], shown[2]), np.maximum(shown[0], shown[2])
    peak = forecast.memory_gb.p50
    for index, (line, _, _) in enumerate(resolved):
        if not math.isfinite(measured[index]):
            yield Skipped(line, _no_time(str(unit[index]), float(samples[index])))
        elif not math.isfinite(predicted.p50[index]):
            yield Skipped(line, "nothing relates the model to any work or measured sibling")
        else:
            yield Comparison(
                line=line,
                unit=str(unit[index]),
                measured=float(value[index]),
                p10=float(low[index]),
                p50=float(shown[1][index]),
                p90=float(high[index]),
                grade=str(forecast.grade[index]),
                log_time_ratio=float(np.log(predicted.p50[index] / measured[index])),
                covered=bool(predicted.p10[index] <= measured[index] <= predicted.p90[index]),
                interval_ratio=float(predicted.p90[index] / predicted.p10[index]),
                measured_memory_gb=float(memory[index]),
                predicted_memory_gb=float(peak[index]),
                fits=bool(forecast.fits[index]),
            )


def _observed(rows: Sequence[tuple[dict[str, object], Resolved]]) -> tuple[FloatArray, TextArray, FloatArray]:
    """Measured value, its unit, and the samples of the whole run (NaN: not stated), each shape (n,)."""
    value = np.array([float(str(flat["result.value"])) for flat, _ in rows])
    unit = np.array([str(flat["result.unit"]) for flat, _ in rows], dtype=object)
    return value, unit, np.array([answer.samples_to_train for _, answer in rows])


def _seconds(
    table: Table, forecast: Forecast, unit: TextArray, samples: FloatArray, facts: OperatingFacts
) -> Distribution:
    """Predicted seconds per sample; of the wall-clock, goodput included, where the unit is of whole runs."""
    steps = forecast.samples_per_second.inverse()
    whole = np.isin(unit.astype(str), list(WHOLE_RUN_UNITS)) & np.isfinite(samples)
    if not whole.any():
        return steps
    hours = Distribution(*(side[whole] * samples[whole] / 3600.0 for side in (steps.p10, steps.p50, steps.p90)))
    wall = goodput(table["count"][whole], hours, facts).wall_hours
    sides = []
    for side, hour in zip((steps.p10, steps.p50, steps.p90), (wall.p10, wall.p50, wall.p90), strict=True):
        seconds = side.copy()
        seconds[whole] = hour * 3600.0 / samples[whole]
        sides.append(seconds)
    return Distribution(*sides)


def _no_time(unit: str, samples: float) -> str:
    if unit in WHOLE_RUN_UNITS and not math.isfinite(samples):
        return f"{unit} of a whole run need data.tokens, data.samples or a known data.name"
    return f"{unit} cannot be turned into time per sample: the model's FLOPs or the chip's peak are unknown"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
