"""Plans over HTTP: what they promise, how they are ranked, and what is said where there is none."""

from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.conftest import serving

LLAMA: dict[str, Any] = {
    "model": {"name": "llama-2-7b"},
    "data": {"tokens": 1e10, "sequence_length": 4096},
    "hardware": {"accelerators": ["A100-SXM4-80GB", "H100-SXM5-80GB"], "counts": [8, 16, 32]},
    "training": {"global_batch": 256},
}
# Of the database, plans read what a site has learned, as estimates do: one dialect is enough for every change.
pytestmark = pytest.mark.slow_on("postgresql")

PREDICTED = ("duration_hours", "accelerator_hours", "cost_usd", "carbon_kg_co2e", "memory", "mfu")


def plan(client: httpx.Client, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/plans", json=LLAMA | changes)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert body["considered"] == sum(body["rejected"].values()) + len(body["plans"])
    return body


def estimate(client: httpx.Client, request: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The estimate of what a plan proposes."""
    asked = {name: part for name, part in request.items() if name in ("model", "data", "software", "pricing", "runs")}
    answer = client.post("/v1/estimates", json=asked | {"hardware": found["hardware"], "training": found["training"]})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def medians(found: dict[str, Any]) -> tuple[float, ...]:
    return tuple(found[name]["p50"] for name in ("duration_hours", "cost_usd", "energy_kwh"))


def changed(request: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """A request with the fields at those paths set."""
    result = {name: dict(part) if isinstance(part, dict) else part for name, part in request.items()}
    for path, value in change.items():
        section, dot, field = path.partition(".")
        if dot:
            result[section][field] = value
        else:
            result[section] = value
    return result


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"layouts": 2, "runs": 3, "pricing": {"provider": "aws"}}, id="pre-training"),
        pytest.param(
            {"hardware": {"accelerators": ["A10-24GB"], "counts": [4]}, "training": {"global_batch": 16}},
            id="optimizer in host memory",
        ),
        pytest.param(
            {
                "model": {"name": "resnet-50"},
                "data": {"name": "imagenet-1k", "epochs": 1},
                "hardware": {"accelerators": ["V100-SXM2-16GB"], "counts": [3]},
                "training": {"global_batch": 256},
            },
            id="a batch that does not divide",
        ),
        pytest.param(
            {"training": {"micro_batch": 1, "gradient_accumulation": 16}}, id="a batch that follows from the replicas"
        ),
    ],
)
def test_a_plan_says_what_an_estimate_of_it_says(client: httpx.Client, changes: dict[str, Any]) -> None:
    answer = plan(client, **changes)
    assert answer["plans"]
    assumed = {made["value"] for made in answer["assumptions"] if made["field"] == "training.global_batch"}
    assert assumed <= {found["training"]["global_batch"] for found in answer["plans"]}
    for found in answer["plans"][::3]:
        alone = estimate(client, LLAMA | changes, found)
        assert {name: found[name] for name in PREDICTED} == {name: alone[name] for name in PREDICTED}
        assert found["energy_kwh"] == {side: alone["energy_kwh"][side] for side in ("p10", "p50", "p90")}
        assert (found["fits_probability"], found["grade"]) == (
            alone["memory"]["fits_probability"],
            alone["evidence"]["grade"],
        )
        assert alone["memory"]["fits"]


def test_an_estimate_that_leaves_the_layout_open_takes_the_plans(client: httpx.Client) -> None:
    for found in plan(client, limit=4)["plans"]:
        kept = {name: found["training"][name] for name in ("precision", "global_batch")}
        alone = estimate(client, LLAMA, {**found, "training": kept})
        assert {name: alone["layout"][name] for name in found["training"]} == found["training"]
        assert alone["duration_hours"] == found["duration_hours"]


@pytest.mark.parametrize(
    ("changes", "field", "hint"),
    [
        ({"hardware": {"accelerator": "A100-SXM4-80GB"}}, "hardware.accelerator", "did you mean 'accelerators'?"),
        ({"hardware": LLAMA["hardware"] | {"count": 8}}, "hardware.count", "did you mean 'counts'?"),
        ({"tokens": 1e9}, "tokens", "did you mean 'data.tokens'?"),
        ({"deadline_hours": "720"}, "deadline_hours", "without quotes"),
        ({"runs": True}, "runs", "without quotes"),
        ({"pricing": {"usd_per_accelerator_hour": True}}, "pricing.usd_per_accelerator_hour", "without quotes"),
        ({"pricing": {"date": 20260801}}, "pricing.date", "as text"),
        ({"pricing": {"date": "yesterday"}}, "pricing.date", "as text"),
        ({"goodput": {"recovery_seconds": "600"}}, "goodput.recovery_seconds", "without quotes"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_what_is_right(
    client: httpx.Client, changes: dict[str, Any], field: str, hint: str
) -> None:
    answer = client.post("/v1/plans", json=LLAMA | changes)
    assert answer.status_code == 422
    faults = {error["field"]: error["hint"] for error in answer.json()["errors"] if "hint" in error}
    assert hint in faults[field]


def test_narrow_fits_are_told_in_one_warning(client: httpx.Client) -> None:
    made = plan(client, limit=100)
    narrow = [found["fits_probability"] for found in made["plans"] if found["fits_probability"] < 0.9]
    told = [text for text in made["warnings"] if "would save memory" in text]
    assert len(told) == bool(narrow)
    assert all(text.startswith(f"{len(narrow)} of {len(made['plans'])} ") for text in told)
    assert ("may or may not" in told[0]) == (min(narrow) < 0.75)
    assert ("likely" in told[0]) == (max(narrow) >= 0.75)
    assert len(narrow) > 1, "a case in which several plans fit narrowly is needed"


def test_the_front_is_what_no_other_plan_beats(client: httpx.Client) -> None:
    plans = plan(client, limit=100)["plans"]
    for found in plans:
        beaten = any(
            all(theirs <= ours for theirs, ours in zip(medians(other), medians(found), strict=True))
            and medians(other) != medians(found)
            for other in plans
        )
        assert found["pareto"] is not beaten
    assert {found["pareto"] for found in plans} == {True, False}


@pytest.mark.parametrize(("objective", "position"), [("time", 0), ("cost", 1), ("energy", 2)])
def test_plans_are_ranked_by_what_is_asked_for(client: httpx.Client, objective: str, position: int) -> None:
    ranked = [medians(found)[position] for found in plan(client, objective=objective, limit=6)["plans"]]
    assert ranked == sorted(ranked)
    assert len(ranked) == 6


def test_more_chips_allowed_never_make_the_best_plan_slower(client: httpx.Client) -> None:
    accelerators = {"accelerators": ["A100-SXM4-80GB"]}
    hours = [
        plan(client, hardware=accelerators | {"max_count": most})["plans"][0]["duration_hours"]["p50"]
        for most in (4, 24, 100)
    ]
    assert hours == sorted(hours, reverse=True)


def test_limits_are_kept_and_their_odds_told(client: httpx.Client) -> None:
    free = plan(client, objective="cost", limit=100)
    deadline, budget = (sorted(medians(found)[column] for found in free["plans"])[6] for column in (0, 1))
    held = plan(client, deadline_hours=deadline, budget_usd=budget, limit=100)
    assert 0 < len(held["plans"]) < len(free["plans"])
    assert held["rejected"].keys() - free["rejected"].keys() == {"past_deadline", "over_budget"}
    for found in held["plans"]:
        assert medians(found)[0] <= deadline
        assert medians(found)[1] <= budget
        assert 0.5 <= found["meets_deadline_probability"] <= 1
        assert 0.5 <= found["meets_budget_probability"] <= 1
    (quickest, *_) = plan(client)["plans"]
    (odds, *_) = plan(client, deadline_hours=quickest["duration_hours"]["p90"])["plans"]
    assert odds["duration_hours"] == quickest["duration_hours"]
    assert odds["meets_deadline_probability"] == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        pytest.param(
            {
                "model": {"parameters": 1e12, "family": "decoder", "layers": 128, "hidden_size": 25600},
                "hardware": {"accelerators": ["H100-SXM5-80GB"], "max_count": 1},
            },
            {"hardware.max_count"},
            id="a model of 1e12 parameters on one chip",
        ),
        pytest.param(
            {"hardware": {"accelerators": ["Xeon-Phi-7250"], "counts": [64]}, "objective": "cost", "budget_usd": 1e9},
            {"objective", "budget_usd"},
            id="no price",
        ),
        pytest.param(
            {"model": {"name": "gpt-3-175b"}, "hardware": {"accelerators": ["A100-SXM4-80GB"], "counts": [64]},
             "training": {"tensor_parallel": 1, "pipeline_parallel": 1, "sharding": "zero1", "global_batch": 256}},
            {"training.tensor_parallel", "training.pipeline_parallel", "training.sharding", "hardware.counts"},
            id="a layout that no number of chips holds",
        ),
        pytest.param({"deadline_hours": 0.5}, {"deadline_hours"}, id="no time"),
        pytest.param({"budget_usd": 1}, {"budget_usd"}, id="no money"),
        pytest.param({"deadline_hours": 0.5, "budget_usd": 1}, {"deadline_hours", "budget_usd"}, id="neither"),
        pytest.param(
            {"training": {"tensor_parallel": 8, "pipeline_parallel": 4, "global_batch": 256},
             "hardware": {"accelerators": ["A100-SXM4-80GB"], "counts": [8, 12]}},
            {"hardware.counts"},
            id="a layout that divides none of the counts",
        ),
    ],
)  # fmt: skip
def test_where_nothing_works_the_least_that_would_is_said_and_works(
    client: httpx.Client, changes: dict[str, Any], fields: set[str]
) -> None:
    answer = plan(client, **changes)
    assert not answer["plans"]
    assert answer["nearest_feasible"]
    for way in answer["nearest_feasible"]:
        then = plan(client, **changed(LLAMA | changes, way["change"]), limit=200)
        told = [(found["hardware"], found["duration_hours"]) for found in then["plans"]]
        assert (way["plan"]["hardware"], way["plan"]["duration_hours"]) in told
    assert set(answer["nearest_feasible"][0]["change"]) == fields


def test_too_few_chips_for_a_deadline_are_answered_with_as_many_as_keep_it(client: httpx.Client) -> None:
    few = {"model": {"name": "gpt-3-175b"}, "deadline_hours": 100.0, "limit": 200}
    hardware = {"accelerators": ["A100-SXM4-80GB"], "max_count": 2}
    answer = plan(client, **few, hardware=hardware)
    assert not answer["plans"]
    holding, keeping = answer["nearest_feasible"]
    assert set(holding["change"]) == {"hardware.max_count", "deadline_hours"}
    assert set(keeping["change"]) == {"hardware.max_count"}
    least = keeping["change"]["hardware.max_count"]
    assert plan(client, **few, hardware=hardware | {"max_count": least})["plans"]
    assert not plan(client, **few, hardware=hardware | {"max_count": least // 2})["plans"]


@pytest.mark.parametrize(
    ("changes", "field", "hint"),
    [
        pytest.param(
            {"hardware": {"accelerators": ["T4", "H1000"]}}, "hardware.accelerators[1]", "H100", id="unknown chip"
        ),
        pytest.param({"hardware": {"accelerators": []}}, "hardware.accelerators", None, id="no chip"),
        pytest.param({"hardware": {"accelerators": ["T4"], "counts": [8], "max_count": 4}}, "hardware.counts",
                     "max_count", id="no count within the limit"),
        pytest.param({"data": {"sequence_length": 4096}}, "data.tokens", "samples", id="no amount of data"),
        pytest.param({"hardware": {"accelerators": ["T4"]}, "training": {"precision": "fp8"}}, "training.precision",
                     "fp16", id="a precision that no chip has"),
        pytest.param({"layouts": 10, "hardware": {"accelerators": ["T4", "A10"] * 8, "counts": [1, 2, 4]}},
                     "hardware.counts", "fewer", id="more than is done at once"),
        pytest.param({"deadline": 3}, "deadline", None, id="misspelt field"),
        pytest.param({"location": {"region": "Swedeen"}}, "location.region", "SWE", id="unknown region"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_refused_with_the_field_and_the_way_out(
    client: httpx.Client, changes: dict[str, Any], field: str, hint: str | None
) -> None:
    answer = client.post("/v1/plans", json=LLAMA | changes)
    assert answer.status_code == 422, answer.text
    (error, *_) = answer.json()["errors"]
    assert error["field"] == field
    if hint:
        assert hint in error["hint"]


def test_a_precision_that_one_chip_lacks_is_planned_on_the_other(client: httpx.Client) -> None:
    hardware = {"accelerators": ["V100-SXM2-32GB", "H100-SXM5-80GB"], "counts": [16]}
    answer = plan(client, hardware=hardware, training={"precision": "fp8", "global_batch": 256})
    assert {found["hardware"]["accelerator"] for found in answer["plans"]} == {"H100-SXM5-80GB"}
    assert answer["rejected"]["cannot_run_there"] == 1


def test_plans_count_against_the_budget_of_who_asks(shared_database: str) -> None:
    app = create_app(Settings(database_url=shared_database, anonymous_budget_per_hour=200))
    with serving(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        statuses = [client.post("/v1/plans", json=LLAMA).status_code for _ in range(2)]
        assert statuses == [200, 429]
