"""From where a configuration is predicted: as a site that nobody knows, or as one that has measured before."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from service.calibrations.shipped import measured
from service.catalog.catalog import Catalog
from service.engine.distribution import Z90, Distribution
from service.engine.evidence import NEIGHBOURS, Evidence, Neighbour, graded
from service.engine.forecast import Forecast, Forecaster
from service.engine.held_out import as_new_site
from service.engine.operations import work
from service.engine.table import Table
from service.sites.remembered import Remembered

MOST_REMEMBERED = 512
"""Forecasts, and whole answers, that a standpoint keeps: some 10 kB each."""
ASKED_TOGETHER = 64
"""Rows up to which it pays to look what is kept: larger tables cost less a row than that."""


class Recalled(NamedTuple):
    """What is said of one configuration."""

    forecast: Forecast
    nearest: list[Neighbour]


class Written(NamedTuple):
    """An estimate as JSON, and how well founded it is (`evidence.grade`)."""

    json: bytes
    grade: str


@dataclass(frozen=True, eq=False)
class Standpoint:
    """A forecaster and, if it is a site's, the version of what was learned and the site's own measurements."""

    forecaster: Forecaster
    site_version: str | None = None
    own: Evidence | None = None
    measured: Table | None = None
    """The configurations of the site's own measurements that say a speed."""
    written: Remembered[Written] = field(default_factory=lambda: Remembered(MOST_REMEMBERED))
    """Estimates as they were written, by what was asked in which words."""
    _recalled: Remembered[Recalled] = field(default_factory=lambda: Remembered(MOST_REMEMBERED))

    def predict(self, table: Table) -> Forecast:
        """The forecast; a site's own measurements count among those that are near."""
        if self.own is None:
            return self.forecaster.predict(table)
        grades = graded(table, work(table).known, [self.forecaster.evidence, self.own])
        return self.forecaster.predict(table, grades=grades)

    def nearest(self, table: Table, most: int) -> list[list[Neighbour]]:
        """The nearest measurements, the site's own among them, nearest first."""
        shared = self.forecaster.nearest(table, most)
        if self.own is None:
            return shared
        mine = self.own.nearest(table, most)
        return [_merged(near, far, most) for near, far in zip(mine, shared, strict=True)]

    def recalled(self, table: Table, keys: Sequence[Hashable]) -> list[Recalled]:
        """The forecast of each row, and its nearest measurements, of which is reckoned what was not a moment ago.

        Args:
            table: configurations, at most `ASKED_TOGETHER`.
            keys: what each row says; equal where rows are.
        """

        def found(rows: list[int]) -> list[Recalled]:
            asked = table if len(rows) == len(table) else table.take(np.array(rows))
            forecast, nearest = self.predict(asked), self.nearest(asked, NEIGHBOURS)
            return [Recalled(forecast.take(slice(row, row + 1)), near) for row, near in enumerate(nearest)]

        return self._recalled.of(keys, found)

    def time_ratio(self, shared: Forecaster) -> Distribution | None:
        """Time of another run like those that the site measured, over what a site that nobody knows is predicted.

        A mixture over the site's measured configurations, taken as log-normal with its mean and variance; shape (1,).
        None if the site has measured nothing.
        """
        if self.measured is None:
            return None
        at_home, variance, _ = self.forecaster.log_seconds(self.measured)
        anywhere, _, _ = shared.log_seconds(as_new_site(self.measured))
        shift = at_home - anywhere
        middle, deviation = np.mean(shift), np.sqrt(np.mean(variance) + np.var(shift))
        return Distribution(*(np.exp([middle + reach * deviation]) for reach in (-Z90, 0.0, Z90)))


def learned(
    forecaster: Forecaster, rows: Sequence[Mapping[str, object]], ids: Sequence[str], catalog: Catalog, *, version: str
) -> Standpoint:
    """The standpoint of a site that measured these rows (dotted names); a new site's if none says a speed.

    Args:
        forecaster: the calibration.
        rows: the site's measurements.
        ids: what they are stored under.
        catalog: the reference tables.
        version: names what is learned.
    """
    data = measured(rows, ids, catalog, judge=forecaster.layout_judge)
    timed = np.isfinite(data.log_seconds)
    if not timed.any():
        return Standpoint(forecaster)
    table, log_seconds = data.table.take(timed), data.log_seconds[timed]
    updated = forecaster.learn(table, log_seconds, data.peak_memory_gb[timed])
    predicted, _, _ = updated.log_seconds(table)
    own = Evidence.of(data.ids[timed], table, log_seconds, predicted, predicted)
    return Standpoint(updated, version, own, table)


def _merged(own: Sequence[Neighbour], shared: Sequence[Neighbour], most: int) -> list[Neighbour]:
    """The nearest of both, each measurement once: a site's shared rows may be in the calibration's evidence too."""
    mine = {near.id for near in own}
    both = [*own, *(near for near in shared if near.id not in mine)]
    return sorted(both, key=lambda near: near.distance)[:most]
