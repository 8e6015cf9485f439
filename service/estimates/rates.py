"""What one accelerator-hour and one kilowatt-hour cost here: prices, grid intensity and PUE for a request.

What the caller states wins. What a region or provider implies comes next. Otherwise the published spread is taken,
so that an unstated place makes the interval wide instead of the answer wrong.
"""

from __future__ import annotations

import datetime
import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from service.catalog.catalog import Catalog, Grid, Price, Pue
from service.catalog.operating_facts import embodied_facts, operating_facts, publications, publications_of
from service.engine.distribution import Distribution, quantiles
from service.engine.economics import node_power_of_tdp
from service.engine.embodied import embodied_kg_per_accelerator
from service.estimates.quantities import rounded
from service.estimates.schemas import Kind, Location, Pricing

# How price lists name a provider -> how PUE reports name its operator.
OPERATORS = {"aws": "AWS", "azure": "Microsoft", "gcp": "Google", "oci": "Oracle"}
# A best site or the newest halls say little about the site a job lands on.
SPECIAL_SITES = ("best", "newest", "Cloud ")
HOURS_PER_YEAR = 8760.0
ALL_REGIONS = ("any", "all")  # as price lists name the region of a price that is the same everywhere


@dataclass(frozen=True)
class Rate:
    """A rate with its 10th, 50th and 90th percentile (NaN: unknown), and where it comes from.

    `stated` is true where the caller gave it, so that it is no assumption.
    """

    p10: float
    p50: float
    p90: float
    reason: str
    stated: bool = False

    @classmethod
    def known(cls, value: float, reason: str, *, stated: bool = False) -> Rate:
        """A rate without spread."""
        return cls(value, value, value, reason, stated)

    @classmethod
    def spread(cls, values: Iterable[float], reason: str) -> Rate:
        """A rate spread as the published `values` are."""
        return cls(*quantiles(list(values)), reason)


@dataclass(frozen=True)
class Rates:
    """What applies to one request: USD per accelerator-hour, W of a node per accelerator, g CO2e per kWh, PUE, and kg
    CO2e of making an accelerator."""

    price: Rate
    power: Rate
    grid: Rate
    pue: Rate
    embodied: Rate

    @classmethod
    def of(cls, pricing: Pricing, location: Location, slug: str, count: float, tdp_w: float, catalog: Catalog) -> Rates:
        """The rates of a request that runs on so many accelerators of a catalog slug, W of TDP each.

        Raises:
            UnknownPlaceError: The catalog has no such provider or region.
        """
        return cls(
            accelerator_price(pricing, slug, count, catalog),
            node_power(location, slug, tdp_w),
            grid_intensity(location, pricing, catalog),
            power_usage_effectiveness(location, pricing, catalog),
            embodied_carbon(location, slug),
        )

    def assumptions(self) -> list[dict[str, object]]:
        """Those that are known and that the caller did not state, as an answer lists them."""
        fills = {
            "pricing.usd_per_accelerator_hour": self.price,
            "location.watts_per_accelerator": self.power,
            "location.gco2e_per_kwh": self.grid,
            "location.pue": self.pue,
            "location.embodied_kg_co2e_per_accelerator": self.embodied,
        }
        return [
            {"field": path, "value": rounded(rate.p50), "reason": rate.reason}
            for path, rate in fills.items()
            if not rate.stated and math.isfinite(rate.p50)
        ]


class RatesOfRuns:
    """The rates of one request after another; many have the same, which are looked up once."""

    def __init__(self, catalog: Catalog) -> None:
        self.different: list[Rates] = []
        self.codes: list[int] = []  # of each request, the position of its rates in `different`
        self._catalog = catalog
        self._known: dict[tuple[object, ...], int] = {}

    def add(self, pricing: Pricing, location: Location, slug: str, count: float, tdp_w: float) -> None:
        """Adds the rates of a request, as `Rates.of`."""
        key = (*vars(pricing).values(), *vars(location).values(), slug, count, tdp_w)
        code = self._known.get(key)
        if code is None:
            self.different.append(Rates.of(pricing, location, slug, count, tdp_w, self._catalog))
            code = self._known[key] = len(self.different) - 1
        self.codes.append(code)

    def of(self, run: int) -> Rates:
        """The rates of one request."""
        return self.different[self.codes[run]]

    def column(self, name: str) -> Distribution:
        """One of the rates as a column for the engine, shape (n,)."""
        return rate_column([getattr(rates, name) for rates in self.different]).take(self.codes)


class UnknownPlaceError(ValueError):
    """A region or provider that the catalog does not know; `field` is its path in the request."""

    def __init__(self, field: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.field, self.message, self.hint = field, message, hint


def accelerator_price(pricing: Pricing, accelerator: str, count: float, catalog: Catalog) -> Rate:
    """USD per accelerator-hour: the caller's, or the spread over providers of the cheapest region of each.

    Raises:
        UnknownPlaceError: The price list has no such provider.
    """
    if pricing.usd_per_accelerator_hour is not None:
        return Rate.known(pricing.usd_per_accelerator_hour, "given", stated=True)
    return _listed_price(
        pricing.provider, pricing.region, pricing.kind, pricing.date, accelerator, max(count, 1.0), catalog
    )


@lru_cache(maxsize=4096)
def _listed_price(
    provider: str | None,
    region: str | None,
    kind: Kind,
    date: datetime.date | None,
    accelerator: str,
    count: float,
    catalog: Catalog,
) -> Rate:
    chosen = current_prices(
        Pricing(provider=provider, region=region, kind=kind, date=date), accelerator, count, catalog
    )
    by_provider: dict[str, list[Price]] = {}
    for price in chosen:
        by_provider.setdefault(price.provider, []).append(price)
    cheapest = [min(prices, key=lambda price: price.usd_per_accelerator_hour) for prices in by_provider.values()]
    if not cheapest:
        return Rate.known(float("nan"), _no_price(provider, region, kind, date, accelerator, catalog))
    where = ", ".join(
        f"{price.provider} {price.region} {price.usd_per_accelerator_hour:.2f}".replace("  ", " ")
        + (f" ({price.date})" if price.date else "")
        for price in cheapest
    )
    mixed = f"spread over {len(cheapest)} providers, none being given: " if len(cheapest) > 1 else ""
    return Rate.spread(
        (price.usd_per_accelerator_hour for price in cheapest),
        f"catalog {kind.replace('_', '-')} price: {mixed}{where}",
    )


def _no_price(
    provider: str | None,
    region: str | None,
    kind: Kind,
    date: datetime.date | None,
    accelerator: str,
    catalog: Catalog,
) -> str:
    """That there is no such price, and which there are of the chip."""
    asked = "".join(
        f" {word} {value}" for word, value in (("of", provider), ("in", region), ("by", date)) if value is not None
    )
    known: dict[str, set[str]] = {}
    for price in catalog.prices:
        if price.accelerator == accelerator:
            known.setdefault(price.kind.replace("_", "-"), set()).add(price.provider)
    others = "; ".join(f"{of_kind} of {', '.join(sorted(whose))}" for of_kind, whose in sorted(known.items()))
    there_are = f" (there are: {others})" if others else ""
    return f"no {kind.replace('_', '-')} price of {accelerator}{asked} is known{there_are}"


def embodied_carbon(location: Location, accelerator: str) -> Rate:
    """kg CO2e of making one accelerator with its share of the host."""
    if location.embodied_kg_co2e_per_accelerator is not None:
        return Rate.known(location.embodied_kg_co2e_per_accelerator, "given", stated=True)
    return _assessed_carbon(accelerator)


@lru_cache
def _assessed_carbon(accelerator: str) -> Rate:
    facts = embodied_facts()
    kg = embodied_kg_per_accelerator([accelerator], facts)
    of_whom = "it was assessed" if accelerator in facts.kg_by_chip else "other chips were assessed"
    years = facts.lifetime_hours / HOURS_PER_YEAR
    return Rate(
        float(kg.p10[0]),
        float(kg.p50[0]),
        float(kg.p90[0]),
        f"as {of_whom}, host included, shared out over {years:.0f} years ({', '.join(publications_of(facts.sources))})",
    )


def current_prices(pricing: Pricing, accelerator: str, count: float, catalog: Catalog) -> list[Price]:
    """The price of a chip in every region of every provider that `pricing` leaves open.

    Per provider and region the newest on or before `pricing.date` (one without a date is of none), of the largest
    instance that `count` accelerators fill. A provider's one price for all of its regions is that of any of them.

    Raises:
        UnknownPlaceError: The price list has no such provider, or neither it nor the grids have such a region.
    """
    provider, region, date = pricing.provider, pricing.region, pricing.date
    if provider and all(price.provider != provider for price in catalog.prices):
        known = ", ".join(sorted({price.provider for price in catalog.prices}))
        raise UnknownPlaceError("pricing.provider", f"no prices of provider {provider!r} are known", f"One of {known}.")
    if region and catalog.grid(region, provider) is None:
        regions = sorted(
            {price.region for price in catalog.prices if price.region and provider in (None, price.provider)}
        )
        if region not in regions:
            near = difflib.get_close_matches(region, regions, n=3, cutoff=0.4) or regions
            message = f"no prices and no grid of region {region!r} are known"
            raise UnknownPlaceError("pricing.region", message, f"One of {', '.join(near)}, or leave it out.")
    offers: dict[tuple[str, str], list[Price]] = {}
    for price in catalog.prices:
        if (
            price.accelerator == accelerator
            and price.kind == pricing.kind
            and provider in (None, price.provider)
            and (region in (None, price.region) or (provider and price.region in ALL_REGIONS))
            and (date is None or "" < price.date <= date.isoformat())
        ):
            offers.setdefault((price.provider, price.region), []).append(price)
    return [_offer(prices, count) for prices in offers.values()]


def rate_column(rates: Sequence[Rate]) -> Distribution:
    """Rates as a column for the engine, shape (n,)."""
    return Distribution(*np.array([(rate.p10, rate.p50, rate.p90) for rate in rates]).T)


def node_power(location: Location, accelerator: str, tdp_w: float) -> Rate:
    """Watts of a node at load over its accelerators: host, fans and power supply included, the network not."""
    if location.watts_per_accelerator is not None:
        return Rate.known(location.watts_per_accelerator, "given", stated=True)
    return _metered_power(accelerator, tdp_w)


@lru_cache
def _metered_power(accelerator: str, tdp_w: float) -> Rate:
    facts = operating_facts()
    share = node_power_of_tdp([accelerator], facts)
    watts = share.scaled(tdp_w)
    metered = f"node_power.{accelerator}"
    of_whom = "its nodes" if metered in facts.sources else "other chips' nodes"
    sources = publications(facts, metered if metered in facts.sources else "node_power")
    return Rate(
        float(watts.p10[0]),
        float(watts.p50[0]),
        float(watts.p90[0]),
        f"{share.p50[0]:.2f} x TDP of {tdp_w:g} W, metered of {of_whom} under training load ({', '.join(sources)}); "
        f"the network between nodes adds {facts.network_power[1]:.2f} x TDP",
    )


def grid_intensity(location: Location, pricing: Pricing, catalog: Catalog) -> Rate:
    """Grams of CO2-equivalent per kWh.

    Raises:
        UnknownPlaceError: The catalog has no grid for `location.region`.
    """
    if location.gco2e_per_kwh is not None:
        return Rate.known(location.gco2e_per_kwh, "given", stated=True)
    if location.region is not None:
        grid = catalog.grid(location.region, pricing.provider)
        if grid is None:
            near = ", ".join(catalog.suggest("grids", location.region)) or "see /v1/grids"
            raise UnknownPlaceError(
                "location.region", f"no grid of region {location.region!r} is known", f"Perhaps {near}."
            )
        return Rate.known(grid.gco2e_per_kwh, _grid_reason(grid))
    if pricing.region is not None:
        grid = catalog.grid(pricing.region, pricing.provider)
        if grid is not None:
            return Rate.known(grid.gco2e_per_kwh, f"where the price is from: {_grid_reason(grid)}")
    return _any_grid(catalog)


@lru_cache
def _any_grid(catalog: Catalog) -> Rate:
    world = catalog.grids["WORLD"]
    countries = [grid.gco2e_per_kwh for grid in catalog.grids.values() if grid.kind == "country"]
    low, _, high = quantiles(countries)
    return Rate(
        min(low, world.gco2e_per_kwh),
        world.gco2e_per_kwh,
        max(high, world.gco2e_per_kwh),
        f"no region given: world average, spread over {len(countries)} countries ({world.source})",
    )


def power_usage_effectiveness(location: Location, pricing: Pricing, catalog: Catalog) -> Rate:
    """Facility energy over machine energy: the caller's, the region's, the provider's, or spread over operators."""
    if location.pue is not None:
        return Rate.known(location.pue, "given", stated=True)
    provider, _, region = (location.region or "").rpartition(":")
    provider, region = provider or pricing.provider or "", region or pricing.region or ""
    operator = OPERATORS.get(provider, provider)
    named = [
        pue for pue in catalog.pue if region and pue.provider.startswith(f"{operator} ") and region in pue.provider
    ]
    usual = _usual_pue(catalog)
    if named:
        return Rate.known(named[-1].pue, f"{named[-1].provider} ({named[-1].source})")
    if operator in usual:
        found = usual[operator]
        return Rate.known(found.pue, f"{found.provider} ({found.source})")
    return _any_pue(catalog)


@lru_cache
def _any_pue(catalog: Catalog) -> Rate:
    usual = _usual_pue(catalog)
    return Rate.spread((pue.pue for pue in usual.values()), f"no operator given: spread over {', '.join(usual)}")


def _offer(prices: list[Price], count: float) -> Price:
    """Of one provider's price list in one region: newest, largest that is filled, cheapest."""
    newest: dict[str, Price] = {}
    for price in prices:
        if price.instance not in newest or price.date > newest[price.instance].date:
            newest[price.instance] = price
    current = list(newest.values())
    filled = [price for price in current if price.accelerators <= count] or current
    largest = max(price.accelerators for price in filled)
    return min(
        (price for price in filled if price.accelerators == largest),
        key=lambda price: price.usd_per_accelerator_hour,
    )


def _grid_reason(grid: Grid) -> str:
    year = f" {grid.year:.0f}" if grid.year == grid.year else ""
    return f"{grid.region_name}{year} ({grid.source})"


@lru_cache
def _usual_pue(catalog: Catalog) -> dict[str, Pue]:
    """The latest fleet-wide figure by operator."""
    usual: dict[str, Pue] = {}
    for pue in catalog.pue:
        if any(word in pue.provider for word in SPECIAL_SITES):
            continue
        operator = pue.provider.split(" ")[0]
        if operator not in usual or not usual[operator].year >= pue.year:
            usual[operator] = pue
    return usual
