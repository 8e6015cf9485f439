"""From the points of a sweep to its answer: estimates, columns, and what more chips bring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from service.catalog.catalog import Catalog
from service.engine.comparison import log_ratio
from service.estimates.batch import cannot_run, read_request
from service.estimates.quantities import quantity
from service.estimates.schemas import Estimate, EstimateRequest, Quantity
from service.estimates.service import Computed, compute_many
from service.problems import FieldError, Problem, ProblemDocument
from service.sites.standpoint import Standpoint
from service.sweeps.expansion import Point
from service.sweeps.schemas import Band, Curve, Sweep, SweepPoint

COLUMNS: dict[str, Callable[[Estimate], Quantity | None]] = {
    "duration_hours": lambda estimate: estimate.duration_hours,
    "cost_usd": lambda estimate: estimate.cost_usd,
    "energy_kwh": lambda estimate: estimate.energy_kwh,
    "carbon_kg_co2e": lambda estimate: estimate.carbon_kg_co2e,
    "samples_per_second": lambda estimate: estimate.throughput.samples_per_second,
    "tokens_per_second": lambda estimate: estimate.throughput.tokens_per_second,
    "mfu": lambda estimate: estimate.mfu,
    "memory_peak_gb": lambda estimate: estimate.memory.peak_gb,
}


class Scaling(NamedTuple):
    """How one point compares with its curve's first."""

    speedup: Quantity | None
    efficiency: Quantity | None


def sweep(
    curves: Sequence[Sequence[Point]], catalog: Catalog, standpoint: Standpoint, *, request_id: str | None = None
) -> Sweep:
    """Estimate every point; one that cannot run gets its problem, and the rest go on.

    Args:
        curves: the points, curve by curve.
        catalog: the reference tables.
        standpoint: whose forecaster answers.
        request_id: named in problem documents.
    """
    points = list(chain.from_iterable(curves))
    read = [read_request(point.request) for point in points]
    requests = {number: request for number, request in enumerate(read) if isinstance(request, EstimateRequest)}
    computed = compute_many(list(requests.values()), catalog, standpoint, with_remedies=False)
    found = iter(computed.estimates())
    answers = [request if isinstance(request, Problem) else _estimated(next(found)) for request in read]
    numbers = list(requests)
    rows = {numbers[position]: row for row, position in enumerate(computed.computed)}
    scaling = _scaling([len(curve) for curve in curves], rows, computed, standpoint)
    columns, begin = [], 0
    for curve in curves:
        end = begin + len(curve)
        columns.append(_curve(curve, answers[begin:end], scaling[begin:end]))
        begin = end
    return Sweep(
        points=[_answered(point, answer, request_id) for point, answer in zip(points, answers, strict=True)],
        curves=columns,
    )


def _estimated(answer: Estimate | list[FieldError]) -> Estimate | Problem:
    return answer if isinstance(answer, Estimate) else cannot_run(answer)


def _answered(point: Point, answer: Estimate | Problem, request_id: str | None) -> SweepPoint:
    if isinstance(answer, Estimate):
        return SweepPoint(values=point.values, estimate=answer, problem=None)
    problem = ProblemDocument.model_validate(answer.document(request_id))
    return SweepPoint(values=point.values, estimate=None, problem=problem)


def _scaling(
    lengths: Sequence[int], rows: Mapping[int, int], computed: Computed, standpoint: Standpoint
) -> list[Scaling]:
    """Every point compared with the first of its curve that can run.

    Args:
        lengths: points of each curve.
        rows: rows of `computed.runs.table` by the number of the point.
        computed: the points that can run.
        standpoint: whose forecaster compares them.
    """
    first: list[int] = []
    numbers: list[int] = []
    begin = 0
    for length in lengths:
        able = [number for number in range(begin, begin + length) if number in rows]
        numbers += able
        first += [rows[able[0]] for _ in able]
        begin += length
    result = [Scaling(None, None)] * begin
    if not numbers:
        return result
    ours = np.array([rows[number] for number in numbers])
    theirs = np.array(first)
    table, samples = computed.runs.table, computed.runs.samples
    speed = log_ratio(standpoint.forecaster, table.take(ours), table.take(theirs)).speedup
    # Where both say how much to train on, it is the same work that is done sooner; else it is samples.
    work = np.where(np.isfinite(samples[ours] * samples[theirs]), samples[theirs] / samples[ours], 1.0)
    speedup = speed.scaled(work)
    efficiency = speedup.scaled(table["count"][theirs] / table["count"][ours])
    for place, number in enumerate(numbers):
        result[number] = Scaling(quantity(speedup, place), quantity(efficiency, place))
    return result


def _curve(points: Sequence[Point], answers: Sequence[Estimate | Problem], scaling: Sequence[Scaling]) -> Curve:
    path, *others = points[0].values
    estimates = [answer if isinstance(answer, Estimate) else None for answer in answers]
    return Curve(
        path=path,
        fixed={other: points[0].values[other] for other in others},
        x=[point.values[path] for point in points],
        fits=[None if estimate is None else estimate.memory.fits for estimate in estimates],
        speedup=_band([one.speedup for one in scaling]),
        efficiency=_band([one.efficiency for one in scaling]),
        **{
            name: _band([None if estimate is None else column(estimate) for estimate in estimates])
            for name, column in COLUMNS.items()
        },
    )


def _band(found: Sequence[Quantity | None]) -> Band:
    return Band(
        p10=[one and one.p10 for one in found],
        p50=[one and one.p50 for one in found],
        p90=[one and one.p90 for one in found],
    )
