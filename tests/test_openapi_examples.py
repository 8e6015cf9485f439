"""What the API's documentation shows can be sent as it stands, and what it promises is what comes."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from service.app import create_app
from service.settings import Settings
from tests.conftest import Databases, Team, serving
from tests.replicas import keep_only


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The API's description."""
    described: dict[str, Any] = create_app().openapi()
    return described


@pytest.fixture
def few(databases: Databases) -> Iterator[Team]:
    """A team at a service that holds few measurements: one of the examples has a calibration fitted."""
    url = databases.seeded()
    keep_only(url, ["megatron-lm-repo", "mxnet-perf-faq"])
    with serving(create_app(Settings(database_url=url))) as address:
        team = Team(address, url, "readers", "submit", "curate", "calibrate", "admin")
        with team.http:
            yield team


def validate(document: dict[str, Any], schema: dict[str, Any], body: Any) -> None:
    whole = {**schema, "components": document["components"]}
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(whole).iter_errors(body)]
    assert not errors, errors[:5]


def test_every_operation_is_explained(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), (method, path)
            assert operation.get("description"), (method, path)
            assert operation.get("tags"), (method, path)
            for parameter in operation.get("parameters", []):
                assert parameter.get("description"), (method, path, parameter["name"])


def test_every_field_is_described(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field, about in schema.get("properties", {}).items():
            assert about.get("description") or "$ref" in about, (name, field)


def test_operations_are_grouped_and_each_group_is_explained(document: dict[str, Any]) -> None:
    explained = {tag["name"]: tag["description"] for tag in document["tags"]}
    used = {tag for operations in document["paths"].values() for one in operations.values() for tag in one["tags"]}
    assert used == set(explained), "say in service/openapi.py what each group is for"


def test_every_field_and_parameter_has_an_example(document: dict[str, Any]) -> None:
    shown = r'"(examples?|enum|const|\$ref|default": (?!null)|type": "boolean)'
    lacking = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, about in schema.get("properties", {}).items()
        if not re.search(shown, json.dumps(about))
    ]
    lacking += [
        f"{method} {path} {parameter['name']}"
        for path, method, operation in _operations(document)
        for parameter in operation.get("parameters", [])
        if not re.search(shown, json.dumps(parameter["schema"]))
    ]
    assert not lacking


def test_a_key_can_be_sent_with_every_call_and_must_be_where_that_says_so(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"] == {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key, from `traincast keys create`."}
    }
    needs = {path: one["security"] for path, method, one in _operations(document) if path.startswith("/v1/")}
    assert needs["/v1/audit"] == [{"key": []}]
    assert needs["/v1/estimates"] == [{}, {"key": []}]


def test_every_example_address_leads_somewhere(client: httpx.Client, document: dict[str, Any]) -> None:
    made = {"estimate_id", "site", "version"}  # at run time, so that their examples only show their form
    for path, method, operation in _operations(document):
        given = {one["name"]: one["example"] for one in operation.get("parameters", []) if one["in"] == "path"}
        if method == "get" and given and not made & set(given):
            answer = client.get(path.format(**given))
            assert answer.status_code == 200, (path, given, answer.text)
            validate(document, operation["responses"]["200"]["content"]["application/json"]["schema"], answer.json())


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield path, method, operation


def test_every_example_body_is_answered_as_the_document_promises(few: Team, document: dict[str, Any]) -> None:
    sent = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for content, body in operation.get("requestBody", {}).get("content", {}).items():
                examples = [example["value"] for example in body.get("examples", {}).values()]
                examples += [body["example"]] if "example" in body else []
                for example in examples:
                    as_json = content == "application/json"
                    answer = few.http.request(
                        method,
                        path,
                        json=example if as_json else None,
                        content=None if as_json else example.encode(),
                        headers={} if as_json else {"content-type": content},
                    )
                    assert answer.is_success, (path, example, answer.text)
                    sent += 1
                    if as_json:
                        promised = operation["responses"][str(answer.status_code)]["content"]["application/json"]
                        validate(document, promised["schema"], answer.json())
    assert sent >= 8


@pytest.mark.parametrize(
    "path",
    [
        "/v1/accelerators", "/v1/models", "/v1/datasets", "/v1/interconnects", "/v1/prices", "/v1/grids", "/v1/sources",
        "/v1/measurements", "/v1/calibrations/current",
    ],
)  # fmt: skip
def test_what_is_read_is_as_the_document_promises(client: httpx.Client, document: dict[str, Any], path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    promised = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    validate(document, promised, answer.json())
