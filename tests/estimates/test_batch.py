"""Many estimates in one call: in order, the same as one by one, and a bad one does not stop the rest."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.estimates.examples import EXAMPLES

NDJSON = {"content-type": "application/x-ndjson"}
GOOD: list[dict[str, Any]] = [example["value"] for example in EXAMPLES.values()]


def stream(client: httpx.Client, content: bytes | Iterator[bytes]) -> list[dict[str, Any]]:
    answer = client.post("/v1/estimates/batch", content=content, headers=NDJSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == NDJSON["content-type"]
    return [json.loads(line) for line in answer.text.splitlines()]


def lines(requests: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(request).encode() + b"\n" for request in requests)


def assert_same(one: Any, other: Any) -> None:
    """Equal but for the last digits: NumPy's sums differ by how many rows are computed at once."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_same(first, second)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-5)
    else:
        assert one == other


def test_a_list_and_a_stream_answer_as_one_by_one(client: httpx.Client) -> None:
    single = [client.post("/v1/estimates", json=request).json() for request in GOOD]
    listed = client.post("/v1/estimates/batch", json=GOOD)
    assert listed.status_code == 200
    for answers in (listed.json(), stream(client, lines(GOOD))):
        assert_same(answers, single)


def test_a_bad_request_gets_its_problem_and_the_rest_go_on(client: httpx.Client) -> None:
    bad = [
        {"model": {"name": "bert-large"}},
        {**GOOD[0], "typo": 1},
        {**GOOD[0], "hardware": {"accelerator": "H1000"}},
        7,
    ]
    asked = [bad[0], GOOD[1], bad[1], bad[2], GOOD[2], bad[3]]
    answers = client.post("/v1/estimates/batch", json=asked).json()
    assert [answer.get("status") for answer in answers] == [422, None, 422, 422, None, 422]
    assert answers[0]["errors"][0]["field"] == "hardware"
    assert answers[2]["errors"][0]["field"] == "typo"
    assert "H100" in answers[3]["errors"][0]["hint"]
    assert answers[1]["throughput"]
    assert [answer.get("line") for answer in answers] == [1, None, 3, 4, None, 6]


def test_a_line_that_is_no_json_gets_its_problem(client: httpx.Client) -> None:
    unknown = lines([{**GOOD[0], "hardware": {"accelerator": "H1000"}}])
    answers = stream(
        client, lines(GOOD[:1]) + b"\n{nonsense\n" + b"x" * 1_100_000 + b"\n \r\n" + lines(GOOD[1:2]) + unknown
    )
    assert [answer.get("status") for answer in answers] == [None, 400, 400, None, 422]
    assert [answer.get("line") for answer in answers] == [None, 3, 4, None, 7], "as the lines of the body are numbered"


def test_a_long_stream_is_answered_in_order(client: httpx.Client) -> None:
    count = 1_500

    def requests() -> Iterator[bytes]:
        for number in range(count):
            yield lines([{**GOOD[1], "hardware": {"accelerator": "V100-SXM2-16GB", "count": number % 7 + 1}}])

    answers = stream(client, requests())
    assert len(answers) == count
    by_count: dict[int, float] = {}
    for number, answer in enumerate(answers):
        speed = answer["throughput"]["samples_per_second"]["p50"] if "throughput" in answer else -1.0
        assert by_count.setdefault(number % 7 + 1, speed) == pytest.approx(speed, rel=1e-5)


def test_an_empty_stream_has_no_answers(client: httpx.Client) -> None:
    assert stream(client, b"") == []
    assert client.post("/v1/estimates/batch", json=[]).json() == []


def test_a_list_is_limited_and_says_how_to_send_more(client: httpx.Client) -> None:
    answer = client.post("/v1/estimates/batch", json=[GOOD[1]] * 1_001)
    assert answer.status_code == 413
    assert "x-ndjson" in answer.json()["detail"]


def test_what_is_no_list_is_refused(client: httpx.Client) -> None:
    assert client.post("/v1/estimates/batch", json=GOOD[0]).status_code == 422
    assert (
        client.post("/v1/estimates/batch", content=b"[", headers={"content-type": "application/json"}).status_code
        == 400
    )
    assert client.post("/v1/estimates/batch", content=b"a", headers={"content-type": "text/plain"}).status_code == 415
