"""Every error is a problem document that says what to do."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from service.metrics import Metrics
from service.middleware import RequestContext
from service.problems import Conflict, FieldError, Unauthorized, add_handlers
from tests.conftest import Team, serving


class Wheels(BaseModel):
    model_config = ConfigDict(extra="forbid")

    diameter: float = Field(gt=0)


class Bicycle(BaseModel):
    model_config = ConfigDict(extra="forbid")

    wheels: Wheels
    gears: list[int] = []


@pytest.fixture(scope="module")
def bicycles() -> Iterator[httpx.Client]:
    """A small service with this one's error handling."""
    app = FastAPI()
    app.add_middleware(RequestContext, metrics=Metrics())
    add_handlers(app)

    @app.post("/bicycles")
    def build(bicycle: Bicycle, copies: int = 1) -> Bicycle:
        return bicycle

    @app.get("/bicycles/{name}")
    def find(name: str) -> Bicycle:
        if name == "rusty":
            raise Conflict("It is rusty.", [FieldError(field="name", message="rusty", hint="oil it")])
        if name == "locked":
            raise Unauthorized("It is locked.", headers={"WWW-Authenticate": "Bearer"})
        raise RuntimeError("the chain fell off")

    with serving(app) as url, httpx.Client(base_url=url) as client:
        yield client


def problem(answer: httpx.Response, status: int) -> dict[str, object]:
    """The answer's problem document, checked for what all have."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = answer.json()
    assert document["status"] == status
    assert str(document["type"]).startswith("urn:traincast:problem:")
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


def test_a_problem_carries_its_fields_and_hints(bicycles: httpx.Client) -> None:
    document = problem(bicycles.get("/bicycles/rusty"), 409)
    assert document["detail"] == "It is rusty."
    assert document["errors"] == [{"field": "name", "message": "rusty", "hint": "oil it"}]


def test_a_problem_carries_its_headers(bicycles: httpx.Client) -> None:
    answer = bicycles.get("/bicycles/locked")
    problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_bug_is_answered_without_its_innards(bicycles: httpx.Client) -> None:
    # On a connection of its own: the server closes the one that a bug happened on.
    document = problem(httpx.get(bicycles.base_url.join("/bicycles/broken")), 500)
    assert "chain" not in str(document)


def test_an_unknown_path_is_a_problem(bicycles: httpx.Client) -> None:
    problem(bicycles.get("/tricycles"), 404)


def test_a_wrong_method_says_which_are_right(bicycles: httpx.Client) -> None:
    answer = bicycles.delete("/bicycles")
    problem(answer, 405)
    assert "POST" in answer.headers["allow"]


def test_broken_json_says_where(bicycles: httpx.Client) -> None:
    document = problem(
        bicycles.post("/bicycles", content=b'{"wheels": ', headers={"content-type": "application/json"}), 400
    )
    assert "not valid JSON" in str(document["detail"])


def test_json_without_its_content_type_says_which_to_send(bicycles: httpx.Client) -> None:
    document = problem(bicycles.post("/bicycles", content=b"{}"), 422)
    assert "application/json" in str(document["errors"])


@pytest.mark.parametrize(
    ("body", "field", "hint"),
    [
        ({"wheels": {"diametre": 700}}, "wheels.diametre", "did you mean 'diameter'?"),
        ({"wheels": {"colour": "red"}}, "wheels.colour", "/docs"),
        ({"wheel": {}}, "wheel", "did you mean 'wheels'?"),
        ({"gears": []}, "wheels", "wheels is required"),
        ({"wheels": {"diameter": 0}}, "wheels.diameter", ""),
        ({"wheels": {"diameter": 700}, "gears": [1, "two"]}, "gears[1]", ""),
    ],
)
def test_an_invalid_field_is_named_by_its_path(
    bicycles: httpx.Client, body: dict[str, object], field: str, hint: str
) -> None:
    document = problem(bicycles.post("/bicycles", json=body), 422)
    errors = document["errors"]
    assert isinstance(errors, list)
    found = next(error for error in errors if error["field"] == field)
    assert found["message"]
    assert hint in found.get("hint", "")


def test_an_invalid_parameter_says_that_it_is_one(bicycles: httpx.Client) -> None:
    document = problem(bicycles.post("/bicycles?copies=many", json={"wheels": {"diameter": 700}}), 422)
    assert "query.copies" in str(document["errors"])


def test_a_wrong_method_is_answered_with_all_that_there_are(client: httpx.Client) -> None:
    answer = client.put("/v1/calibrations")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"


def test_a_nul_character_in_an_address_names_nothing(ours: Team) -> None:
    for method, path in (
        ("GET", "/v1/estimates/%00"),
        ("GET", "/v1/measurements/m_%00"),
        ("DELETE", "/v1/measurements/%00"),
        ("POST", "/v1/measurements/%00/accept"),
        ("GET", "/v1/calibrations/%00"),
        ("GET", "/v1/sites/%00"),
        ("GET", "/assets/%00"),
    ):
        problem(ours.http.request(method, path), 404)


def test_a_nul_character_in_a_parameter_is_refused_with_its_name(ours: Team) -> None:
    for path, name, value in (
        ("/v1/audit", "subject", "%00"),
        ("/v1/sources", "cursor", "AA"),
        ("/v1/measurements", "source", "a%00b"),
        ("/v1/measurements/export", "model.name.contains", "a%00b"),
    ):
        refused = problem(ours.http.get(f"{path}?{name}={value}"), 422)
        assert refused["errors"][0]["field"] == name  # type: ignore[index]


def test_a_nul_character_in_a_body_is_refused_with_its_field(ours: Team) -> None:
    nul = "a\0b"
    run: dict[str, Any] = {"model": {"name": "resnet-50"}, "hardware": {"accelerator": "V100-SXM2-16GB", "count": 8}}
    measured = run | {"result": {"value": 9800, "unit": "samples_per_second"}}
    asked = run | {"save": True}
    for path, body, field in (
        ("/v1/measurements", measured | {"site": nul}, "site"),
        ("/v1/measurements", measured | {"provenance": {"notes": nul}}, "provenance.notes"),
        ("/v1/measurements/m_none/purge", {"reason": nul}, "reason"),
        ("/v1/measurements/m_none/reject", {"reason": nul}, "reason"),
        ("/v1/estimates", asked | {"pricing": {"provider": nul}}, "pricing.provider"),
        ("/v1/estimates", asked | {"pricing": {"region": nul}}, "pricing.region"),
        ("/v1/estimates", asked | {"location": {"region": nul}}, "location.region"),
    ):
        refused = problem(ours.http.post(path, json=body), 422)
        assert [error["field"] for error in refused["errors"]] == [field]  # type: ignore[attr-defined]
