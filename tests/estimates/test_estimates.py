"""One estimate over HTTP: what it answers, what it refuses, and what it says would help."""

from typing import Any

import httpx
import pytest

from service.estimates.examples import EXAMPLES

GPT3: dict[str, Any] = EXAMPLES["gpt-3-on-1024-v100"]["value"]
LLAMA: dict[str, Any] = {
    "model": {"name": "llama-2-7b"},
    "data": {"tokens": 1e9, "sequence_length": 4096},
    "hardware": {"accelerator": "A100-SXM4-80GB", "count": 8, "per_node": 8},
}


def estimate(client: httpx.Client, request: dict[str, Any], **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/estimates", json=request | changes)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def refused(
    client: httpx.Client, request: dict[str, Any], path: str = "/v1/estimates", **changes: Any
) -> dict[str, Any]:
    answer = client.post(path, json=request | changes)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    errors: list[dict[str, Any]] = answer.json()["errors"]
    return errors[0]


def assert_quantity(quantity: dict[str, float]) -> None:
    assert 0 <= quantity["p10"] <= quantity["p50"] <= quantity["p90"]


def assert_sums(parts: dict[str, float], total: float) -> None:
    assert all(part >= 0 for part in parts.values()), parts
    assert sum(parts.values()) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_answered_in_full(client: httpx.Client, name: str) -> None:
    request = EXAMPLES[name]["value"]
    answer = estimate(client, request)
    for field in (
        "step_seconds",
        "duration_hours",
        "accelerator_hours",
        "mfu",
        "cost_usd",
        "energy_kwh",
        "carbon_kg_co2e",
    ):
        assert_quantity(answer[field])
    assert_quantity(answer["throughput"]["samples_per_second"])
    assert_sums(answer["breakdown"], answer["step_seconds"]["p50"])
    assert_sums(answer["memory"]["parts"], answer["memory"]["peak_gb"]["p50"])
    assert_sums(answer["energy_kwh"]["parts"], answer["energy_kwh"]["p50"])
    assert_sums(answer["goodput"]["hours"], answer["duration_hours"]["p50"])
    count = request["hardware"].get("count", 1)
    assert answer["accelerator_hours"]["p50"] == pytest.approx(answer["duration_hours"]["p50"] * count, rel=1e-5)
    per_chip = answer["throughput"]["per_accelerator"]["p50"] * count
    assert per_chip == pytest.approx(answer["throughput"]["samples_per_second"]["p50"], rel=1e-5)
    assert answer["memory"]["fits"]
    assert answer["evidence"]["grade"] in ("measured", "interpolated", "extrapolated")
    assert answer["evidence"]["calibration"]
    assert answer["assumptions"]


def test_the_nearest_measurements_can_be_looked_up(client: httpx.Client) -> None:
    nearest = estimate(client, GPT3)["evidence"]["nearest"]
    assert nearest
    distances = [near["distance"] for near in nearest]
    assert distances == sorted(distances)
    for near in nearest:
        found = client.get(f"/v1/measurements/{near['id']}")
        assert found.status_code == 200, near
        assert found.json()["model"]


def test_gpt_3_on_1024_v100_takes_months(client: httpx.Client) -> None:
    days = {side: hours / 24 for side, hours in estimate(client, GPT3)["duration_hours"].items()}
    assert days["p10"] > 20
    assert days["p90"] < 365
    assert 0.1 < estimate(client, GPT3)["mfu"]["p50"] < 0.7


@pytest.mark.parametrize(
    "run",
    [
        {"model": {"name": "llama-2-70b"}, "hardware": {"accelerator": "trn1.32xlarge", "count": 256}},
        {"model": {"name": "mixtral-8x7b"}, "hardware": {"accelerator": "H100-SXM5-80GB", "count": 64}},
        {"model": {"name": "llama-3-8b"}, "hardware": {"accelerator": "A100-SXM4-40GB", "count": 8}},
        {"model": {"name": "resnet-50"}, "hardware": {"accelerator": "V100-SXM2-16GB", "count": 4}},
        {"model": {"name": "llama-3.1-8b"}, "hardware": {"accelerator": "A100-SXM4-80GB", "count": 1}},
    ],
    ids=lambda run: run["model"]["name"],
)
def test_stating_what_was_assumed_is_the_same_run(client: httpx.Client, run: dict[str, Any]) -> None:
    run = {**run, "data": {"sequence_length": 16384}, "training": {"global_batch": 1024}}
    answer = estimate(client, run)
    stated: dict[str, Any] = {"hardware": dict(run["hardware"]), "training": dict(run["training"]), "software": {}}
    for made in answer["assumptions"]:
        section, _, name = made["field"].partition(".")
        if section in stated:
            stated[section][name] = made["value"]
    restated = estimate(client, run, **stated)
    assert restated["layout"] == answer["layout"]
    assert restated["throughput"] == answer["throughput"]
    assert restated["memory"] == answer["memory"]


def test_what_is_given_is_in_the_layout_and_not_assumed(client: httpx.Client) -> None:
    answer = estimate(client, LLAMA, training={"tensor_parallel": 2, "global_batch": 256, "precision": "bf16"})
    assert answer["layout"]["tensor_parallel"] == 2
    assert answer["layout"]["global_batch"] == 256
    assumed = {made["field"] for made in answer["assumptions"]}
    assert not assumed & {"training.tensor_parallel", "training.global_batch", "training.precision"}
    assert all(made["reason"] for made in answer["assumptions"])


def test_without_an_amount_of_data_there_is_speed_but_no_duration(client: httpx.Client) -> None:
    answer = estimate(client, {name: LLAMA[name] for name in ("model", "hardware")})
    for field in ("duration_hours", "accelerator_hours", "cost_usd", "energy_kwh", "carbon_kg_co2e", "goodput"):
        assert answer[field] is None
    assert_quantity(answer["throughput"]["samples_per_second"])
    assert any("data.tokens" in warning for warning in answer["warnings"])


def test_runs_multiply_time_cost_and_energy(client: httpx.Client) -> None:
    once, five = estimate(client, LLAMA), estimate(client, LLAMA, runs=5)
    for field in (
        "duration_hours",
        "accelerator_hours",
        "cost_usd",
        "energy_kwh",
        "carbon_kg_co2e",
        "embodied_kg_co2e",
    ):
        for side in ("p10", "p50", "p90"):
            assert five[field][side] == pytest.approx(5 * once[field][side], rel=1e-5)
    assert five["throughput"] == once["throughput"]


def test_own_price_grid_pue_and_power_win(client: httpx.Client) -> None:
    answer = estimate(
        client,
        LLAMA,
        pricing={"usd_per_accelerator_hour": 2.0},
        location={
            "gco2e_per_kwh": 100, "pue": 1.0, "watts_per_accelerator": 500, "embodied_kg_co2e_per_accelerator": 876,
        },
    )  # fmt: skip
    hours = answer["accelerator_hours"]["p50"]
    assert answer["cost_usd"]["p50"] == pytest.approx(2 * hours, rel=1e-5)
    assert answer["energy_kwh"]["p50"] == pytest.approx(0.5 * hours, rel=1e-5)
    assert answer["carbon_kg_co2e"]["p50"] == pytest.approx(0.1 * answer["energy_kwh"]["p50"], rel=1e-5)
    # Machines serve five years: 43,800 hours.
    assert answer["embodied_kg_co2e"]["p50"] == pytest.approx(876 / 43_800 * hours, rel=1e-5)
    assumed = {made["field"] for made in answer["assumptions"]}
    assert not any(field.startswith(("pricing.", "location.")) for field in assumed)


def test_a_cleaner_grid_emits_less(client: httpx.Client) -> None:
    sweden, poland = (estimate(client, LLAMA, location={"region": code}) for code in ("SWE", "POL"))
    assert sweden["carbon_kg_co2e"]["p90"] < poland["carbon_kg_co2e"]["p10"]
    assert sweden["energy_kwh"] == poland["energy_kwh"]


def test_goodput_can_be_stated(client: httpx.Client) -> None:
    perfect = estimate(client, LLAMA, goodput={"share": 1.0})
    half = estimate(client, LLAMA, goodput={"share": 0.5})
    assert half["duration_hours"]["p50"] == pytest.approx(2 * perfect["duration_hours"]["p50"], rel=1e-5)
    assert perfect["goodput"]["share"]["p50"] == 1.0


@pytest.mark.parametrize(
    ("count", "goodput", "warned"),
    [(1024, {}, False), (262144, {}, True), (1024, {"failures_per_accelerator_hour": 1}, True)],
)
def test_a_job_that_failures_keep_from_its_work_says_so(
    client: httpx.Client, count: int, goodput: dict[str, float], warned: bool
) -> None:
    hardware, training = GPT3["hardware"] | {"count": count}, {"precision": "fp16"}
    answer = estimate(client, GPT3, hardware=hardware, training=training, goodput=goodput)
    assert any("goodput.failures_per_accelerator_hour" in warning for warning in answer["warnings"]) is warned
    # A short run, most of which is its start-up, is another matter.
    short = estimate(client, GPT3, data={"samples": 1000})
    assert short["goodput"]["share"]["p50"] < 0.25
    assert not any("goodput" in warning for warning in short["warnings"])


def test_the_least_that_holds_a_model_is_found_however_large_it_is(client: httpx.Client) -> None:
    huge = {"model": {"family": "decoder", "parameters": 1e12}, "data": {"tokens": 1e9}}
    answer = estimate(client, huge, hardware={"accelerator": "H100-SXM5-80GB", "count": 1})
    assert not answer["memory"]["fits"]
    counts = [way["change"]["hardware.count"] for way in answer["remedies"] if "hardware.count" in way["change"]]
    (least,) = counts
    then = estimate(client, huge, hardware={"accelerator": "H100-SXM5-80GB", "count": least})
    half = estimate(client, huge, hardware={"accelerator": "H100-SXM5-80GB", "count": least // 2})
    assert then["memory"]["fits"]
    assert not half["memory"]["fits"]


def test_what_the_hours_are_reckoned_with_is_shown_and_can_be_stated(client: httpx.Client) -> None:
    published = estimate(client, LLAMA)["goodput"]
    fields = {
        "failures_per_accelerator_hour", "recovery_seconds", "checkpoint_seconds", "checkpoint_interval_hours",
        "evaluation_share", "startup_seconds",
    }  # fmt: skip
    assert set(published["basis"]) == fields
    for figure in published["basis"].values():
        assert figure["sources"]
        assert not figure["stated"]
    for field in fields:
        more = 2 * published["basis"][field]["value"]["p90"]
        stated = estimate(client, LLAMA, goodput={field: more})["goodput"]
        assert stated["basis"][field] == {
            "value": dict.fromkeys(("p10", "p50", "p90"), pytest.approx(more)), "stated": True, "sources": []
        }  # fmt: skip
        assert stated["hours"] != published["hours"]


def test_a_chip_without_a_price_or_known_power_says_so(client: httpx.Client) -> None:
    answer = estimate(client, LLAMA, hardware={"accelerator": "TPU7x", "count": 8})
    assert answer["energy_kwh"] is None
    assert answer["cost_usd"] is None
    assert any("usd_per_accelerator_hour" in warning for warning in answer["warnings"])
    assert any("watts_per_accelerator" in warning for warning in answer["warnings"])


def test_what_does_not_fit_is_answered_with_what_would(client: httpx.Client) -> None:
    answer = estimate(
        client,
        LLAMA,
        model={"name": "llama-2-70b"},
        training={"mode": "finetune", "sharding": "none", "micro_batch": 16, "global_batch": 128, "recompute": "none"},
    )
    assert not answer["memory"]["fits"]
    assert answer["memory"]["fits_probability"] < 0.5
    assert any("fit" in warning for warning in answer["warnings"])
    assert answer["remedies"]
    for remedy in answer["remedies"]:
        assert remedy["peak_gb"] < 80


@pytest.mark.parametrize("model", ["bert-large", "resnet-50"])
def test_half_an_accelerator_is_a_tile_that_runs_alone(client: httpx.Client, model: str) -> None:
    request = {"model": {"name": model}, "data": {"samples": 1e6}, "training": {"global_batch": 64}}
    half, whole = (estimate(client, request, hardware={"accelerator": "MI250X", "count": count}) for count in (0.5, 1))
    assert half["layout"]["data_parallel"] == 1
    assert half["throughput"]["samples_per_second"]["p50"] < whole["throughput"]["samples_per_second"]["p50"]
    assert half["accelerator_hours"]["p50"] == pytest.approx(0.5 * half["duration_hours"]["p50"], rel=1e-5)


def test_bf16_is_no_way_around_a_chip_without_it(client: httpx.Client) -> None:
    chip = {"accelerator": "V100-SXM2-32GB", "count": 8}
    hours, said = {}, {}
    for precision in ("fp32", "fp16", "bf16"):
        answer = estimate(client, LLAMA, hardware=chip, training={"precision": precision, "mode": "lora"})
        hours[precision], said[precision] = answer["duration_hours"]["p50"], " ".join(answer["warnings"])
    assert hours["fp16"] < hours["bf16"] < 1.5 * hours["fp32"]
    assert "has no bf16 units" in said["bf16"]
    assert "units" not in said["fp16"]


def test_a_narrow_fit_says_how_likely_it_is_and_what_would_help(client: httpx.Client) -> None:
    training = {"mode": "pretrain", "sharding": "zero3", "recompute": "none", "global_batch": 64}
    fits, certain = {}, {}
    for micro in (1, 2, 4, 8):
        answer = estimate(client, LLAMA, training={**training, "micro_batch": micro})
        memory, said = answer["memory"], [text for text in answer["warnings"] if "If memory runs out" in text]
        fits[micro], certain[micro] = memory["fits"], memory["fits_probability"] >= 0.9
        assert bool(said) == (fits[micro] and not certain[micro])
        begins = "It is likely to fit" if memory["fits_probability"] >= 0.75 else "It may or may not fit"
        assert all(text.startswith(begins) for text in said)
        assert all(f"{memory['fits_probability']:.0%}" in text and "recompute" in text for text in said)
    assert any(fits[micro] and not certain[micro] for micro in fits), "one of these sizes must be a narrow fit"


def test_a_micro_batch_that_is_stated_is_held_where_fewer_chips_are_tried(client: httpx.Client) -> None:
    run = {
        "model": {"name": "resnet-50"},
        "data": {"name": "imagenet-1k", "epochs": 1},
        "training": {"precision": "fp16", "global_batch": 512, "micro_batch": 8},
    }
    answers = [estimate(client, run, hardware={"accelerator": "A100-SXM4-80GB", "count": n}) for n in (8, 4, 2)]
    steps = [answer["step_seconds"]["p50"] for answer in answers]
    assert steps == sorted(steps), "the more the quicker"
    assert not any("strong scaling" in text for text in answers[0]["warnings"])


def test_a_site_is_named_without_nul_characters(client: httpx.Client) -> None:
    run = {"model": {"name": "resnet-50"}, "hardware": {"accelerator": "T4"}, "site": "a\0b", "save": True}
    refused = client.post("/v1/estimates", json=run)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "site"


def test_more_chips_than_make_it_quick_are_answered_with_how_many_do(client: httpx.Client) -> None:
    request = {
        "model": {"name": "bert-base"},
        "data": {"samples": 1e6, "sequence_length": 128},
        "training": {"precision": "bf16", "global_batch": 256},
    }
    chips = {"accelerator": "H100-SXM5-80GB", "per_node": 8}
    many = estimate(client, request, hardware={**chips, "count": 256})
    (said,) = [text for text in many["warnings"] if "strong scaling" in text]
    count = int(said.split("hardware.count = ")[1].split()[0])
    fewer = estimate(client, request, hardware={**chips, "count": count})
    assert fewer["step_seconds"]["p50"] < many["step_seconds"]["p50"]
    quicker = many["step_seconds"]["p50"] / fewer["step_seconds"]["p50"] - 1.0
    assert f"{quicker:.0%} quicker" in said
    assert not any(
        "strong scaling" in text for text in estimate(client, request, hardware={**chips, "count": 2})["warnings"]
    )


def test_a_remedy_keeps_its_word(client: httpx.Client) -> None:
    whole = {"mode": "finetune", "sharding": "ddp", "tensor_parallel": 1, "pipeline_parallel": 1, "global_batch": 64}
    request = {**LLAMA, "model": {"name": "llama-2-13b"}, "training": whole}
    answer = estimate(client, request)
    assert not answer["memory"]["fits"], "8 bytes of states for each of 13e9 parameters are more than 80 GB"
    assert answer["remedies"]
    for remedy in answer["remedies"]:
        changed: dict[str, Any] = {name: dict(part) for name, part in request.items()}
        for path, value in remedy["change"].items():
            section, _, field = path.partition(".")
            changed[section] = {**changed[section], field: value}  # null is the same as left out
        then = estimate(client, changed)
        assert then["memory"]["fits"], remedy
        assert then["memory"]["peak_gb"]["p50"] == pytest.approx(remedy["peak_gb"], rel=1e-3)


def test_an_estimate_can_be_saved_and_read_again(client: httpx.Client) -> None:
    saved = client.post("/v1/estimates", json={**LLAMA, "save": True})
    assert saved.status_code == 201
    body = saved.json()
    assert body["id"]
    again = client.get(saved.headers["location"])
    assert again.status_code == 200
    assert again.json() == body | {"request": again.json()["request"]}
    assert again.json()["request"]["model"] == {"name": "llama-2-7b"}
    unsaved = estimate(client, LLAMA)
    assert unsaved["id"] is None
    assert unsaved["throughput"] == body["throughput"]


def test_there_is_no_estimate_that_was_not_saved(client: httpx.Client) -> None:
    assert client.get("/v1/estimates/e_0").status_code == 404


@pytest.mark.parametrize(
    ("changes", "field", "hint"),
    [
        pytest.param({"hardware": {"accelerator": "H1000"}}, "hardware.accelerator", "H100", id="unknown chip"),
        pytest.param(
            {"hardware": {"accelerator": "V100-SXM2-32GB"}, "training": {"precision": "fp8"}},
            "training.precision",
            "fp16",
            id="fp8 on a V100",
        ),
        pytest.param(
            {"training": {"tensor_parallel": 3}}, "training.tensor_parallel", "divisor", id="heads do not divide"
        ),
        pytest.param(
            {"training": {"global_batch": 512, "micro_batch": 8, "gradient_accumulation": 3}},
            "training.gradient_accumulation",
            "gradient_accumulation = 8, or global_batch = 192",
            id="steps that the batch does not have",
        ),
        pytest.param({"training": {"seq_len": 3}}, "training.seq_len", None, id="misspelt field"),
        pytest.param({"training": {"mode": "full"}}, "training.mode", "finetune", id="mode that says little"),
        pytest.param(
            {"hardware": {**LLAMA["hardware"], "count": 1.5}}, "hardware.count", "1 or 2", id="one and a half chips"
        ),
        pytest.param({"location": {"region": "Swedeen"}}, "location.region", "SWE", id="unknown region"),
        pytest.param({"pricing": {"provider": "acme"}}, "pricing.provider", "aws", id="unknown provider"),
        pytest.param({"runs": 0}, "runs", None, id="no runs"),
        pytest.param({"goodput": {"share": 1.5}}, "goodput.share", None, id="goodput over 1"),
        pytest.param({"model": {}}, "model", None, id="nothing about the model"),
    ],
)
def test_what_cannot_run_is_refused_with_the_field_and_the_way_out(
    client: httpx.Client, changes: dict[str, Any], field: str, hint: str | None
) -> None:
    error = refused(client, LLAMA, **changes)
    assert error["field"] == field
    if hint:
        assert hint in error["hint"]


def test_spellings_do_not_change_the_answer(client: httpx.Client) -> None:
    alias = {**LLAMA, "hardware": {**LLAMA["hardware"], "accelerator": "NVIDIA A100-SXM4-80GB"}}
    assert estimate(client, alias) == estimate(client, LLAMA)
    as_text = {**LLAMA, "training": {"precision": "bfloat16"}}
    assert estimate(client, as_text) == estimate(client, LLAMA, training={"precision": "bf16"})


def test_a_batch_that_does_not_divide_leaves_whole_samples_and_more_chips_no_slower(client: httpx.Client) -> None:
    hours = []
    for count in (16, 24, 48):
        answer = client.post(
            "/v1/estimates",
            json={
                "model": {"name": "llama-2-7b"},
                "data": {"tokens": 1e9},
                "hardware": {"accelerator": "H100-SXM5-80GB", "count": count},
                "training": {"precision": "bf16", "global_batch": 512},
            },
        ).json()
        assert answer["layout"]["micro_batch"] == round(answer["layout"]["micro_batch"])
        assert answer["memory"]["fits"]
        hours.append(answer["duration_hours"]["p50"])
    assert hours == sorted(hours, reverse=True)
