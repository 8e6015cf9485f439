"""Callers that ask at the same time share a table, what was reckoned a moment ago is not reckoned anew, and each gets
its own answer all the same."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import orjson
import pytest

from service.catalog.catalog import load_catalog
from service.engine.forecast import Forecaster
from service.estimates.batch import written
from service.estimates.examples import EXAMPLES
from service.estimates.schemas import EstimateRequest
from service.estimates.service import compute_many
from service.seed import CALIBRATION
from service.sites.remembered import Remembered
from service.sites.standpoint import Standpoint
from tests.estimates.test_batch import assert_same

GOOD: list[dict[str, Any]] = [example["value"] for example in EXAMPLES.values()]
NO_CHIP: dict[str, Any] = {**GOOD[0], "hardware": {"accelerator": "H1000"}}


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    return Forecaster.load(CALIBRATION)


def anew(request: dict[str, Any], forecaster: Forecaster) -> Any:
    """The estimate by somebody who was never asked before."""
    computed = compute_many([EstimateRequest.model_validate(request)], load_catalog(), Standpoint(forecaster))
    return orjson.loads(written(next(computed.documents())))


def predicted(client: httpx.Client) -> float:
    """Predictions that the service has counted."""
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("traincast_predictions_total"))


def test_who_asks_at_once_is_answered_as_alone(client: httpx.Client, forecaster: Forecaster) -> None:
    asked = [{**request, "runs": runs} for runs in (1, 2) for request in [*GOOD, NO_CHIP]]
    with ThreadPoolExecutor(len(asked)) as callers:
        answers = list(callers.map(lambda request: client.post("/v1/estimates", json=request), asked))
    for request, answer in zip(asked, answers, strict=True):
        if request["hardware"] is NO_CHIP["hardware"]:
            assert answer.status_code == 422
            assert [error["field"] for error in answer.json()["errors"]] == ["hardware.accelerator"]
        else:
            assert answer.status_code == 200
            assert_same(answer.json(), anew(request, forecaster))


def test_a_step_that_was_asked_about_is_answered_anew_for_other_data(
    client: httpx.Client, forecaster: Forecaster
) -> None:
    for tokens in (1e10, 3e10):
        request = {**GOOD[0], "data": {**GOOD[0]["data"], "tokens": tokens}}
        assert_same(client.post("/v1/estimates", json=request).json(), anew(request, forecaster))


def test_the_same_words_have_the_same_answer_and_count_as_asked(client: httpx.Client) -> None:
    before = predicted(client)
    first, again = (client.post("/v1/estimates", json=GOOD[1]) for _ in range(2))
    some = client.post("/v1/estimates", json=GOOD[1], params={"fields": "step_seconds"}).json()
    assert first.content == again.content
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    assert some == {"step_seconds": first.json()["step_seconds"]}
    assert predicted(client) == before + 3


def test_what_was_not_asked_for_longest_makes_room() -> None:
    remembered: Remembered[str] = Remembered(2)
    asked: list[list[int]] = []

    def found(rows: list[int]) -> list[str]:
        asked.append(rows)
        return [f"answer {row}" for row in rows]

    assert remembered.of(["a", "b", "a"], found) == ["answer 0", "answer 1", "answer 0"]
    assert remembered.of(["a", "c"], found) == ["answer 0", "answer 1"]
    assert (remembered.get("a"), remembered.get("b")) == ("answer 0", None)
    assert asked == [[0, 1], [1]]
