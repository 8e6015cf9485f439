"""What an hour and a kilowatt-hour cost: what the caller states wins, then what a place implies, then the spread."""

import datetime
import math

import pytest

from service.catalog.catalog import load_catalog
from service.estimates.rates import (
    Rate,
    UnknownPlaceError,
    accelerator_price,
    grid_intensity,
    power_usage_effectiveness,
)
from service.estimates.schemas import Location, Pricing

CATALOG = load_catalog()
A100 = "A100-SXM4-80GB"


def price(accelerator: str = A100, count: float = 8, **pricing: object) -> Rate:
    return accelerator_price(Pricing.model_validate(pricing), accelerator, count, CATALOG)


def test_the_callers_own_price_wins_and_is_no_assumption() -> None:
    own = price(usd_per_accelerator_hour=1.5, provider="aws")
    assert (own.p10, own.p50, own.p90, own.stated) == (1.5, 1.5, 1.5, True)


def test_a_providers_newest_price_is_taken() -> None:
    newest = price(provider="aws", region="us-east-1")
    then = price(provider="aws", region="us-east-1", date=datetime.date(2024, 1, 1))
    assert newest.p50 == pytest.approx(3.43088)
    assert then.p50 == pytest.approx(5.12072)
    assert "2026-07-20" in newest.reason


def test_without_a_provider_prices_spread_over_providers() -> None:
    anywhere = price()
    assert anywhere.p10 < anywhere.p50 < anywhere.p90
    assert "aws" in anywhere.reason
    assert "gcp" in anywhere.reason


def test_spot_is_cheaper_than_on_demand() -> None:
    assert price(provider="gcp", kind="spot").p50 < price(provider="gcp", kind="on_demand").p50


def test_a_chip_that_nobody_rents_out_has_no_price() -> None:
    nothing = price("K40")
    assert math.isnan(nothing.p50)
    assert "K40" in nothing.reason


def test_an_unknown_provider_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownPlaceError) as refused:
        price(provider="acme")
    assert refused.value.field == "pricing.provider"
    assert "aws" in refused.value.hint


def test_an_unknown_region_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownPlaceError) as refused:
        price(provider="gcp", region="us-central")
    assert refused.value.field == "pricing.region"
    assert "us-central1" in refused.value.hint


def test_a_price_that_is_not_known_is_answered_with_those_that_are() -> None:
    for asked in ({"kind": "reserved"}, {"provider": "lambda", "kind": "spot"}, {"date": datetime.date(1999, 1, 1)}):
        nothing = price("H100-SXM5-80GB", **asked)
        assert math.isnan(nothing.p50)
        assert "on-demand of aws, azure" in nothing.reason


def test_one_price_for_all_regions_is_that_of_each() -> None:
    anywhere, phoenix = price(provider="oci"), price(provider="oci", region="us-phoenix-1")
    assert phoenix.p50 == anywhere.p50 > 0


def test_more_chips_than_an_instance_holds_rent_the_largest() -> None:
    single, many = price("L4", 1, provider="aws"), price("L4", 64, provider="aws")
    assert single.p50 != many.p50


def test_grid_of_a_country_a_cloud_region_or_the_price() -> None:
    sweden = grid_intensity(Location(region="SWE"), Pricing(), CATALOG)
    assert sweden.p10 == sweden.p90 == pytest.approx(40.7)
    cloud = grid_intensity(Location(region="gcp:us-west1"), Pricing(), CATALOG)
    assert cloud.p50 == pytest.approx(94.0)
    priced = grid_intensity(Location(), Pricing(provider="gcp", region="us-west1"), CATALOG)
    assert priced.p50 == cloud.p50
    own = grid_intensity(Location(gco2e_per_kwh=12, region="SWE"), Pricing(), CATALOG)
    assert own.p50 == 12
    assert own.stated


def test_an_unknown_place_is_refused_and_none_is_the_world() -> None:
    with pytest.raises(UnknownPlaceError) as refused:
        grid_intensity(Location(region="Swedeen"), Pricing(), CATALOG)
    assert "SWE" in refused.value.hint
    world = grid_intensity(Location(), Pricing(), CATALOG)
    assert world.p10 < world.p50 == CATALOG.grids["WORLD"].gco2e_per_kwh < world.p90


def test_pue_of_a_region_a_provider_or_anybody() -> None:
    assert power_usage_effectiveness(Location(pue=1.3), Pricing(), CATALOG).p50 == 1.3
    assert power_usage_effectiveness(Location(region="gcp:europe-west4"), Pricing(), CATALOG).p50 == 1.09
    assert power_usage_effectiveness(Location(), Pricing(provider="azure"), CATALOG).p50 == 1.18
    anybody = power_usage_effectiveness(Location(), Pricing(), CATALOG)
    assert 1.0 < anybody.p10 < anybody.p50 < anybody.p90
