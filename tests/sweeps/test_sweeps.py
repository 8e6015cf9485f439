"""One or two fields varied: points, curves, and what more chips bring."""

from typing import Any

import httpx
import pytest

RESNET: dict[str, Any] = {
    "model": {"name": "resnet-50"},
    "data": {"name": "imagenet-1k", "epochs": 90},
    "hardware": {"accelerator": "V100-SXM2-16GB", "count": 8, "per_node": 8},
    "training": {"precision": "fp16", "global_batch": 2048},
}


def sweep(client: httpx.Client, **request: Any) -> dict[str, Any]:
    answer = client.post("/v1/sweeps", json={**RESNET, **request})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def refusal(client: httpx.Client, **request: Any) -> dict[str, Any]:
    answer = client.post("/v1/sweeps", json={**RESNET, **request})
    assert answer.status_code == 422, answer.text
    error: dict[str, Any] = answer.json()["errors"][0]
    return error


def test_points_are_the_estimates_and_curves_are_their_columns(client: httpx.Client) -> None:
    answer = sweep(client, vary={"hardware.count": {"start": 1, "stop": 16, "scale": "log2"}})
    assert [point["values"] for point in answer["points"]] == [{"hardware.count": n} for n in (1, 2, 4, 8, 16)]
    alone = client.post("/v1/estimates", json=RESNET).json()
    eight = answer["points"][3]["estimate"]
    assert eight["throughput"]["samples_per_second"]["p50"] == pytest.approx(
        alone["throughput"]["samples_per_second"]["p50"], rel=1e-5
    )
    (curve,) = answer["curves"]
    assert curve["path"] == "hardware.count"
    assert curve["x"] == [1, 2, 4, 8, 16]
    for column, field in (("duration_hours", "duration_hours"), ("cost_usd", "cost_usd"), ("mfu", "mfu")):
        for side in ("p10", "p50", "p90"):
            assert curve[column][side] == [point["estimate"][field][side] for point in answer["points"]]


def test_what_both_share_of_the_uncertainty_cancels_in_a_speed_up(client: httpx.Client) -> None:
    answer = sweep(client, vary={"hardware.count": [8, 16, 32]}, training={"precision": "fp16", "global_batch": 8192})
    (curve,) = answer["curves"]
    speeds = [point["estimate"]["throughput"]["samples_per_second"] for point in answer["points"]]
    assert [curve["speedup"][side][0] for side in ("p10", "p50", "p90")] == [1, 1, 1]
    for index, ratio in ((1, 2), (2, 4)):
        speedup = {side: curve["speedup"][side][index] for side in ("p10", "p50", "p90")}
        assert speedup["p50"] == pytest.approx(speeds[index]["p50"] / speeds[0]["p50"], rel=1e-5)
        assert curve["efficiency"]["p50"][index] == pytest.approx(speedup["p50"] / ratio, rel=1e-5)
        apart = speeds[index]["p90"] / speeds[index]["p10"]
        assert 1 < speedup["p90"] / speedup["p10"] < apart


def test_a_speed_up_is_of_the_same_tokens_where_the_sequence_grows(client: httpx.Client) -> None:
    answer = sweep(
        client,
        model={"name": "llama-3-8b"},
        data={"tokens": 1e9},
        hardware={"accelerator": "H100-SXM5-80GB", "count": 8},
        training={"precision": "bf16", "global_batch": 64, "micro_batch": 1, "sharding": "fsdp", "recompute": "none"},
        vary={"data.sequence_length": [1024, 4096]},
    )
    (curve,) = answer["curves"]
    tokens = curve["tokens_per_second"]["p50"]
    assert curve["speedup"]["p50"][1] == pytest.approx(tokens[1] / tokens[0], rel=1e-5)
    assert curve["memory_peak_gb"]["p50"][1] > curve["memory_peak_gb"]["p50"][0]


def test_a_point_that_cannot_run_says_why_and_the_rest_go_on(client: httpx.Client) -> None:
    chips = ["A100-SXM4-40GB", "H1000", 7]
    hardware = {"count": 8}
    answer = sweep(client, hardware=hardware, vary={"training.global_batch": [64, 128], "hardware.accelerator": chips})
    problems = [point["problem"] for point in answer["points"]]
    assert [problem and problem["errors"][0]["field"] for problem in problems] == [
        None, None, *["hardware.accelerator"] * 4
    ]  # fmt: skip
    assert "H100" in problems[2]["errors"][0]["hint"]
    assert [curve["fixed"] for curve in answer["curves"]] == [{"hardware.accelerator": chip} for chip in chips]
    assert answer["curves"][1]["speedup"]["p50"] == [None, None]
    assert answer["curves"][0]["fits"] == [True, True]


def test_models_are_compared_and_a_sweep_of_nothing_that_runs_is_still_answered(client: httpx.Client) -> None:
    asked = {name: value for name, value in RESNET.items() if name != "model"}
    answer = client.post("/v1/sweeps", json={**asked, "vary": {"model.name": ["resnet-50", "resnet-152"]}}).json()
    hours = answer["curves"][0]["duration_hours"]["p50"]
    assert hours[1] > hours[0]
    assert all(point["problem"] for point in sweep(client, vary={"training.precision": ["fp7", 8]})["points"])


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        pytest.param({"start": 8, "stop": 100, "scale": "log2"}, [8, 16, 32, 64], id="doublings"),
        pytest.param({"start": 1, "stop": 4, "num": 7}, [1, 2, 3, 4], id="whole and none twice"),
        pytest.param({"start": 8, "stop": 33, "step": 8}, [8, 16, 24, 32], id="steps"),
        pytest.param({"start": 1, "stop": 100, "num": 3, "scale": "log"}, [1, 10, 100], id="even ratios"),
    ],
)
def test_ranges_are_of_whole_counts_and_do_not_pass_their_end(
    client: httpx.Client, axis: dict[str, Any], values: list[float]
) -> None:
    assert sweep(client, vary={"hardware.count": axis})["curves"][0]["x"] == values


def test_money_and_goodput_vary_too(client: httpx.Client) -> None:
    answer = sweep(client, vary={"pricing.usd_per_accelerator_hour": [1, 2], "goodput.share": [0.5, 1]})
    costs = [point["estimate"]["cost_usd"]["p50"] for point in answer["points"]]
    assert costs[1] == pytest.approx(2 * costs[0], rel=1e-5)
    assert costs[2] == pytest.approx(costs[0] / 2, rel=1e-5)


def test_a_lower_loss_takes_longer(client: httpx.Client) -> None:
    asked = {"model": {"family": "decoder"}, "data": {"sequence_length": 2048}, "training": {"global_batch": 512}}
    vary = {"target_loss": [3.0, 2.5, 2.1, 1.0], "scaling_law": ["besiroglu-2024", "hoffmann-2022"]}
    answer = sweep(client, **asked, vary=vary)
    for curve in answer["curves"]:
        hours = curve["duration_hours"]["p50"]
        assert 0 < hours[0] < hours[1] < hours[2]
        assert hours[3] is None
    assert "outside" in answer["points"][3]["problem"]["detail"]


@pytest.mark.parametrize(
    ("vary", "field", "hint"),
    [
        pytest.param({"hardware.cuont": [1]}, "vary.hardware.cuont", "hardware.count", id="misspelt"),
        pytest.param({"site": ["a"]}, "vary.site", None, id="sites are not compared"),
        pytest.param({"hardware.count": []}, "vary.hardware.count.values", None, id="no values"),
        pytest.param(
            {"hardware.count": {"start": 8, "stop": 4, "num": 2}}, "vary.hardware.count", None, id="backwards"
        ),
        pytest.param({"hardware.count": {"start": 1, "stop": 1e9, "step": 1}}, "vary.hardware.count", None, id="long"),
        pytest.param({"hardware.count": {"begin": 1}}, "vary.hardware.count.begin", None, id="unknown word"),
        pytest.param(
            {"hardware.count": list(range(1, 31)), "runs": list(range(1, 31))}, "vary", "several sweeps", id="too many"
        ),
        pytest.param({}, "vary", None, id="nothing varies"),
    ],
)
def test_a_sweep_that_cannot_be_asked_for_names_the_way_out(
    client: httpx.Client, vary: dict[str, Any], field: str, hint: str | None
) -> None:
    error = refusal(client, vary=vary)
    assert error["field"] == field
    assert hint is None or hint in error["hint"]
