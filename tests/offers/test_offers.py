"""One run at every known price of its chips."""

from typing import Any

import httpx
import pytest

LLAMA: dict[str, Any] = {
    "model": {"name": "llama-3-8b"},
    "data": {"tokens": 100e9},
    "hardware": {"accelerator": "H100-SXM5-80GB", "count": 64},
}


def offers(client: httpx.Client, **request: Any) -> dict[str, Any]:
    answer = client.post("/v1/offers", json={**LLAMA, **request})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize(("order", "field"), [("cost", "cost_usd"), ("carbon", "carbon_kg_co2e")])
def test_the_best_comes_first_and_each_says_where_its_figures_are_from(
    client: httpx.Client, order: str, field: str
) -> None:
    found = offers(client, order=order)["offers"]
    ranked = [offer[field]["p50"] for offer in found]
    assert len(ranked) > 5
    assert ranked == sorted(ranked)
    assert len({(offer["provider"], offer["region"], offer["kind"]) for offer in found}) == len(found)
    for offer in found:
        assert offer["source"]
        assert offer["grid"]["basis"]
        assert offer["facility"]["basis"]


def test_an_offer_costs_what_the_estimate_there_says(client: httpx.Client) -> None:
    asked = {"provider": "gcp", "region": "us-east4", "kind": "spot"}
    answer = offers(client, pricing=asked, runs=3)
    (offer,) = answer["offers"]
    estimate = client.post("/v1/estimates", json={**LLAMA, "pricing": asked, "runs": 3}).json()
    assert answer["duration_hours"] == estimate["duration_hours"]
    for field in ("cost_usd", "energy_kwh", "carbon_kg_co2e"):
        for side in ("p10", "p50", "p90"):
            assert offer[field][side] == pytest.approx(estimate[field][side], rel=1e-5)


def test_the_callers_own_price_and_figures_are_heeded(client: httpx.Client) -> None:
    found = offers(
        client,
        pricing={"usd_per_accelerator_hour": 0.01},
        location={"gco2e_per_kwh": 100, "pue": 1.0, "watts_per_accelerator": 1000},
    )["offers"]
    assert (found[0]["kind"], found[0]["provider"]) == ("own", None)
    assert len({offer["carbon_kg_co2e"]["p50"] for offer in found}) == 1
    assert found[0]["grid"]["gco2e_per_kwh"]["p50"] == 100


def test_a_chip_without_a_price_has_no_offers_and_says_what_would_help(client: httpx.Client) -> None:
    answer = offers(client, hardware={"accelerator": "TPU7x", "count": 8})
    assert answer["offers"] == []
    assert any("usd_per_accelerator_hour" in warning for warning in answer["warnings"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"data": {}}, "data", id="no amount of data"),
        pytest.param({"location": {"region": "SWE"}}, "location.region", id="a region of its own"),
        pytest.param({"pricing": {"provider": "acme"}}, "pricing.provider", id="unknown provider"),
        pytest.param({"hardware": {"accelerator": "H1000"}}, "hardware.accelerator", id="unknown chip"),
        pytest.param({"order": "luck"}, "order", id="unknown order"),
    ],
)
def test_what_has_no_offers_names_the_field(client: httpx.Client, change: dict[str, Any], field: str) -> None:
    answer = client.post("/v1/offers", json={**LLAMA, **change})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == field
