"""From requests to answers: the one path that a single estimate, a batch and a remedy's trial all take."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from service.catalog.catalog import Catalog
from service.catalog.normalise import normalise
from service.catalog.resolution import Resolved, Unresolvable
from service.catalog.resolve import resolve_table
from service.estimates.columns import WHOLE, Path, documents
from service.estimates.members import members
from service.estimates.rates import RatesOfRuns, UnknownPlaceError
from service.estimates.runs import Runs
from service.estimates.schemas import Estimate, EstimateRequest
from service.estimates.targets import aim, sized
from service.problems import FieldError
from service.sites.standpoint import Standpoint

T = TypeVar("T")


class Estimated(NamedTuple):
    """An estimate as `Estimate` describes it, or some of its members; and how well founded it is (`evidence.grade`)."""

    document: dict[str, Any]
    grade: str


Answer = Estimated | list[FieldError]
"""An estimate, or the fields that keep a request from being one."""


@dataclass(frozen=True, eq=False)
class Computed:
    """Requests that were asked together: those that can be computed, and what keeps the others from it."""

    runs: Runs
    computed: list[int]  # positions of the requests that `runs` has, in its order
    refused: dict[int, list[FieldError]]  # the others, by position

    def grades(self) -> list[str]:
        """How well founded each of `runs` is."""
        return [str(grade) for grade in self.runs.forecast.grade] if self.computed else []

    def documents(self, fields: Collection[Path] = WHOLE) -> Iterator[dict[str, Any]]:
        """The estimates of `runs`, as `Estimate` describes them; what no member at `fields` needs is not computed."""
        return documents(members(self.runs), len(self.computed), fields) if self.computed else iter(())

    def answers(self, fields: Collection[Path] = WHOLE) -> list[Answer]:
        """An answer for each request, in order."""
        return self._in_order(map(Estimated, self.documents(fields), self.grades()))

    def estimates(self) -> list[Estimate | list[FieldError]]:
        """An answer for each request, in order, for who goes on computing with it."""
        return self._in_order(map(Estimate.model_validate, self.documents()))

    def _in_order(self, found: Iterator[T]) -> list[T | list[FieldError]]:
        return [self.refused.get(index) or next(found) for index in range(len(self.computed) + len(self.refused))]


def estimate_many(
    requests: Sequence[EstimateRequest], catalog: Catalog, standpoint: Standpoint
) -> list[Estimate | list[FieldError]]:
    """An answer for each request, in order: its estimate, or the fields that keep it from being one."""
    return compute_many(requests, catalog, standpoint).estimates()


def compute_many(
    requests: Sequence[EstimateRequest], catalog: Catalog, standpoint: Standpoint, *, with_remedies: bool = True
) -> Computed:
    """Many requests as one table, with what the engine computes of them, for who goes on with it.

    Args:
        requests: what is asked.
        catalog: the reference tables.
        standpoint: whose forecaster answers.
        with_remedies: look for changes that make a misfit fit, and for smaller counts that are quicker; that takes
            longer than the estimate.
    """
    flats = [sized(request, normalise(request.configuration())) for request in requests]
    table, resolutions = resolve_table(flats, catalog, judge=standpoint.forecaster.layout_judge)
    refused: dict[int, list[FieldError]] = {}
    rates = RatesOfRuns(catalog)
    kept: list[tuple[int, int, Resolved]] = []  # position of the request, row of the table
    row = -1
    for index, (request, resolution) in enumerate(zip(requests, resolutions, strict=True)):
        try:
            if isinstance(resolution, Unresolvable):
                raise resolution
            row += 1
            aim(request, resolution)
            values = resolution.values
            power = float(values.get("tdp_w", math.nan))
            rates.add(request.pricing, request.location, str(values["accelerator"]), float(values["count"]), power)
        except Unresolvable as flawed:
            refused[index] = [FieldError(field=e.field, message=e.message, hint=e.hint) for e in flawed.errors]
        except UnknownPlaceError as error:
            refused[index] = [FieldError(field=error.field, message=error.message, hint=error.hint)]
        else:
            kept.append((index, row, resolution))
    runs = Runs(
        requests=[requests[index] for index, _, _ in kept],
        flats=[flats[index] for index, _, _ in kept],
        resolved=[resolution for _, _, resolution in kept],
        table=table if len(kept) == len(table) else table.take(np.array([row for _, row, _ in kept], dtype=np.int64)),
        rates=rates,
        catalog=catalog,
        standpoint=standpoint,
        with_remedies=with_remedies,
    )
    return Computed(runs, [index for index, _, _ in kept], refused)
