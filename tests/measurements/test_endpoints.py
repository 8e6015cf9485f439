"""Measurements over HTTP: found by any field, one with its residual, exported and read back."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.codec import read_rows
from service.settings import Settings
from tests.conftest import serving


def get(client: httpx.Client, path: str, **parameters: Any) -> dict[str, Any]:
    answer = client.get(f"/v1/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_measurements_are_paged_without_gaps_or_repeats(client: httpx.Client) -> None:
    wanted = {"provenance.source": "megatron-sc21-paper"}
    whole = get(client, "measurements", limit=1000, **wanted)
    assert whole["next_cursor"] is None
    paged: list[str] = []
    parameters: dict[str, Any] = {"limit": 7, **wanted}
    while True:
        page = get(client, "measurements", **parameters)
        paged += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        parameters["cursor"] = page["next_cursor"]
    assert paged == [item["id"] for item in whole["items"]]
    assert len(set(paged)) == len(paged) > 7


def test_sources_are_told_to_more_callers_than_the_pool_has_connections(seeded_database: str) -> None:
    app = create_app(Settings(database_url=seeded_database, database_pool=2))
    with serving(app) as url, httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(12) as callers:
        answers = list(callers.map(lambda _: client.get("/v1/sources", params={"limit": 1}).status_code, range(36)))
    assert answers == [200] * 36


@pytest.mark.parametrize(
    ("parameters", "holds"),
    [
        ({"model.family": "rnn"}, lambda item: item["model"]["family"] == "rnn"),
        ({"model.family": ["rnn", "moe"]}, lambda item: item["model"]["family"] in ("rnn", "moe")),
        ({"hardware.count.at_least": 512}, lambda item: item["hardware"]["count"] >= 512),
        ({"hardware.count.at_most": 1}, lambda item: item["hardware"]["count"] <= 1),
        ({"model.name.contains": "bert"}, lambda item: "bert" in item["model"]["name"].lower()),
        ({"training.tensor_parallel": 8}, lambda item: item["training"]["tensor_parallel"] == 8),
        ({"training.precision": "bfloat16"}, lambda item: item["training"]["precision"] == "bf16"),
        ({"software.compile": "true"}, lambda item: item["software"]["compile"] is True),
        ({"source": "gavel-osdi20"}, lambda item: item["provenance"]["source"] == "gavel-osdi20"),
        (
            {"hardware.accelerator": "NVIDIA A100-SXM4-80GB"},
            lambda item: item["hardware"]["accelerator"] == "A100-SXM4-80GB",
        ),
        ({"status": "accepted"}, lambda item: item["status"] == "accepted"),
        ({"result.unit": "mfu"}, lambda item: item["result"]["unit"] == "mfu"),
    ],
)
def test_every_field_filters(client: httpx.Client, parameters: dict[str, Any], holds: Any) -> None:
    items = get(client, "measurements", limit=50, **parameters)["items"]
    assert items
    assert all(holds(item) for item in items)


@pytest.mark.parametrize("path", ["measurements", "measurements/export"])
def test_a_model_is_found_by_any_name_that_the_catalog_has_for_it(client: httpx.Client, path: str) -> None:
    found = []
    for name in ("resnet-50", "ResNet50 v1.5", "resnet 50"):
        wanted = {"model.name": name, "hardware.count.at_least": 64, "limit": 1000, "format": "ndjson"}
        answer = client.get(f"/v1/{path}", params=wanted)
        assert answer.status_code == 200, answer.text
        items = answer.json()["items"] if path == "measurements" else [json.loads(row) for row in answer.iter_lines()]
        found.append(items)
    assert found[0] == found[1] == found[2]
    assert len({item["model"]["name"] for item in found[0]}) > 3
    assert {item["model"]["family"] for item in found[0]} == {"cnn"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("model.famly", "rnn"), ("model.family", "fish"), ("status", "lost"), ("model.name.at_least", "a")],
)
def test_a_filter_that_means_nothing_is_refused(client: httpx.Client, name: str, value: str) -> None:
    answer = client.get("/v1/measurements", params={name: value})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == name


def test_one_measurement_shows_where_it_is_from_and_how_well_it_is_predicted(client: httpx.Client) -> None:
    item = get(client, "measurements", limit=1, source="megatron-sc21-paper")["items"][0]
    detail = get(client, f"measurements/{item['id']}")
    assert detail["model"] == item["model"]
    assert detail["source"]["name"] == "megatron-sc21-paper"
    assert detail["source"]["licence"] is not None or detail["source"]["reference"]
    residual = detail["residual"]
    assert residual["unit"] == detail["result"]["unit"]
    assert residual["measured"] == detail["result"]["value"]
    assert residual["predicted"]["p10"] < residual["predicted"]["p50"] < residual["predicted"]["p90"]
    inside = residual["predicted"]["p10"] <= residual["measured"] <= residual["predicted"]["p90"]
    assert residual["within_interval"] == inside
    assert 0.1 < residual["time_ratio"] < 10


def test_an_unknown_measurement_is_404(client: httpx.Client) -> None:
    assert client.get("/v1/measurements/m_0").status_code == 404


def test_sources_say_what_they_are_and_how_many_rows_they_have(client: httpx.Client) -> None:
    page = get(client, "sources", limit=1000)
    assert page["next_cursor"] is None
    sources = {source["name"]: source for source in page["items"]}
    assert len(sources) > 60
    assert sources["sia-sosp23"]["rows"] > 1000
    assert all(source["title"] and source["lineage"] for source in sources.values())
    assert any(source["residual"] is not None for source in sources.values())


@pytest.mark.parametrize(("form", "content"), [("csv", "text/csv"), ("ndjson", "application/x-ndjson")])
def test_an_export_reads_back_as_what_is_listed(client: httpx.Client, form: str, content: str) -> None:
    wanted = {"source": "gavel-osdi20"}
    answer = client.get("/v1/measurements/export", params={"format": form, **wanted})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(content)
    rows = list(read_rows(io.StringIO(answer.text, newline=""), content=content))
    assert all(row.error is None for row in rows)
    listed = get(client, "measurements", limit=1000, **wanted)["items"]
    assert len(rows) >= len(listed) > 0
    for row, item in zip(rows, listed, strict=False):
        assert row.values is not None
        assert row.values["hardware.accelerator"] == item["hardware"]["accelerator"]
        assert row.values["result.value"] == item["result"]["value"]


def test_the_whole_export_holds_every_accepted_measurement(client: httpx.Client) -> None:
    answer = client.get("/v1/measurements/export", params={"format": "ndjson"})
    lines = answer.text.splitlines()
    assert len(lines) > 20_000
    assert json.loads(lines[0])["provenance"]["source"]
