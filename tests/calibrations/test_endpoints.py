"""The calibration in use says what it is, what it learned, and how accurate it is."""

import httpx


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


def test_an_estimate_names_the_current_calibration(client: httpx.Client) -> None:
    current = client.get("/v1/calibrations/current").json()["version"]
    request = {"model": {"name": "resnet-50"}, "hardware": {"accelerator": "T4"}}
    answer = client.post("/v1/estimates", json=request).json()
    assert answer["evidence"]["calibration"] == current
