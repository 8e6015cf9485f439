"""Runs that requests ask about: each thing is reckoned for all of them as columns, once somebody asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from service.catalog.catalog import Catalog
from service.catalog.operating_facts import embodied_facts, operating_facts
from service.catalog.resolution import Resolved
from service.engine.distribution import Distribution, FloatArray, product
from service.engine.economics import Energy, Goodput, GoodputOverrides, carbon_kg_co2e, cost_usd, energy_kwh, goodput
from service.engine.embodied import embodied_kg_co2e
from service.engine.evidence import NEIGHBOURS, Neighbour
from service.engine.forecast import Forecast, concatenate
from service.engine.table import IntArray, Table
from service.estimates.rates import RatesOfRuns
from service.estimates.remedies import find_remedies
from service.estimates.scaling import quicker_counts
from service.estimates.schemas import EstimateRequest, Remedy
from service.sites.standpoint import ASKED_TOGETHER, Recalled, Standpoint


@dataclass(frozen=True, eq=False)
class Runs:
    """n requests that can be computed; columns have shape (n,). NaN: unknown, or no amount of data is known."""

    requests: Sequence[EstimateRequest]
    flats: Sequence[Mapping[str, object]]  # the configurations as stated
    resolved: Sequence[Resolved]
    table: Table
    rates: RatesOfRuns
    catalog: Catalog
    standpoint: Standpoint
    with_remedies: bool  # whether what would make misfits fit, and smaller counts that are quicker, may be looked for

    @cached_property
    def forecast(self) -> Forecast:
        """Speed and memory."""
        if self._recalled is None:
            return self.standpoint.predict(self.table)
        return concatenate([one.forecast for one in self._recalled])

    @cached_property
    def _recalled(self) -> list[Recalled] | None:
        """What the standpoint may say from memory; None of so many that each is reckoned sooner than it is found."""
        if len(self.resolved) > ASKED_TOGETHER:
            return None
        # It depends on these alone, and not on how much is trained, where, or at what price.
        keys = [tuple(resolution.values.items()) for resolution in self.resolved]
        return self.standpoint.recalled(self.table, keys)

    @cached_property
    def samples(self) -> FloatArray:
        """Samples that one run trains on, all epochs."""
        return np.array([resolution.samples_to_train for resolution in self.resolved])

    @cached_property
    def course(self) -> Goodput:
        """Where the hours of one run go."""
        factor = np.array([resolution.amount_factor for resolution in self.resolved])
        amount = Distribution(self.samples / factor, self.samples, self.samples * factor)
        work = product(self.forecast.samples_per_second.inverse(), amount).scaled(1.0 / 3600.0)
        return goodput(self.table["count"], work, operating_facts(), self.overrides)

    @cached_property
    def overrides(self) -> GoodputOverrides:
        """What requests state of interruptions."""
        names = GoodputOverrides.__dataclass_fields__
        stated = [[getattr(request.goodput, name) for name in names] for request in self.requests]
        return GoodputOverrides(*np.array(stated, dtype=np.float64).T)

    def alike_in_interruptions(self) -> tuple[IntArray, IntArray]:
        """Rows that are reckoned with the same constants: one of each of c kinds, (c,), and the kind of every row."""
        first: dict[tuple[object, ...], int] = {}
        alike = [
            first.setdefault((count, *vars(request.goodput).values()), row)
            for row, (count, request) in enumerate(zip(self.table["count"].tolist(), self.requests, strict=True))
        ]
        kinds = {row: kind for kind, row in enumerate(first.values())}
        return np.array(list(kinds)), np.array([kinds[row] for row in alike])

    @cached_property
    def duration_hours(self) -> Distribution:
        """Wall-clock hours of all runs of a request."""
        return self.course.wall_hours.scaled([float(request.runs) for request in self.requests])

    @cached_property
    def accelerator_hours(self) -> Distribution:
        """Wall-clock hours of all runs, times accelerators."""
        return self.duration_hours.scaled(self.table["count"])

    @cached_property
    def energy(self) -> Energy:
        """Energy of all runs."""
        stated = [request.location.watts_per_accelerator for request in self.requests]
        return energy_kwh(
            self.accelerator_hours,
            self.table.text("accelerator"),
            self.table["tdp_w"],
            self.table["count"] > self.table["per_node"],
            self.rates.column("pue"),
            operating_facts(),
            np.array(stated, dtype=np.float64),
        )

    def cost(self) -> Distribution:
        """Rent of all runs, USD."""
        return cost_usd(self.accelerator_hours, self.rates.column("price"))

    def carbon(self) -> Distribution:
        """Emissions of the energy, kg CO2e."""
        return carbon_kg_co2e(self.energy.total, self.rates.column("grid"))

    def embodied(self) -> Distribution:
        """The share of what making the machines emitted, kg CO2e."""
        return embodied_kg_co2e(self.accelerator_hours, self.rates.column("embodied"), embodied_facts())

    def nearest(self) -> list[list[Neighbour]]:
        """The nearest measurements of each, nearest first."""
        if self._recalled is None:
            return self.standpoint.nearest(self.table, NEIGHBOURS)
        return [one.nearest for one in self._recalled]

    @cached_property
    def remedies(self) -> dict[int, list[Remedy]]:
        """What would make it fit, by the row of each that does not; empty where nobody may look."""
        misfits = np.flatnonzero(~self.forecast.fits).tolist() if self.with_remedies else []
        found = find_remedies([self.flats[row] for row in misfits], self.catalog, self.standpoint.forecaster)
        return dict(zip(misfits, found, strict=True))

    def quicker(self) -> dict[int, tuple[int, float]]:
        """By row: the quickest smaller count, and how many times quicker it is; empty where nobody may look."""
        if not self.with_remedies:
            return {}
        return quicker_counts(self.flats, self.table, self.forecast, self.catalog, self.standpoint)
