"""The reference tables over HTTP: found by any name, paged to the end, with their sources."""

from typing import Any

import httpx
import pytest


def get(client: httpx.Client, path: str, **parameters: Any) -> dict[str, Any]:
    answer = client.get(f"/v1/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize(
    ("kind", "key", "least"),
    [
        ("accelerators", "slug", 150),
        ("models", "name", 2000),
        ("datasets", "name", 90),
        ("interconnects", "name", 50),
        ("prices", "name", 250),
        ("grids", "region", 300),
    ],
)
def test_each_list_pages_to_its_end_and_each_entry_has_its_own_address(
    client: httpx.Client, kind: str, key: str, least: int
) -> None:
    names: list[str] = []
    parameters: dict[str, Any] = {"limit": 500}
    while True:
        page = get(client, kind, **parameters)
        names += [item[key] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        parameters["cursor"] = page["next_cursor"]
    assert len(names) == len(set(names)) >= least
    for name in names[:: len(names) // 7]:
        assert get(client, f"{kind}/{name}")[key] == name


@pytest.mark.parametrize("kind", ["accelerators", "models", "datasets", "interconnects", "prices", "grids"])
def test_an_unknown_name_is_404_and_a_foreign_cursor_422(client: httpx.Client, kind: str) -> None:
    missing = client.get(f"/v1/{kind}/no-such-thing-at-all")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"
    foreign = client.get(f"/v1/{kind}", params={"cursor": "bm9uc2Vuc2U"})
    assert foreign.status_code == 422
    assert foreign.json()["errors"][0]["field"] == "cursor"


def test_an_accelerator_resolves_by_what_its_driver_calls_it(client: httpx.Client) -> None:
    chip = get(client, "accelerators/NVIDIA H100 80GB HBM3")
    assert chip["slug"] == "H100-SXM5-80GB"
    assert chip["source"]
    assert chip["fp4_tflops"] is None
    assert all(figure["measured_tflops"] > 0 for figure in chip["achievable_matmul"])


def test_a_near_miss_is_helped(client: httpx.Client) -> None:
    assert "H100" in client.get("/v1/accelerators/H1000").json()["detail"]


def test_models_are_found_by_words_and_by_published_name(client: httpx.Client) -> None:
    found = [item["name"] for item in get(client, "models", q="llama 3 8b", family="decoder")["items"]]
    assert found[0] == "llama-3-8b"
    assert get(client, "models/meta-llama/Meta-Llama-3-8B")["name"] == "llama-3-8b"
    assert {item["family"] for item in get(client, "models", family="rnn")["items"]} == {"rnn"}


def test_filters_narrow(client: httpx.Client) -> None:
    prices = get(client, "prices", accelerator="NVIDIA A100-SXM4-80GB", provider="aws", kind="on_demand")["items"]
    assert prices
    assert {(price["accelerator"], price["provider"]) for price in prices} == {("A100-SXM4-80GB", "aws")}
    assert {chip["vendor"] for chip in get(client, "accelerators", vendor="amd")["items"]} == {"amd"}
    assert {link["kind"] for link in get(client, "interconnects", kind="inter")["items"]} == {"inter"}
    assert {grid["kind"] for grid in get(client, "grids", kind="us_state")["items"]} == {"us_state"}


def test_a_grid_has_its_history_and_its_cloud_regions(client: httpx.Client) -> None:
    sweden = get(client, "grids/SWE")
    assert sweden["gco2e_per_kwh"] < 60
    assert sweden["history"][0]["region"] == "SWE"
    assert any("aws:eu-west-1" in grid["cloud_regions"] for grid in get(client, "grids", q="ireland")["items"])
