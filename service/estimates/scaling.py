"""Whether a job has more accelerators than make it quick: fewer are tried, as one table, at the same global batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from service.catalog.catalog import Catalog
from service.catalog.resolution import Resolved
from service.catalog.resolve import resolve_table
from service.engine.forecast import Forecast
from service.engine.table import BoolArray, Table
from service.sites.standpoint import Standpoint

SHARES = (2, 4, 8, 16)
# What follows from the count. All else that is stated is held, or it would be that which makes the run quicker.
FREED = ("training.data_parallel", "training.gradient_accumulation")
# Judgement: a job most of whose step is work that more accelerators share out, with several samples for each replica,
# is not quicker on fewer, and looking for one only costs time.
MOST_UNSHARED = 0.5
FEWEST_SAMPLES = 2.0
NOTICEABLE = 1.02  # times quicker that is worth a warning
UNSHARED = (
    "launch",
    "host",
    "tensor_communication",
    "expert_communication",
    "context_communication",
    "pipeline_communication",
    "data_communication",
    "bubble",
    "stragglers",
)


def quicker_counts(
    flats: Sequence[Mapping[str, object]],
    table: Table,
    forecast: Forecast,
    catalog: Catalog,
    standpoint: Standpoint,
) -> dict[int, tuple[int, float]]:
    """Row -> the quickest smaller count that was tried, and how many times quicker it is; only rows that have one.

    Args:
        flats: the n configurations as stated.
        table: the same, resolved.
        forecast: what was predicted for them.
        catalog: the reference tables.
        standpoint: by whom smaller counts are predicted.
    """
    doubtful = _past_half(table, forecast) & np.array(["training.global_batch" in flat for flat in flats])
    tried = [
        (row, count, smaller) for row in np.flatnonzero(doubtful).tolist() for count, smaller in _smaller(flats[row])
    ]
    found: dict[int, tuple[int, float]] = {}
    if not tried:
        return found
    trials, answers = resolve_table(
        [smaller for _, _, smaller in tried], catalog, judge=standpoint.forecaster.layout_judge
    )
    resolved = [
        (row, count) for (row, count, _), answer in zip(tried, answers, strict=True) if isinstance(answer, Resolved)
    ]
    if not resolved:
        return found
    of_trial = standpoint.predict(trials)
    for (row, count), rate, fits in zip(resolved, of_trial.samples_per_second.p50, of_trial.fits, strict=True):
        times = float(rate / forecast.samples_per_second.p50[row])
        if fits and times > found.get(row, (0, NOTICEABLE))[1]:
            found[row] = (count, times)
    return found


def _past_half(table: Table, forecast: Forecast) -> BoolArray:
    """Rows of several accelerators that share little of a step, or have hardly a sample a replica, shape (n,)."""
    unshared = sum(forecast.breakdown[name] for name in UNSHARED) / forecast.step_seconds.p50
    samples = table["global_batch"] / np.maximum(np.nan_to_num(table["data_parallel"], nan=1.0), 1.0)
    return np.asarray((table["count"] > 1) & ((unshared > MOST_UNSHARED) | (samples < FEWEST_SAMPLES)))


def _smaller(flat: Mapping[str, object]) -> Iterator[tuple[int, dict[str, object]]]:
    """The configuration on a half, a quarter, ... of its accelerators, replicas left to follow where stated."""
    count = float(str(flat.get("hardware.count") or 1))
    kept = {name: value for name, value in flat.items() if name not in (*FREED, "hardware.nodes")}
    for share in SHARES:
        fewer = count / share
        if fewer >= 1 and fewer.is_integer():
            yield int(fewer), {**kept, "hardware.count": int(fewer)}
