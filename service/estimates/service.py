"""From requests to answers: the one path that a single estimate, a batch and a remedy's trial all take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from service.catalog.catalog import Catalog
from service.catalog.normalise import normalise
from service.catalog.operating_facts import operating_facts
from service.catalog.resolution import Resolved, Unresolvable
from service.catalog.resolve import resolve_table
from service.engine.distribution import Distribution, FloatArray
from service.engine.economics import (
    Energy,
    Goodput,
    GoodputOverrides,
    carbon_kg_co2e,
    cost_usd,
    energy_kwh,
    goodput,
)
from service.engine.forecast import Forecast
from service.engine.operating_facts import OperatingFacts
from service.engine.table import Table
from service.estimates.rates import (
    Rate,
    UnknownPlaceError,
    accelerator_price,
    grid_intensity,
    power_usage_effectiveness,
)
from service.estimates.remedies import find_remedies
from service.estimates.scaling import quicker_counts
from service.estimates.schemas import (
    Assumption,
    EnergyAnswer,
    Estimate,
    EstimateRequest,
    Evidence,
    GoodputAnswer,
    Layout,
    Memory,
    Neighbour,
    Quantity,
    Remedy,
    Throughput,
)
from service.estimates.warnings import warnings_of
from service.problems import FieldError
from service.sites.standpoint import Standpoint

NEIGHBOURS = 5


@dataclass(frozen=True)
class Rates:
    """What applies to one request: USD per accelerator-hour, g CO2e per kWh, facility over machine energy."""

    price: Rate
    grid: Rate
    pue: Rate


@dataclass(frozen=True, eq=False)
class Economics:
    """Whole runs of a table of configurations; NaN where a request says no amount of data."""

    course: Goodput
    duration_hours: Distribution
    accelerator_hours: Distribution
    cost: Distribution
    energy: Energy
    carbon: Distribution


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
    flats = [normalise(request.configuration()) for request in requests]
    table, resolutions = resolve_table(flats, catalog, judge=standpoint.forecaster.judge)
    answers: list[Estimate | list[FieldError]] = [[] for _ in requests]
    chosen: list[tuple[int, Resolved, Rates]] = []
    for index, (request, resolution) in enumerate(zip(requests, resolutions, strict=True)):
        if isinstance(resolution, Unresolvable):
            answers[index] = [FieldError(field=e.field, message=e.message, hint=e.hint) for e in resolution.errors]
            continue
        try:
            chosen.append((index, resolution, _rates(request, resolution, catalog)))
        except UnknownPlaceError as error:
            answers[index] = [FieldError(field=error.field, message=error.message, hint=error.hint)]
    if not chosen:
        return answers
    kept = [requests[index] for index, _, _ in chosen]
    resolved = [resolution for _, resolution, _ in chosen]
    rates = [rate for _, _, rate in chosen]
    if len(resolved) < len(table):
        table = Table.from_rows([resolution.values for resolution in resolved])
    forecast = standpoint.predict(table)
    economics = _economics(kept, resolved, rates, table, forecast, operating_facts())
    neighbours = standpoint.nearest(table, NEIGHBOURS)
    misfits = [row for row in range(len(kept)) if not forecast.fits[row]]
    remedies = find_remedies([flats[chosen[row][0]] for row in misfits], catalog, standpoint.forecaster)
    by_row = dict(zip(misfits, remedies, strict=True))
    quicker = quicker_counts([flats[index] for index, _, _ in chosen], table, forecast, catalog, standpoint)
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
            by_row.get(row, []),
            quicker.get(row),
            standpoint,
        )
    return answers


def quantity(distribution: Distribution, row: int) -> Quantity | None:
    """One row of a distribution as the API writes it; None where it is unknown."""
    if not math.isfinite(float(distribution.p50[row])):
        return None
    return Quantity(
        p10=rounded(distribution.p10[row]), p50=rounded(distribution.p50[row]), p90=rounded(distribution.p90[row])
    )


def rounded(value: float | np.floating[Any]) -> float:
    """The value to seven significant digits: more than any measurement holds, and shorter to read."""
    return float(f"{float(value):.7g}")


def _known(value: float) -> float | None:
    return rounded(value) if math.isfinite(value) else None


def _rates(request: EstimateRequest, resolution: Resolved, catalog: Catalog) -> Rates:
    pricing, location = request.pricing, request.location
    slug, count = str(resolution.values["accelerator"]), float(resolution.values["count"])
    return Rates(
        accelerator_price(pricing, slug, count, catalog),
        grid_intensity(location, pricing, catalog),
        power_usage_effectiveness(location, pricing, catalog),
    )


def _economics(
    requests: Sequence[EstimateRequest],
    resolved: Sequence[Resolved],
    rates: Sequence[Rates],
    table: Table,
    forecast: Forecast,
    facts: OperatingFacts,
) -> Economics:
    samples = np.array([resolution.samples_to_train for resolution in resolved])
    runs = np.array([float(request.runs) for request in requests])
    work = forecast.samples_per_second.inverse().scaled(samples / 3600.0)
    course = goodput(table["count"], work, facts, _overrides(requests))
    duration = course.wall_hours.scaled(runs)
    accelerator_hours = duration.scaled(table["count"])
    watts = np.array([_number(request.location.watts_per_accelerator) for request in requests])
    energy = energy_kwh(
        accelerator_hours,
        table.text("accelerator"),
        table["tdp_w"],
        table["count"] > table["per_node"],
        _column([rate.pue for rate in rates]),
        facts,
        watts,
    )
    return Economics(
        course=course,
        duration_hours=duration,
        accelerator_hours=accelerator_hours,
        cost=cost_usd(accelerator_hours, _column([rate.price for rate in rates])),
        energy=energy,
        carbon=carbon_kg_co2e(energy.total, _column([rate.grid for rate in rates])),
    )


def _column(rates: Sequence[Rate]) -> Distribution:
    return Distribution(*(np.array([getattr(rate, side) for rate in rates]) for side in ("p10", "p50", "p90")))


def _overrides(requests: Sequence[EstimateRequest]) -> GoodputOverrides:
    def column(name: str) -> FloatArray:
        return np.array([_number(getattr(request.goodput, name)) for request in requests], dtype=np.float64)

    return GoodputOverrides(**{name: column(name) for name in GoodputOverrides.__dataclass_fields__})


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
    remedies: list[Remedy],
    quicker: tuple[int, float] | None,
    standpoint: Standpoint,
) -> Estimate:
    throughput = forecast.samples_per_second
    samples = cast(Quantity, quantity(throughput, row))
    length, count = float(table["sequence_length"][row]), float(table["count"][row])
    memory = _memory(row, resolution, forecast)
    trained = math.isfinite(resolution.samples_to_train)
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
        goodput=_course(economics.course, row) if trained else None,
        cost_usd=quantity(economics.cost, row),
        energy_kwh=EnergyAnswer(**energy.model_dump(), parts=_parts(economics.energy.parts, row)) if energy else None,
        carbon_kg_co2e=quantity(economics.carbon, row),
        layout=Layout.model_validate(resolution.layout),
        assumptions=_assumptions(request, resolution, rates, trained=trained),
        warnings=warnings_of(resolution, rates.price, memory, remedies, quicker, trained=trained),
        remedies=remedies,
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


def _course(course: Goodput, row: int) -> GoodputAnswer:
    return GoodputAnswer(
        share=cast(Quantity, quantity(course.share, row)),
        hours={name: rounded(hours[row]) for name, hours in course.parts.items()},
        failures=rounded(course.failures[row]),
        checkpoint_interval_hours=rounded(course.checkpoint_interval_hours[row]),
    )


def _assumptions(request: EstimateRequest, resolution: Resolved, rates: Rates, *, trained: bool) -> list[Assumption]:
    listed = [
        Assumption(field=made.field, value=cast(Any, made.value), reason=made.reason) for made in resolution.assumptions
    ]
    fills = {
        "pricing.usd_per_accelerator_hour": rates.price,
        "location.gco2e_per_kwh": rates.grid,
        "location.pue": rates.pue,
    }
    listed += [
        Assumption(field=path, value=rounded(rate.p50), reason=rate.reason)
        for path, rate in fills.items()
        if trained and not rate.stated and math.isfinite(rate.p50)
    ]
    return listed
