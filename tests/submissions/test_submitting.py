"""One measurement over HTTP: stored once, vetted, answered the same again."""

import itertools
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.conftest import Team, serving
from tests.submissions.samples import USUAL_RATE, sample

PATH = "/v1/measurements"


def stored(answer: httpx.Response, status: int = 201) -> dict[str, Any]:
    """The measurement of an answer."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{PATH}/{body['id']}"
    return body


def test_what_is_as_forecast_is_accepted_and_found_again(ours: Team, anybody: httpx.Client) -> None:
    submitted = sample()
    made = stored(ours.http.post(PATH, json=submitted))
    assert (made["status"], made["visibility"]) == ("accepted", "shared")
    found = anybody.get(f"{PATH}/{made['id']}").json()
    for section in ("model", "data", "hardware", "training", "result", "provenance"):
        assert found[section] == submitted[section]
    assert found["residual"]["measured"] == USUAL_RATE


def test_sources_of_shared_rows_are_listed_and_counted_apart_from_what_ships(ours: Team, anybody: httpx.Client) -> None:
    def listed(name: str) -> dict[str, Any]:
        page = anybody.get("/v1/sources", params={"limit": 1000}).json()["items"]
        return next((source for source in page if source["name"] == name), {})

    submitted = sample()
    ours.http.post(PATH, json=submitted).raise_for_status()
    made = listed(submitted["provenance"]["source"])
    assert (made["rows"], made["submitted_rows"]) == (1, 1)
    before = listed("mxnet-perf-faq")
    ours.http.post(PATH, json=sample(9801.0, provenance={"source": "mxnet-perf-faq"})).raise_for_status()
    after = listed("mxnet-perf-faq")
    assert after["submitted_rows"] == before["submitted_rows"] + 1
    assert after["rows"] - after["submitted_rows"] == before["rows"] - before["submitted_rows"] > 0


def test_impossible_speed_is_refused_with_the_arithmetic(ours: Team) -> None:
    answer = ours.http.post(PATH, json=sample(USUAL_RATE * 15))
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert "8 x V100-SXM2-16GB at fp16 peak at 8 x 125 = 1000 TFLOP/s" in detail
    assert "147000 samples_per_second" in detail
    assert "2.5 times" in detail
    assert answer.json()["errors"][0]["field"] == "result.value"
    assert answer.json()["errors"][0]["hint"]


@pytest.mark.parametrize(
    ("family", "packing", "times", "status"),
    [
        ("decoder", None, 1.1, 201),
        ("decoder", None, 1.3, 422),
        ("decoder", "packed", 2.3, 201),
        ("decoder", "packed", 2.5, 422),
    ],
)
def test_the_bounds_of_what_can_be_are_those_promised(
    ours: Team, family: str, packing: str | None, times: float, status: int
) -> None:
    """Model FLOP/s so many times the peak of an A100, 312 TFLOP/s; attention, which the convention counts whole, is
    made small by short sequences."""
    data: dict[str, Any] = {"sequence_length": 128} | ({"packing": packing} if packing else {})
    answer = ours.http.post(
        PATH,
        json=sample(
            model={"family": family, "layers": 32, "hidden_size": 8192, "vocab_size": 1000, "name": "made-up"},
            data=data,
            hardware={"accelerator": "A100-SXM4-80GB", "count": 1},
            training={"precision": "bf16", "global_batch": 64},
            result={"value": 312 * times, "unit": "model_tflops_per_accelerator"},
        ),
    )
    assert answer.status_code == status, answer.text
    if status == 201:
        assert answer.json()["status"] == "quarantined"
        bound = 2.4 if packing else 1.2
        assert f"times the peak; up to {bound} times may come from" in answer.json()["status_reason"]


def test_more_memory_than_the_chip_has_is_refused(ours: Team) -> None:
    speed = {"value": USUAL_RATE, "unit": "samples_per_second"}
    stored(ours.http.post(PATH, json=sample(result=speed | {"peak_memory_gb": 17.1})))
    answer = ours.http.post(PATH, json=sample(result=speed | {"peak_memory_gb": 27.5}))
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "result.peak_memory_gb"
    assert "27.5 GB, and one V100-SXM2-16GB has 16 GB" in error["message"]


def test_what_stands_on_an_assumption_is_kept_aside_instead_of_refused(ours: Team) -> None:
    """Without a count one accelerator is assumed, which these samples a second cannot come from."""
    chip = {"accelerator": "V100-SXM2-16GB"}
    answer = ours.http.post(PATH, json=sample(USUAL_RATE * 9, hardware=chip))
    made = stored(answer)
    assert made["status"] == "quarantined"
    assert "hardware.count = 1 was assumed" in made["status_reason"]


def test_what_no_assumption_explains_is_refused_with_the_arithmetic(ours: Team) -> None:
    """Sequence length and precision are left unsaid, and none of either explains it."""
    bert = {"model": {"name": "bert-large"}, "hardware": {"accelerator": "A100-SXM4-80GB", "count": 8}}
    bert["result"] = {"value": 8e9, "unit": "samples_per_second"}
    answer = ours.http.post(PATH, json=bert)
    assert answer.status_code == 422, answer.text
    detail = answer.json()["detail"]
    assert "8e+09 samples_per_second x " in detail
    assert "whatever is true of what was left unsaid (data.sequence_length, training.precision)" in detail


def test_what_is_far_off_the_forecast_is_kept_aside_with_the_reason(ours: Team) -> None:
    model = {"name": f"slow-{ours.name}", "family": "cnn", "forward_gmacs": 4.1, "activations": 11e6}
    made = stored(ours.http.post(PATH, json=sample(USUAL_RATE / 12, model=model)))
    assert made["status"] == "quarantined"
    assert "times slower than forecast" in made["status_reason"]


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (USUAL_RATE / 8, "samples_per_second_per_accelerator"),
        (2048 / USUAL_RATE, "seconds_per_step"),
        (2048 / USUAL_RATE * 1000, "milliseconds_per_step"),
        (0.24, "mfu"),
        (30, "model_tflops_per_accelerator"),
    ],
)
def test_any_unit_will_do(ours: Team, value: float, unit: str) -> None:
    made = stored(ours.http.post(PATH, json=sample(result={"value": value, "unit": unit})))
    assert (made["status"], made["result"]["unit"]) == ("accepted", unit)


def test_little_need_be_known(ours: Team) -> None:
    made = stored(
        ours.http.post(
            PATH,
            json={
                "model": {"name": "resnet-50"},
                "hardware": {"accelerator": "T4"},
                "result": {"value": 311, "unit": "samples_per_second"},
            },
        )
    )
    assert made["status"] == "accepted"
    assert "training" not in made


def test_what_cannot_be_compared_is_kept_aside(ours: Team) -> None:
    made = stored(ours.http.post(PATH, json=sample(data={}, result={"value": 3, "unit": "hours"})))
    assert made["status"] == "quarantined"
    assert "data.samples" in made["status_reason"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hardware": {"accelerator": "V1000"}}, "hardware.accelerator"),
        ({"result": {"value": 1}}, "body"),
        ({"estimate_id": "e_unknown"}, "estimate_id"),
        ({"modell": {}}, "modell"),
        ({"model": {"huggingface_config": {"a": "\0"}}}, "model.huggingface_config"),
        ({"provenance": {"measured_on": "2023-13-45"}}, "provenance.measured_on"),
        ({"provenance": {"measured_on": "2023-02-29"}}, "provenance.measured_on"),
        ({"provenance": {"measured_on": "2999-05"}}, "provenance.measured_on"),
    ],
)
def test_what_is_wrong_is_named(ours: Team, change: dict[str, Any], field: str) -> None:
    answer = ours.http.post(PATH, json=sample(**change))
    assert answer.status_code == 422
    assert field in {error["field"] or "body" for error in answer.json()["errors"]}


@pytest.mark.parametrize("day", ["2023", "2024-02", "2024-02-29", "today"])
def test_a_day_a_month_or_a_year_will_do(ours: Team, day: str) -> None:
    day = datetime.now(UTC).date().isoformat() if day == "today" else day
    submitted = sample()
    submitted["provenance"]["measured_on"] = day
    assert stored(ours.http.post(PATH, json=submitted))["provenance"]["measured_on"] == day


def test_a_deeply_nested_body_is_refused(ours: Team) -> None:
    nested = '{"a":' * 500 + "1" + "}" * 500
    body = (
        '{"model": {"huggingface_config": '
        + nested
        + '}, "hardware": {"accelerator": "T4"}, "result": {"value": 1, "unit": "mfu"}}'
    )
    answer = ours.http.post(PATH, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "model.huggingface_config"


def test_the_same_again_is_the_same_row_whatever_its_notes_say(ours: Team, theirs: Team) -> None:
    submitted = sample()
    first = stored(ours.http.post(PATH, json=submitted))
    again = stored(
        ours.http.post(PATH, json=submitted | {"provenance": submitted["provenance"] | {"notes": "again"}}), 200
    )
    assert (again["id"], again["duplicate"]) == (first["id"], True)
    assert stored(theirs.http.post(PATH, json=submitted))["id"] != first["id"]


def test_that_a_duplicate_keeps_its_visibility_is_said(ours: Team, anybody: httpx.Client) -> None:
    submitted = sample()
    first = stored(ours.http.post(PATH, json=submitted | {"visibility": "team"}))
    again = stored(ours.http.post(PATH, json=submitted), 200)
    assert again["visibility"] == "team"
    assert again["warnings"][0].startswith("visibility stays 'team'")
    assert f"DELETE {PATH}/{first['id']}" in again["warnings"][0]
    assert "warnings" not in stored(ours.http.post(PATH, json=submitted | {"visibility": "team"}), 200)
    line = httpx.Request("POST", "http://x", json=submitted).content
    imported = ours.http.post(f"{PATH}/import", content=line, headers={"content-type": "application/x-ndjson"})
    assert imported.json()["items"][0]["reason"] == again["warnings"][0]
    assert anybody.get(f"{PATH}/{first['id']}").status_code == 404


def test_a_retry_is_answered_as_the_first_time(ours: Team) -> None:
    key, submitted = {"idempotency-key": "once"}, sample()
    first = ours.http.post(PATH, json=submitted, headers=key)
    again = ours.http.post(PATH, json=submitted, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["location"] == first.headers["location"]


@pytest.fixture
def other_replica(ours: Team, writable: tuple[str, str]) -> Iterator[httpx.Client]:
    """The same team at another replica on the same database."""
    replica = create_app(Settings(database_url=writable[1]))
    with serving(replica) as url, httpx.Client(base_url=url, headers=ours.http.headers, timeout=120) as http:
        yield http


def test_many_at_once_under_one_key_store_one_row(ours: Team, other_replica: httpx.Client) -> None:
    def at_once(key: str, rows: list[dict[str, Any]]) -> list[httpx.Response]:
        replicas = itertools.cycle((ours.http, other_replica))
        with ThreadPoolExecutor(len(rows)) as pool:
            sent = [pool.submit(next(replicas).post, PATH, json=row, headers={"idempotency-key": key}) for row in rows]
        return [answer.result() for answer in sent]

    retried, rivals = sample(), [sample() for _ in range(8)]
    answers = at_once("retried", [retried] * 8)
    assert {answer.status_code for answer in answers} == {201}
    assert all(answer.json() == answers[0].json() for answer in answers)
    assert Counter(answer.status_code for answer in at_once("contested", rivals)) == {201: 1, 409: 7}
    sources = [row["provenance"]["source"] for row in (retried, *rivals)]
    found = [ours.http.get(PATH, params={"provenance.source": source}).json()["items"] for source in sources]
    assert len(found[0]) == 1
    assert sum(len(rows) for rows in found[1:]) == 1


def test_a_used_key_with_another_body_is_a_conflict_but_not_another_teams(ours: Team, theirs: Team) -> None:
    key = {"idempotency-key": "twice"}
    ours.http.post(PATH, json=sample(), headers=key).raise_for_status()
    answer = ours.http.post(PATH, json=sample(), headers=key)
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["field"] == "header.idempotency-key"
    assert theirs.http.post(PATH, json=sample(), headers=key).status_code == 201


def test_a_saved_estimate_is_judged_by_the_run_it_predicted(ours: Team, theirs: Team) -> None:
    configuration = {name: part for name, part in sample().items() if name not in ("result", "provenance")}
    saved = ours.http.post("/v1/estimates", json=configuration | {"save": True}).json()
    middle = saved["throughput"]["samples_per_second"]["p50"]
    exactly = stored(ours.http.post(PATH, json=sample(middle, estimate_id=saved["id"])))
    slower = stored(ours.http.post(PATH, json=sample(middle / 1.5, estimate_id=saved["id"])))
    assert exactly["estimate_id"] == saved["id"]
    # How a team's own forecasts fare is not told to others, though the run is shared.
    seen = theirs.http.get(f"{PATH}/{exactly['id']}").json()
    assert (seen["estimate_id"], seen.get("forecast")) == (None, None)
    assert exactly["forecast"] == {"error_log": pytest.approx(0, abs=1e-3), "covered": True}
    assert slower["forecast"]["error_log"] == pytest.approx(-0.405, abs=1e-2)


def test_a_forecast_of_another_run_is_not_taken_for_this_ones(ours: Team) -> None:
    asked = {"model": {"name": "resnet50"}, "hardware": {"accelerator": "Tesla V100-SXM2-16GB"}, "save": True}
    saved = ours.http.post("/v1/estimates", json=asked).json()["id"]
    chip = {"accelerator": "V100-SXM2-16GB", "count": 1}
    stored(ours.http.post(PATH, json=sample(USUAL_RATE / 8, hardware=chip, estimate_id=saved)))
    more = ours.http.post(PATH, json=sample(estimate_id=saved))
    other = ours.http.post(PATH, json=sample(900, model={"forward_gmacs": 8}, hardware=chip, estimate_id=saved))
    assert (more.status_code, other.status_code) == (422, 422)
    (error,) = more.json()["errors"]
    assert error["field"] == "estimate_id"
    assert "hardware.count is 1 there and 8 here" in error["message"]
    assert "model.forward_gmacs" in other.json()["detail"]


def test_a_curator_decides(ours: Team, theirs: Team) -> None:
    model = {"name": f"doubted-{ours.name}", "family": "cnn", "forward_gmacs": 4.1, "activations": 11e6}
    made = stored(theirs.http.post(PATH, json=sample(USUAL_RATE / 12, model=model)))
    assert theirs.http.post(f"{PATH}/{made['id']}/accept").status_code == 403
    accepted = ours.http.post(f"{PATH}/{made['id']}/accept", json={"reason": "checked the log"}).json()
    assert (accepted["status"], accepted["status_reason"]) == ("accepted", "checked the log")
    assert ours.http.post(f"{PATH}/{made['id']}/reject").json()["status"] == "rejected"
    audit = ours.http.get("/v1/audit", params={"subject": made["id"]}).json()["items"]
    assert [entry["action"] for entry in audit] == ["measurement.reject", "measurement.accept", "measurement.submit"]
    assert audit[1]["detail"] == {"was": "quarantined", "reason": "checked the log"}
    assert all(entry["key_id"] and entry["at"] for entry in audit)


@pytest.mark.parametrize("taken_out", ["reject", "withdraw", "purge"])
def test_independent_teams_that_agree_lift_the_quarantine(
    ours: Team, theirs: Team, anybody: httpx.Client, taken_out: str
) -> None:
    """Models of each test's own, so that other tests' rows don't agree."""
    model = {"name": f"odd-{ours.name}-{taken_out}", "family": "cnn", "forward_gmacs": 4.1, "activations": 11e6}
    odd = {"model": model}
    first = stored(ours.http.post(PATH, json=sample(USUAL_RATE / 12, **odd)))
    second = stored(ours.http.post(PATH, json=sample(USUAL_RATE / 12.1, **odd)))
    assert first["status"] == second["status"] == "quarantined", "one team alone vouches for nothing"
    confirmed = stored(theirs.http.post(PATH, json=sample(USUAL_RATE / 11.5, **odd)))
    assert confirmed["status"] == "accepted"
    assert anybody.get(f"{PATH}/{first['id']}").json()["status"] == "accepted"
    apart = stored(theirs.http.post(PATH, json=sample(USUAL_RATE / 40, **odd)))
    assert apart["status"] == "quarantined"
    path = f"{PATH}/{confirmed['id']}"
    if taken_out == "withdraw":
        theirs.http.delete(path).raise_for_status()
    else:
        ours.http.post(f"{path}/{taken_out}", json={"reason": "asked for by its team"}).raise_for_status()
    again = anybody.get(f"{PATH}/{first['id']}").json()
    assert (again["status"], "counts no longer" in again["status_reason"]) == ("quarantined", True)


@pytest.mark.parametrize("value", [1e-8, USUAL_RATE * 9])
def test_what_cannot_be_is_lifted_by_no_agreement(ours: Team, theirs: Team, value: float) -> None:
    """Too slow for any run; and faster than the one accelerator that is assumed where none are counted."""
    run = {"model": {"name": f"odd-{ours.name}", "family": "cnn", "forward_gmacs": 4.1, "activations": 11e6}}
    run["hardware"] = {"accelerator": "V100-SXM2-16GB"}
    for team in (ours, theirs):
        made = stored(team.http.post(PATH, json=sample(value, **run)))
        assert made["status"] == "quarantined"
        assert "only a curator can vouch for it" in made["status_reason"]
    assert ours.http.post(f"{PATH}/{made['id']}/accept").json()["status"] == "accepted"


def test_a_withdrawn_row_stays_visible_and_may_come_again(ours: Team, theirs: Team, anybody: httpx.Client) -> None:
    submitted = sample()
    made = stored(ours.http.post(PATH, json=submitted))
    assert theirs.http.delete(f"{PATH}/{made['id']}").status_code == 403
    assert ours.http.delete(f"{PATH}/{made['id']}").json()["status"] == "withdrawn"
    assert anybody.get(f"{PATH}/{made['id']}").json()["status"] == "withdrawn"
    assert ours.http.post(f"{PATH}/{made['id']}/accept").status_code == 409
    assert stored(ours.http.post(PATH, json=submitted))["id"] != made["id"]


SECRET = "a-name-that-must-go"


def test_a_purge_leaves_nothing_but_its_trace(ours: Team, theirs: Team, writable: tuple[str, str]) -> None:
    submitted = sample(visibility="team")
    made = stored(theirs.http.post(PATH, json=submitted, headers={"idempotency-key": "p"}))
    assert theirs.http.post(f"{PATH}/{made['id']}/purge", json={"reason": "court order"}).status_code == 403
    assert ours.http.post(f"{PATH}/{made['id']}/purge", json={"reason": "court order"}).status_code == 204
    assert theirs.http.get(f"{PATH}/{made['id']}").status_code == 404
    entry = ours.http.get("/v1/audit", params={"subject": made["id"]}).json()["items"][0]
    assert (entry["action"], entry["detail"]) == ("measurement.purge", {"reason": "court order"})
    if writable[1].startswith("sqlite:///"):
        file = Path(writable[1].removeprefix("sqlite:///"))
        assert not any(SECRET.encode() in path.read_bytes() for path in file.parent.glob(f"{file.name}*"))
    # The stored first answer repeated the row, so that it went too.
    assert stored(theirs.http.post(PATH, json=submitted, headers={"idempotency-key": "p"}))["id"] != made["id"]
