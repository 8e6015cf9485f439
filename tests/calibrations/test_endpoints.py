"""The calibration in use says what it is, what it learned, and how accurate it is."""

import httpx

from service.estimates.schemas import GoodputAssumptions


def test_the_current_calibration_is_described(client: httpx.Client) -> None:
    body = client.get("/v1/calibrations/current").json()
    assert body["version"]
    assert len(body["fingerprint"]) == 64
    assert body["measurements"] > 10_000
    assert body["activated_at"]
    names = [coefficient["name"] for coefficient in body["coefficients"]]
    assert "compute_efficiency" in names
    for coefficient in body["coefficients"]:
        assert coefficient["unit"]
        assert coefficient["source"]
        assert coefficient["standard_deviation"] >= 0
    assert all(spread["standard_deviation"] >= 0 for spread in body["spreads"])
    assert body["accuracy"]["by_source"]
    assert body["accuracy"]["by_family"]


def test_its_accuracy_is_told_cold_and_warm_by_every_name(client: httpx.Client) -> None:
    accuracy = client.get("/v1/calibrations/current").json()["accuracy"]
    assert "lineage" in accuracy["protocol"]
    assert set(accuracy["overall"]) == set(accuracy["warm"]["overall"]) == {"transformer", "other"}
    for part in (accuracy, accuracy["warm"]):
        for name in ("by_family", "by_grade", "by_source"):
            assert part[name], name
        for points in part["reliability"].values():
            assert [point["nominal"] for point in points] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
            assert all(0.0 <= point["observed"] <= 1.0 for point in points)
    assert all(entry["rows"] >= 20 for entry in accuracy["by_accelerator"].values())
    assert all(entry["class"] in ("transformer", "other") for entry in accuracy["by_source"].values())
    for name, entry in accuracy["warm"]["by_source"].items():
        assert entry["repeat_scatter"] == accuracy["repeat_scatter"].get(name, {}).get("mape"), name
        assert entry["goal"] >= 0.07


def test_every_constant_of_whole_runs_is_published_with_its_sources(client: httpx.Client) -> None:
    factors = client.get("/v1/calibrations/current").json()["operating_factors"]
    names = {factor["name"] for factor in factors}
    stated = set(GoodputAssumptions.model_fields) - {"share", "checkpoint_interval_hours"}
    assert stated <= names, "what a request may state is published where it does not"
    assert {"longest_checkpoint_interval_hours", "node_power", "accelerator_share", "network_power"} <= names
    for factor in factors:
        assert factor["unit"]
        assert factor["meaning"]
        assert factor["sources"], factor["name"]
        if factor["p10"] is not None:
            assert factor["p10"] <= factor["p50"] <= factor["p90"]


def test_an_estimate_names_the_current_calibration(client: httpx.Client) -> None:
    current = client.get("/v1/calibrations/current").json()["version"]
    request = {"model": {"name": "resnet-50"}, "hardware": {"accelerator": "T4"}}
    answer = client.post("/v1/estimates", json=request).json()
    assert answer["evidence"]["calibration"] == current
