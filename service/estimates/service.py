"""From requests to answers: the one path that a single estimate, a batch and a remedy's trial all take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from service.catalog.catalog import Catalog
from service.catalog.normalise import normalise
from service.catalog.operating_facts import embodied_facts, operating_facts
from service.catalog.resolution import Resolved, Unresolvable
from service.catalog.resolve import resolve_table
from service.engine.distribution import Distribution, FloatArray, product
from service.engine.economics import (
    Energy,
    Goodput,
    carbon_kg_co2e,
    cost_usd,
    energy_kwh,
    goodput,
)
from service.engine.embodied import embodied_kg_co2e
from service.engine.forecast import Forecast
from service.engine.operating_facts import OperatingFacts
from service.engine.table import Table
from service.estimates.quantities import quantity, rounded
from service.estimates.rates import (
    Rate,
    UnknownPlaceError,
    accelerator_price,
    embodied_carbon,
    grid_intensity,
    node_power,
    power_usage_effectiveness,
    rate_column,
)
from service.estimates.remedies import find_remedies
from service.estimates.scaling import quicker_counts
from service.estimates.schemas import (
    Assumption,
    EnergyAnswer,
    Estimate,
    EstimateRequest,
    Evidence,
    Layout,
    Memory,
    Neighbour,
    Quantity,
    Remedy,
    Throughput,
)
from service.estimates.targets import aim, sized
from service.estimates.warnings import warnings_of
from service.estimates.whole_run import constants, course_of, overrides
from service.problems import FieldError
from service.sites.standpoint import Standpoint

NEIGHBOURS = 5


@dataclass(frozen=True)
class Rates:
    """What applies to one request: USD per accelerator-hour, W of a node per accelerator, g CO2e per kWh, PUE, and kg
    CO2e of making an accelerator."""

    price: Rate
    power: Rate
    grid: Rate
    pue: Rate
    embodied: Rate


@dataclass(frozen=True, eq=False)
class Economics:
    """Whole runs of a table of configurations; NaN where a request says no amount of data."""

    course: Goodput
    reckoned: dict[str, Distribution]  # the constants behind it, by field of `goodput`
    duration_hours: Distribution
    accelerator_hours: Distribution
    cost: Distribution
    energy: Energy
    carbon: Distribution
    embodied: Distribution


@dataclass(frozen=True, eq=False)
class Computed:
    """Answers to requests, and those of them that could be computed as the engine sees them."""

    answers: list[Estimate | list[FieldError]]
    computed: list[int]  # positions of the requests that `table` holds, in its order
    table: Table
    samples_to_train: FloatArray  # of one run, NaN where no amount of data is known; a row of `table` each


def estimate_each(
    requests: Sequence[EstimateRequest], catalog: Catalog, standpoints: Mapping[str | None, Standpoint]
) -> list[Estimate | list[FieldError]]:
    """`estimate_many`, each request from the standpoint of the site that it names."""
    by_site: dict[str | None, list[int]] = {}
    for index, request in enumerate(requests):
        by_site.setdefault(request.site, []).append(index)
    answers: list[Estimate | list[FieldError]] = [[] for _ in requests]
    for site, indices in by_site.items():
        found = estimate_many([requests[index] for index in indices], catalog, standpoints[site])
        for index, answer in zip(indices, found, strict=True):
            answers[index] = answer
    return answers


def estimate_many(
    requests: Sequence[EstimateRequest], catalog: Catalog, standpoint: Standpoint
) -> list[Estimate | list[FieldError]]:
    """An answer for each request, in order: its estimate, or the fields that keep it from being one."""
    return compute_many(requests, catalog, standpoint).answers


def compute_many(
    requests: Sequence[EstimateRequest], catalog: Catalog, standpoint: Standpoint, *, with_remedies: bool = True
) -> Computed:
    """`estimate_many`, with what the engine computed them from, for who goes on computing with it.

    Args:
        requests: what is asked.
        catalog: the reference tables.
        standpoint: whose forecaster answers.
        with_remedies: look for changes that make a misfit fit, and for smaller counts that are quicker; that takes
            longer than the estimate.
    """
    flats = [sized(request, normalise(request.configuration())) for request in requests]
    table, resolutions = resolve_table(flats, catalog, judge=standpoint.forecaster.judge)
    answers: list[Estimate | list[FieldError]] = [[] for _ in requests]
    chosen: list[tuple[int, Resolved, Rates]] = []
    for index, (request, resolution) in enumerate(zip(requests, resolutions, strict=True)):
        try:
            if isinstance(resolution, Unresolvable):
                raise resolution
            aim(request, resolution)
            chosen.append((index, resolution, _rates(request, resolution, catalog)))
        except Unresolvable as flawed:
            answers[index] = [FieldError(field=e.field, message=e.message, hint=e.hint) for e in flawed.errors]
        except UnknownPlaceError as error:
            answers[index] = [FieldError(field=error.field, message=error.message, hint=error.hint)]
    if not chosen:
        return Computed(answers, [], Table.from_rows([]), np.empty(0))
    kept = [requests[index] for index, _, _ in chosen]
    resolved = [resolution for _, resolution, _ in chosen]
    rates = [rate for _, _, rate in chosen]
    if len(resolved) < len(table):
        table = Table.from_rows([resolution.values for resolution in resolved])
    forecast = standpoint.predict(table)
    economics = _economics(kept, resolved, rates, table, forecast, operating_facts())
    neighbours = standpoint.nearest(table, NEIGHBOURS)
    misfits = [row for row in range(len(kept)) if with_remedies and not forecast.fits[row]]
    remedies = find_remedies([flats[chosen[row][0]] for row in misfits], catalog, standpoint.forecaster)
    by_row = dict(zip(misfits, remedies, strict=True))
    probed = [flats[index] for index, _, _ in chosen]
    quicker = quicker_counts(probed, table, forecast, catalog, standpoint) if with_remedies else {}
    for row, (index, resolution, rate) in enumerate(chosen):
        nearest = [
            Neighbour(
                id=near.id,
                distance=rounded(near.distance),
                measured=_known(near.measured_samples_per_second),
                predicted=_known(near.predicted_samples_per_second),
            )
            for near in neighbours[row]
        ]
        answers[index] = _answer(
            row,
            requests[index],
            resolution,
            rate,
            table,
            forecast,
            economics,
            nearest,
            by_row.get(row),
            quicker.get(row),
            standpoint,
        )
    samples = np.array([resolution.samples_to_train for resolution in resolved])
    return Computed(answers, [index for index, _, _ in chosen], table, samples)


def _known(value: float) -> float | None:
    return rounded(value) if math.isfinite(value) else None


def _rates(request: EstimateRequest, resolution: Resolved, catalog: Catalog) -> Rates:
    pricing, location = request.pricing, request.location
    slug, count = str(resolution.values["accelerator"]), float(resolution.values["count"])
    return Rates(
        accelerator_price(pricing, slug, count, catalog),
        node_power(location, slug, float(resolution.values.get("tdp_w", math.nan))),
        grid_intensity(location, pricing, catalog),
        power_usage_effectiveness(location, pricing, catalog),
        embodied_carbon(location, slug),
    )


def _economics(
    requests: Sequence[EstimateRequest],
    resolved: Sequence[Resolved],
    rates: Sequence[Rates],
    table: Table,
    forecast: Forecast,
    facts: OperatingFacts,
) -> Economics:
    median = np.array([resolution.samples_to_train for resolution in resolved])
    factor = np.array([resolution.amount_factor for resolution in resolved])
    samples = Distribution(median / factor, median, median * factor)
    runs = np.array([float(request.runs) for request in requests])
    work = product(forecast.samples_per_second.inverse(), samples).scaled(1.0 / 3600.0)
    course = goodput(table["count"], work, facts, overrides(requests))
    duration = course.wall_hours.scaled(runs)
    accelerator_hours = duration.scaled(table["count"])
    watts = np.array([_number(request.location.watts_per_accelerator) for request in requests])
    energy = energy_kwh(
        accelerator_hours,
        table.text("accelerator"),
        table["tdp_w"],
        table["count"] > table["per_node"],
        rate_column([rate.pue for rate in rates]),
        facts,
        watts,
    )
    return Economics(
        course=course,
        reckoned=constants(requests, table["count"], course, facts),
        duration_hours=duration,
        accelerator_hours=accelerator_hours,
        cost=cost_usd(accelerator_hours, rate_column([rate.price for rate in rates])),
        energy=energy,
        carbon=carbon_kg_co2e(energy.total, rate_column([rate.grid for rate in rates])),
        embodied=embodied_kg_co2e(accelerator_hours, rate_column([rate.embodied for rate in rates]), embodied_facts()),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _answer(
    row: int,
    request: EstimateRequest,
    resolution: Resolved,
    rates: Rates,
    table: Table,
    forecast: Forecast,
    economics: Economics,
    nearest: list[Neighbour],
    remedies: list[Remedy] | None,
    quicker: tuple[int, float] | None,
    standpoint: Standpoint,
) -> Estimate:
    throughput = forecast.samples_per_second
    samples = cast(Quantity, quantity(throughput, row))
    length, count = float(table["sequence_length"][row]), float(table["count"][row])
    memory = _memory(row, resolution, forecast)
    trained = math.isfinite(resolution.samples_to_train)
    course = course_of(row, request, economics.course, economics.reckoned)
    energy = quantity(economics.energy.total, row)
    return Estimate(
        throughput=Throughput(
            samples_per_second=samples,
            tokens_per_second=quantity(throughput.scaled(length), row) if length > 0 else None,
            per_accelerator=cast(Quantity, quantity(throughput.scaled(1.0 / count), row)),
        ),
        step_seconds=cast(Quantity, quantity(forecast.step_seconds, row)),
        duration_hours=quantity(economics.duration_hours, row),
        accelerator_hours=quantity(economics.accelerator_hours, row),
        mfu=quantity(forecast.mfu, row),
        breakdown=_parts(forecast.breakdown, row),
        memory=memory,
        goodput=course,
        cost_usd=quantity(economics.cost, row),
        energy_kwh=EnergyAnswer(**energy.model_dump(), parts=_parts(economics.energy.parts, row)) if energy else None,
        carbon_kg_co2e=quantity(economics.carbon, row),
        embodied_kg_co2e=quantity(economics.embodied, row),
        layout=Layout.model_validate(resolution.layout),
        assumptions=_assumptions(request, resolution, rates, trained=trained),
        warnings=warnings_of(resolution, rates.price, memory, remedies, quicker, course, trained=trained),
        remedies=remedies or [],
        evidence=Evidence(
            calibration=standpoint.forecaster.calibration_version,
            site_version=standpoint.site_version,
            grade=cast(Literal["measured", "interpolated", "extrapolated"], str(forecast.grade[row])),
            nearest=nearest,
        ),
    )


def _parts(columns: Mapping[str, FloatArray], row: int) -> dict[str, float]:
    """The parts that are there: one that is nothing says nothing."""
    return {name: rounded(column[row]) for name, column in columns.items() if column[row] != 0}


def _memory(row: int, resolution: Resolved, forecast: Forecast) -> Memory:
    return Memory(
        peak_gb=cast(Quantity, quantity(forecast.memory_gb, row)),
        parts=_parts(forecast.memory_parts, row),
        available_gb=_known(float(resolution.values.get("memory_gb", math.nan))),
        fits=bool(forecast.fits[row]),
        fits_probability=rounded(forecast.fits_probability[row]),
    )


def _assumptions(request: EstimateRequest, resolution: Resolved, rates: Rates, *, trained: bool) -> list[Assumption]:
    listed = [
        Assumption(field=made.field, value=cast(Any, made.value), reason=made.reason) for made in resolution.assumptions
    ]
    fills = {
        "pricing.usd_per_accelerator_hour": rates.price,
        "location.watts_per_accelerator": rates.power,
        "location.gco2e_per_kwh": rates.grid,
        "location.pue": rates.pue,
        "location.embodied_kg_co2e_per_accelerator": rates.embodied,
    }
    listed += [
        Assumption(field=path, value=rounded(rate.p50), reason=rate.reason)
        for path, rate in fills.items()
        if trained and not rate.stated and math.isfinite(rate.p50)
    ]
    return listed
