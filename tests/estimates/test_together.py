"""Callers that ask at the same time share a table, and each gets its own answer."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from service.estimates.examples import EXAMPLES
from tests.estimates.test_batch import assert_same

GOOD: list[dict[str, Any]] = [example["value"] for example in EXAMPLES.values()]
NO_CHIP: dict[str, Any] = {**GOOD[0], "hardware": {"accelerator": "H1000"}}


def test_who_asks_at_once_is_answered_as_alone(client: httpx.Client) -> None:
    alone = [client.post("/v1/estimates", json=request).json() for request in GOOD]
    asked = [*GOOD, NO_CHIP] * 4
    with ThreadPoolExecutor(len(asked)) as callers:
        answers = list(callers.map(lambda request: client.post("/v1/estimates", json=request), asked))
    for request, answer in zip(asked, answers, strict=True):
        if request is NO_CHIP:
            assert answer.status_code == 422
            assert [error["field"] for error in answer.json()["errors"]] == ["hardware.accelerator"]
        else:
            assert answer.status_code == 200
            assert_same(answer.json(), alone[GOOD.index(request)])
