"""From where a configuration is predicted: as a site that nobody knows, or as one that has measured before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from service.calibrations.shipped import measured
from service.catalog.catalog import Catalog
from service.engine.evidence import Neighbour, grade
from service.engine.forecast import Forecast, Forecaster
from service.engine.operations import work
from service.engine.table import Table, TextArray

NOBODY: TextArray = np.array([], dtype=object)


@dataclass(frozen=True, eq=False)
class Standpoint:
    """A forecaster and, if it is a site's, the version of what was learned and the ids of the rows behind it."""

    forecaster: Forecaster
    site_version: str | None = None
    ids: TextArray = field(default_factory=lambda: NOBODY)

    def predict(self, table: Table) -> Forecast:
        """The forecast; a site's own measurements count among those that are near."""
        own = self.forecaster.own
        if own is None:
            return self.forecaster.predict(table)
        shared, mine = self.forecaster.evidence, own.evidence
        distance = np.minimum(shared.nearest_distance(table), mine.nearest_distance(table))
        grades = grade(table, distance)
        measured_models = np.concatenate([shared.names["model"], mine.names["model"]])
        # Neither its work nor a measured sibling is known: whatever is near is near to a stand-in.
        grades[~work(table).known & ~np.isin(table.text("model"), measured_models)] = "extrapolated"
        return self.forecaster.predict(table, grades=grades)

    def nearest(self, table: Table, most: int) -> list[list[Neighbour]]:
        """The nearest measurements, the site's own among them, nearest first."""
        shared = self.forecaster.nearest(table, most)
        own = self.forecaster.own
        if own is None:
            return shared
        mine = own.evidence.nearest(table, most)
        return [_merged(self._named(near), far, most) for near, far in zip(mine, shared, strict=True)]

    def _named(self, neighbours: Sequence[Neighbour]) -> list[Neighbour]:
        """The engine numbers a site's rows; here they get the ids they are stored under."""
        return [
            Neighbour(
                str(self.ids[int(near.id)]),
                near.distance,
                near.measured_samples_per_second,
                near.predicted_samples_per_second,
            )
            for near in neighbours
        ]


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
    data = measured(rows, ids, catalog)
    timed = np.isfinite(data.log_seconds)
    if not timed.any():
        return Standpoint(forecaster)
    updated = forecaster.learn(data.table.take(timed), data.log_seconds[timed])
    return Standpoint(updated, version, data.ids[timed])


def _merged(own: Sequence[Neighbour], shared: Sequence[Neighbour], most: int) -> list[Neighbour]:
    """The nearest of both, each measurement once: a site's shared rows may be in the calibration's evidence too."""
    mine = {near.id for near in own}
    both = [*own, *(near for near in shared if near.id not in mine)]
    return sorted(both, key=lambda near: near.distance)[:most]
