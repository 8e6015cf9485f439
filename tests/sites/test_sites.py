"""Between calibrations a team's own measurements change its own predictions at once, and nobody else's."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.configuration import nest
from service.settings import Settings
from tests.conftest import serving
from tests.replicas import make_key, submit, wait_until

QUESTION: dict[str, Any] = {
    "model": {"name": "resnet-50"},
    "data": {"image_size": 224},
    "hardware": {"accelerator": "V100-SXM2-16GB", "count": 1},
    "training": {"precision": "fp16", "global_batch": 64, "micro_batch": 64, "recompute": "none"},
}
SLOWER = 1.8
"""How much slower this site is than what a new one is expected to be."""


@pytest.fixture(scope="module")
def database(databases: Any) -> str:
    """The URL of a database that these tests submit to."""
    url: str = databases.seeded()
    return url


@pytest.fixture(scope="module")
def client(database: str) -> Iterator[httpx.Client]:
    """A client of a service on it, without a key."""
    with serving(create_app(Settings(database_url=database))) as url, httpx.Client(base_url=url, timeout=60) as http:
        yield http


def ask(client: httpx.Client, key: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """The estimate of the question."""
    answer = client.post("/v1/estimates", json=QUESTION | more, headers=key)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


def of_no_site(answer: dict[str, Any], site: str) -> dict[str, Any]:
    """The answer without the warning that nothing is known of the site, which has to be there."""
    told = [warning for warning in answer["warnings"] if f"known yet of site {site!r}" in warning]
    assert len(told) == 1, answer["warnings"]
    return answer | {"warnings": [warning for warning in answer["warnings"] if warning not in told]}


def width(answer: dict[str, Any]) -> float:
    """p90 over p10 of the step."""
    step = answer["step_seconds"]
    return float(step["p90"] / step["p10"])


def runs(seconds_per_step: float, count: int) -> list[dict[str, Any]]:
    """So many of a site's runs, of several batch sizes, as slow in proportion, a twentieth of scatter to either side.

    Args:
        seconds_per_step: the middle of those at the question's batch size.
        count: how many.
    """
    return [
        {
            "provenance.source": "our runs",
            "model.name": "resnet-50",
            "data.image_size": 224,
            "hardware.accelerator": "V100-SXM2-16GB",
            "hardware.count": 1,
            "training.precision": "fp16",
            "training.global_batch": 32 * (1 + number % 4),
            "training.micro_batch": 32 * (1 + number % 4),
            "training.recompute": "none",
            "result.value": seconds_per_step * (1 + number % 4) / 2 * (1 + 0.1 * (number / (count - 1) - 0.5)),
            "result.unit": "seconds_per_step",
        }
        for number in range(count)
    ]


def slow_team(client: httpx.Client, database: str, name: str) -> tuple[dict[str, str], list[str], dict[str, Any]]:
    """A team that has submitted 20 private runs: its key, their ids, and its estimate now."""
    key, _ = make_key(database, name)
    before = ask(client, key)
    assert before["evidence"]["site_version"] is None
    ids = []
    for run in runs(before["step_seconds"]["p50"] * SLOWER, 20):
        answer = client.post("/v1/measurements", json=nest(run) | {"visibility": "team"}, headers=key)
        assert answer.status_code == 201, answer.text
        ids.append(answer.json()["id"])
    answers: list[dict[str, Any]] = []

    def learned() -> bool:
        answers.append(ask(client, key))
        return answers[-1]["evidence"]["site_version"] is not None

    wait_until(learned, "the team's rows are learned")
    return key, ids, answers[-1]


def test_after_twenty_submissions_a_team_sees_its_predictions_tighten(client: httpx.Client, database: str) -> None:
    before = ask(client)
    _, ids, after = slow_team(client, database, "tightening")
    assert width(after) < 0.75 * width(before)
    measured = before["step_seconds"]["p50"] * SLOWER
    assert after["step_seconds"]["p10"] < measured < after["step_seconds"]["p90"]
    assert abs(after["step_seconds"]["p50"] / measured - 1) < 0.1
    nearest = after["evidence"]["nearest"]
    assert nearest[0]["id"] in ids
    assert after["evidence"]["grade"] == "measured"
    assert [near["distance"] for near in nearest] == sorted(near["distance"] for near in nearest)


def test_nobody_else_sees_any_of_it(client: httpx.Client, database: str) -> None:
    before = ask(client)
    _, ids, _ = slow_team(client, database, "discreet")
    stranger, _ = make_key(database, "stranger")
    for key in (None, stranger):
        answer = ask(client, key)
        assert answer == of_no_site(ask(client, key, site="discreet"), "discreet") == before
        assert not {near["id"] for near in answer["evidence"]["nearest"]} & set(ids)


def test_an_estimate_saved_with_a_key_is_shown_to_its_team_alone(client: httpx.Client, database: str) -> None:
    key, _, _ = slow_team(client, database, "keeper")
    stranger, _ = make_key(database, "nosy")
    path = f"/v1/estimates/{ask(client, key, save=True)['id']}"
    assert client.get(path, headers=key).is_success
    assert client.get(path, headers=stranger).status_code == client.get(path).status_code == 404


def test_a_site_of_the_team_is_learned_from_its_own_runs_alone(client: httpx.Client, database: str) -> None:
    key, _, _ = slow_team(client, database, "two sites")
    _, team_id = make_key(database, "two sites")
    base = ask(client)["step_seconds"]["p50"]
    submit(database, runs(base / SLOWER, 20), team_id=team_id, site="fast one")
    wait_until(lambda: ask(client, key, site="fast one")["evidence"]["site_version"] is not None, "it is learned")
    fast = ask(client, key, site="fast one")
    assert fast["step_seconds"]["p50"] < base
    assert not any("site" in warning for warning in fast["warnings"])
    unheard_of = ask(client, key, site="unheard of")
    assert unheard_of["evidence"]["site_version"] is None
    assert unheard_of["step_seconds"]["p50"] == base
    assert of_no_site(unheard_of, "unheard of")["warnings"] == fast["warnings"]


def test_a_run_whose_layout_nobody_stated_is_the_one_that_is_asked_about(client: httpx.Client, database: str) -> None:
    run: dict[str, Any] = {
        "model": {"name": "gpt-2-1.5b"},
        "data": {"sequence_length": 1024},
        "hardware": {"accelerator": "A100-SXM4-40GB", "count": 16},
        "training": {"precision": "bf16", "global_batch": 512},
    }
    key, _ = make_key(database, "open layouts")
    before = ask(client, key, **run)["throughput"]["samples_per_second"]["p50"]
    result = {"value": 0.5 * before, "unit": "samples_per_second"}
    measured = {**run, "provenance": {"source": "our runs"}, "result": result, "visibility": "team"}
    assert client.post("/v1/measurements", json=measured, headers=key).status_code == 201
    wait_until(lambda: ask(client, key, **run)["evidence"]["site_version"] is not None, "the run is learned")
    after = ask(client, key, **run)
    (nearest, *_) = after["evidence"]["nearest"]
    assert (nearest["distance"], nearest["measured"]) == (0.0, pytest.approx(0.5 * before, rel=1e-3))
    assert after["throughput"]["samples_per_second"]["p50"] < 0.75 * before


def test_a_team_sees_its_sites_and_what_they_taught(client: httpx.Client, database: str) -> None:
    key, ids, _ = slow_team(client, database, "surveyors")
    _, team_id = make_key(database, "surveyors")
    submit(database, runs(ask(client)["step_seconds"]["p50"] / SLOWER, 5), team_id=team_id, site="hall/2")
    listed = client.get("/v1/sites", headers=key).json()
    assert listed == {"team": "surveyors", "items": [{"site": "hall/2", "rows": 5}, {"site": "surveyors", "rows": 20}]}
    fast = client.get("/v1/sites/hall/2", headers=key).json()
    assert fast["time_ratio"]["p10"] < fast["time_ratio"]["p50"] < 1
    assert client.get("/v1/sites/surveyors", headers=key).json()["rows"] == 25
    assert client.get(f"/v1/measurements/{ids[0]}", headers=key).json()["site"] == "surveyors"
    stranger, _ = make_key(database, "onlooker")
    assert client.get("/v1/sites", headers=stranger).json()["items"] == []
    assert client.get("/v1/sites/hall/2", headers=stranger).status_code == 404
    assert client.get("/v1/sites").status_code == 401


def test_withdrawn_runs_are_forgotten(client: httpx.Client, database: str) -> None:
    base = ask(client)
    key, team_id = make_key(database, "regretful")
    submit(database, runs(9.9, 20), team_id=team_id, site="regretful", status="withdrawn")
    submit(database, runs(9.9, 20), team_id=team_id, site="regretful", status="rejected")
    assert ask(client, key) == base


def test_each_line_of_a_batch_is_predicted_for_its_site(client: httpx.Client, database: str) -> None:
    key, _, alone = slow_team(client, database, "batching")
    lines = [QUESTION, QUESTION | {"site": "unheard of"}, QUESTION | {"site": "mxnet-perf-faq"}]
    answers = client.post("/v1/estimates/batch", json=lines, headers=key).json()
    assert answers[0]["step_seconds"] == alone["step_seconds"]
    assert of_no_site(answers[1], "unheard of") == ask(client)
    assert answers[2] == ask(client, site="mxnet-perf-faq")
    body = "\n".join(httpx.Request("POST", "http://x", json=line).content.decode() for line in lines)
    content = {"content-type": "application/x-ndjson"}
    streamed = client.post("/v1/estimates/batch", content=body, headers=key | content).text.splitlines()
    assert len(streamed) == len(lines)


def test_a_source_that_ships_is_a_site_that_everybody_may_ask_for(client: httpx.Client) -> None:
    answer = ask(client, site="mxnet-perf-faq")
    assert answer["evidence"]["site_version"] is not None
    assert width(answer) < width(ask(client))


@pytest.mark.slow_on("sqlite")  # whose pool is larger
def test_a_site_is_told_to_more_callers_than_the_pool_has_connections(seeded_database: str) -> None:
    key, team_id = make_key(seeded_database, "many callers")
    submit(seeded_database, runs(0.5, 2), team_id=team_id, site="many callers")
    app = create_app(Settings(database_url=seeded_database, database_pool=2))
    paths = ["/v1/sites/many callers", "/v1/sites"] * 12
    with serving(app) as url, httpx.Client(base_url=url, timeout=60) as http, ThreadPoolExecutor(12) as callers:
        answers = list(callers.map(lambda path: http.get(path, headers=key).status_code, paths))
    assert answers == [200] * len(paths)
