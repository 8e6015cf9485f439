"""Estimates are written as their schema says, whole or in those members alone that somebody asks for."""

import json
import math
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.catalog.catalog import load_catalog
from service.engine.forecast import Forecaster
from service.estimates.batch import written
from service.estimates.columns import AT_ONCE, WHOLE
from service.estimates.examples import EXAMPLES
from service.estimates.members import FIELDS, chosen_fields
from service.estimates.quantities import rounded, significant
from service.estimates.schemas import Estimate, EstimateRequest
from service.estimates.service import Computed, compute_many
from service.problems import Unprocessable
from service.seed import CALIBRATION
from service.sites.standpoint import Standpoint
from tests.estimates.test_batch import NDJSON, assert_same, lines

GOOD: list[dict[str, Any]] = [case["value"] for case in EXAMPLES.values()]
VARIED: list[dict[str, Any]] = [
    *GOOD,
    {"model": {"name": "bert-large"}, "hardware": {"accelerator": "T4"}},  # no amount of data
    {**GOOD[0], "hardware": {"accelerator": "K40", "count": 7}},  # no price, no fit
    {**GOOD[0], "hardware": {"accelerator": "V100-SXM2-32GB", "count": 20_000}, "goodput": {"share": 0.9}},
    {**GOOD[4], "training": {"precision": "bf16", "global_batch": 4, "micro_batch": 1}},  # past strong scaling
    {**GOOD[4], "goodput": {"checkpoint_interval_hours": 2, "failures_per_accelerator_hour": 1e-3}, "runs": 3},
    {**GOOD[3], "location": {"watts_per_accelerator": 400, "pue": 1.1, "embodied_kg_co2e_per_accelerator": 0}},
    {"model": {"family": "decoder"}, "target_loss": 2.1, "hardware": {"accelerator": "H100-SXM5-80GB", "count": 64}},
]
SCHEMA = list(Estimate.model_fields)


@pytest.fixture(scope="module")
def standpoint() -> Standpoint:
    """A new site's, with the calibration that ships."""
    return Standpoint(Forecaster.load(CALIBRATION))


@pytest.fixture(scope="module")
def computed(standpoint: Standpoint) -> Computed:
    """More varied runs than documents are made of at once."""
    requests = [EstimateRequest.model_validate(VARIED[index % len(VARIED)]) for index in range(AT_ONCE + 30)]
    return compute_many(requests, load_catalog(), standpoint)


def at(document: Any, path: str) -> Any:
    for name in path.split("."):
        if document is None:
            return None
        document = document[name]
    return document


def test_a_document_is_what_its_schema_writes(computed: Computed) -> None:
    found = 0
    for document in computed.documents():
        assert written(document) == Estimate.model_validate(document).model_dump_json().encode()
        assert list(document) == SCHEMA
        found += 1
    assert found == len(computed.computed) > AT_ONCE


def test_every_member_can_be_asked_for_alone(computed: Computed) -> None:
    whole = list(computed.documents())
    for field in FIELDS:
        for document, complete in zip(computed.documents(chosen_fields(field)), whole, strict=True):
            assert list(document) == [field.partition(".")[0]]
            assert at(document, field) == at(complete, field)


def test_members_come_in_the_order_of_an_estimate_whatever_the_order_asked(computed: Computed) -> None:
    asked = "evidence.grade, throughput.samples_per_second,duration_hours,throughput.per_accelerator"
    document = next(computed.documents(chosen_fields(asked)))
    assert list(document) == ["throughput", "duration_hours", "evidence"]
    assert list(document["throughput"]) == ["samples_per_second", "per_accelerator"]
    assert list(document["evidence"]) == ["grade"]


def test_a_whole_member_wins_over_a_part_of_it(computed: Computed) -> None:
    document = next(computed.documents(chosen_fields("memory.fits,memory")))
    assert document == {"memory": next(computed.documents())["memory"]}


def test_what_is_not_asked_for_is_not_computed(standpoint: Standpoint) -> None:
    misfit = EstimateRequest.model_validate(VARIED[6])
    alone = compute_many([misfit], load_catalog(), standpoint)
    (document,) = alone.documents(chosen_fields("memory.fits"))
    assert document == {"memory": {"fits": False}}
    assert not {"course", "energy", "remedies"} & vars(alone.runs).keys()
    next(alone.documents(chosen_fields("warnings")))
    assert "remedies" in vars(alone.runs)
    assert "energy" not in vars(alone.runs)


@pytest.mark.parametrize("asked", ["duration", "nodes", "throughput.samples", "", "duration_hours,", "cost_usd.p50"])
def test_an_unknown_member_is_refused_with_those_there_are(asked: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        chosen_fields(asked)
    (error,) = refused.value.errors
    assert error.field == "fields"
    assert error.hint is not None
    assert all(field in error.hint for field in FIELDS)


def test_fields_may_be_repeated(client: httpx.Client) -> None:
    answer = client.post("/v1/estimates", params={"fields": ["mfu", "memory.fits,warnings"]}, json=GOOD[1])
    assert set(answer.json()) == {"mfu", "memory", "warnings"}


def test_fields_over_http(client: httpx.Client) -> None:
    asked = {"fields": "duration_hours,throughput.samples_per_second,memory.fits"}
    whole = client.post("/v1/estimates", json=GOOD[1]).json()
    expected = {
        "throughput": {"samples_per_second": whole["throughput"]["samples_per_second"]},
        "duration_hours": whole["duration_hours"],
        "memory": {"fits": whole["memory"]["fits"]},
    }
    assert_same(client.post("/v1/estimates", params=asked, json=GOOD[1]).json(), expected)
    bad = {**GOOD[1], "typo": 1}
    listed = client.post("/v1/estimates/batch", params=asked, json=[GOOD[1], bad]).json()
    streamed = client.post("/v1/estimates/batch", params=asked, content=lines([GOOD[1], bad]), headers=NDJSON)
    for answers in (listed, [json.loads(line) for line in streamed.text.splitlines()]):
        assert_same(answers[0], expected)
        assert answers[1]["status"] == 422
    for path in ("/v1/estimates", "/v1/estimates/batch"):
        refused = client.post(path, params={"fields": "duration_hours,speed"}, json=GOOD[1])
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json()["errors"]] == ["fields"]
        assert "throughput.samples_per_second" in refused.json()["errors"][0]["hint"]


def test_what_is_saved_is_whole(client: httpx.Client) -> None:
    refused = client.post("/v1/estimates", params={"fields": "duration_hours"}, json={**GOOD[1], "save": True})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "fields"
    saved = client.post("/v1/estimates", json={**GOOD[1], "save": True})
    assert saved.status_code == 201
    again = client.get(saved.headers["location"]).json()
    assert {name: value for name, value in again.items() if name != "request"} == saved.json()
    assert list(saved.json()) == SCHEMA


@given(st.lists(st.floats(allow_subnormal=True), min_size=1, max_size=50))
@example([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7e308, 1234567.5, 1234568.5, 9.9999995e-17, 9999999.5])
@example([10.0**power for power in range(-300, 300)])
@example([math.nextafter(10.0**power, 0.0) for power in range(-300, 300)])
@example([0.12345675 * 10.0**power for power in range(-30, 30)])
def test_numbers_are_rounded_together_as_each_alone(values: list[float]) -> None:
    together = significant(np.array(values)).tolist()
    assert orjson.dumps(together) == orjson.dumps([rounded(value) for value in values])
    for one, other in zip(together, values, strict=True):
        assert math.copysign(1.0, one) == math.copysign(1.0, other) or math.isnan(other)


def test_the_whole_is_all_members() -> None:
    assert chosen_fields(",".join(SCHEMA)) == {(name,) for name in SCHEMA}
    assert tuple(WHOLE) == ((),)
