"""One run at every known price of its chips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.catalog.catalog import Catalog, Price
from service.catalog.operating_facts import operating_facts
from service.engine.distribution import Distribution, exactly
from service.engine.economics import carbon_kg_co2e, cost_usd, energy_kwh
from service.engine.table import Table
from service.estimates.quantities import quantity
from service.estimates.rates import (
    Rate,
    UnknownPlaceError,
    current_prices,
    grid_intensity,
    power_usage_effectiveness,
    rate_column,
)
from service.estimates.schemas import Estimate, Pricing, Quantity
from service.estimates.service import compute_many
from service.offers.schemas import Kind, Offer, OfferGrid, OfferPue, OfferRequest, Offers
from service.problems import FieldError
from service.sites.standpoint import Standpoint

KINDS: tuple[Kind, ...] = ("on_demand", "spot", "reserved")


@dataclass(frozen=True)
class Place:
    """Where a run could be: a price, and what its electricity is."""

    price: Price | None  # None: the caller's own
    usd_per_accelerator_hour: float
    kind: Kind
    grid: Rate
    pue: Rate


def offers(asked: OfferRequest, catalog: Catalog, standpoint: Standpoint) -> Offers | list[FieldError]:
    """The offers for a run, best first, or the fields that keep it from having any."""
    if asked.location.region is not None:
        hint = "leave it out, or narrow the offers by pricing.provider and pricing.region"
        return [FieldError(field="location.region", message="where it runs is what the offers differ in", hint=hint)]
    computed = compute_many([asked], catalog, standpoint, with_remedies=False)
    (estimate,) = computed.estimates()
    if not isinstance(estimate, Estimate):
        return estimate
    if estimate.duration_hours is None or estimate.accelerator_hours is None:
        hint = "give data.tokens, data.samples or a known data.name"
        return [FieldError(field="data", message="offers are of a whole run: how much is trained on?", hint=hint)]
    accelerator = str(computed.runs.table.text("accelerator")[0])
    try:
        places = _places(asked, accelerator, float(computed.runs.table["count"][0]), catalog)
    except UnknownPlaceError as error:
        return [FieldError(field=error.field, message=error.message, hint=error.hint)]
    return Offers(
        accelerator=accelerator,
        duration_hours=estimate.duration_hours,
        accelerator_hours=estimate.accelerator_hours,
        order=asked.order,
        offers=_ranked(_reckoned(asked, places, estimate.accelerator_hours, computed.runs.table), asked.order),
        warnings=[*estimate.warnings, *_warnings(places, accelerator)],
    )


def _places(asked: OfferRequest, accelerator: str, count: float, catalog: Catalog) -> list[Place]:
    pricing, location = asked.pricing, asked.location
    kinds = [kind for kind in KINDS if "kind" not in pricing.model_fields_set or kind == pricing.kind]
    found: list[Place] = []
    for kind in kinds:
        wanted = pricing.model_copy(update={"kind": kind})
        for price in current_prices(wanted, accelerator, count, catalog):
            there = Pricing(provider=price.provider, region=price.region or None)
            found.append(
                Place(
                    price,
                    price.usd_per_accelerator_hour,
                    kind,
                    grid_intensity(location, there, catalog),
                    power_usage_effectiveness(location, there, catalog),
                )
            )
    if pricing.usd_per_accelerator_hour is not None:
        grid = grid_intensity(location, pricing, catalog)
        pue = power_usage_effectiveness(location, pricing, catalog)
        found.append(Place(None, pricing.usd_per_accelerator_hour, "own", grid, pue))
    return found


def _reckoned(asked: OfferRequest, places: Sequence[Place], hours: Quantity, table: Table) -> list[Offer]:
    """Money, energy and carbon of every place; the hours are the same in all."""
    if not places:
        return []
    accelerator_hours = Distribution(*(np.full(len(places), side) for side in (hours.p10, hours.p50, hours.p90)))
    run = table.take(np.zeros(len(places), dtype=np.int64))
    watts = asked.location.watts_per_accelerator
    pue, grid = rate_column([place.pue for place in places]), rate_column([place.grid for place in places])
    energy = energy_kwh(
        accelerator_hours,
        run.text("accelerator"),
        run["tdp_w"],
        run["count"] > run["per_node"],
        pue,
        operating_facts(),
        math.nan if watts is None else watts,
    ).total
    carbon = carbon_kg_co2e(energy, grid)
    cost = cost_usd(accelerator_hours, exactly([place.usd_per_accelerator_hour for place in places]))
    return [
        Offer(
            provider=place.price.provider if place.price else None,
            region=(place.price.region or None) if place.price else None,
            kind=place.kind,
            instance=place.price.instance if place.price else None,
            usd_per_accelerator_hour=place.usd_per_accelerator_hour,
            date=(place.price.date or None) if place.price else None,
            source=place.price.source if place.price else None,
            cost_usd=_certain(cost, row),
            energy_kwh=quantity(energy, row),
            carbon_kg_co2e=quantity(carbon, row),
            grid=OfferGrid(gco2e_per_kwh=_certain(grid, row), basis=place.grid.reason),
            facility=OfferPue(pue=_certain(pue, row), basis=place.pue.reason),
        )
        for row, place in enumerate(places)
    ]


def _certain(distribution: Distribution, row: int) -> Quantity:
    """A quantity that is known wherever there is a price."""
    known = quantity(distribution, row)
    assert known is not None
    return known


def _ranked(found: list[Offer], order: str) -> list[Offer]:
    def rank(offer: Offer) -> tuple[float, float]:
        carbon = offer.carbon_kg_co2e.p50 if offer.carbon_kg_co2e else math.inf
        return (offer.cost_usd.p50, carbon) if order == "cost" else (carbon, offer.cost_usd.p50)

    return sorted(found, key=rank)


def _warnings(places: Sequence[Place], accelerator: str) -> list[str]:
    if not places:
        return [f"No price of {accelerator} is known here: give pricing.usd_per_accelerator_hour."]
    warnings = []
    dates = [place.price.date for place in places if place.price and place.price.date]
    if dates and min(dates)[:4] != max(dates)[:4]:
        warnings.append(f"Prices are from {min(dates)} to {max(dates)}: the older ones may no longer hold.")
    if any(place.kind == "spot" for place in places):
        warnings.append("Spot machines are taken back at will: what that interrupts is not in the duration.")
    return warnings
