"""What offers are asked with and answered with."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from service.estimates.schemas import EstimateRequest, Quantity

Kind = Literal["on_demand", "spot", "reserved", "own"]


class OfferRequest(EstimateRequest):
    """A run as for an estimate; what `pricing` states narrows the offers, its own price is one more."""

    order: Literal["cost", "carbon"] = Field("cost", description="What comes first: the cheapest, or the least carbon.")


class OfferGrid(BaseModel):
    """The electricity where an offer's machines stand."""

    gco2e_per_kwh: Quantity = Field(description="Grams of CO2-equivalent per kWh.")
    basis: str = Field(
        description="Which grid, of which year, from which source.",
        examples=["where the price is from: United States of America New York 2019 …"],
    )


class OfferPue(BaseModel):
    """What cooling and power delivery add where an offer's machines stand."""

    pue: Quantity = Field(description="Power usage effectiveness: facility energy over machine energy.")
    basis: str = Field(
        description="Whose figure it is.",
        examples=["no operator given: spread over AWS, Google, Meta, Microsoft, Oracle, …"],
    )


class Offer(BaseModel):
    """The run at one provider's price in one region."""

    provider: str | None = Field(description="Provider; null for the caller's own price.", examples=["paperspace"])
    region: str | None = Field(
        description="The provider's region; null where the price list names none.", examples=["East Coast (NY2)"]
    )
    kind: Kind = Field(description="How it is rented; `own` is the caller's own price.")
    instance: str | None = Field(description="Machine that the price is of.", examples=["H100x8"])
    usd_per_accelerator_hour: float = Field(description="USD per accelerator and hour.", examples=[5.95])
    date: str | None = Field(description="Day of the price list; null where it is not dated.", examples=["2026-08-03"])
    source: str | None = Field(
        description="Where the price is from.",
        examples=["github:skypilot-org/skypilot-catalog:catalogs/v6/paperspace/"],
    )
    cost_usd: Quantity = Field(description="Rent of all runs, USD.")
    energy_kwh: Quantity | None = Field(description="Energy at the facility's meter, kWh; null without a chip power.")
    carbon_kg_co2e: Quantity | None = Field(description="Emissions of that energy, kg CO2-equivalent.")
    grid: OfferGrid = Field(description="The electricity that emits them.")
    facility: OfferPue = Field(description="The facility's overhead.")


class Offers(BaseModel):
    """A run wherever its chips are priced, best first."""

    accelerator: str = Field(description="The chip, by catalog slug.", examples=["H100-SXM5-80GB"])
    duration_hours: Quantity = Field(description="Wall-clock hours of all runs, the same everywhere.")
    accelerator_hours: Quantity = Field(description="Duration x accelerators.")
    order: Literal["cost", "carbon"] = Field(description="What the offers are ordered by.")
    offers: list[Offer] = Field(description="The offers, best first; those whose order is unknown come last.")
    warnings: list[str] = Field(
        description="What makes the comparison doubtful.",
        examples=[["Spot machines are taken back at will: what that interrupts is not in the duration."]],
    )
