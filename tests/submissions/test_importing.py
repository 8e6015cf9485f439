"""Many measurements at once: streamed, reported row by row, each stored once, all or none if asked."""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.catalog.records import DATA
from service.client import AsyncTraincast, Traincast, TraincastError
from tests.conftest import Databases, Team, serving
from tests.submissions.samples import USUAL_RATE, sample

PATH = "/v1/measurements/import"
CSV = {"content-type": "text/csv"}
NDJSON = {"content-type": "application/x-ndjson"}
SHIPPED = (DATA / "measurements" / "megatron-sc21-paper.csv").read_bytes()


def lines(*rows: dict[str, Any]) -> bytes:
    """Rows as NDJSON."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def report(answer: httpx.Response) -> dict[str, Any]:
    """The report of an import that was answered."""
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert body["rows"] == sum(body[kind] for kind in ("accepted", "quarantined", "duplicate", "refused", "restored"))
    return body


def test_each_row_of_a_file_is_reported(ours: Team, anybody: httpx.Client) -> None:
    impossible, odd = sample(USUAL_RATE * 20), sample(USUAL_RATE / 12, visibility="team")
    same = sample()
    body = lines(same, impossible, odd, same, {"model": {"name": "x"}}) + b"not json\n"
    made = report(ours.http.post(PATH, content=body, headers=NDJSON))
    outcomes = [(item["row"], item["outcome"]) for item in made["items"]]
    assert outcomes == [
        (1, "accepted"), (2, "refused"), (3, "quarantined"), (4, "duplicate"), (5, "refused"), (6, "refused"),
    ]  # fmt: skip
    assert made["items"][3]["id"] == made["items"][0]["id"]
    assert "times the peak" in made["items"][1]["errors"][0]["message"]
    assert made["items"][4]["errors"][0]["field"] == "hardware.accelerator"
    assert anybody.get(f"/v1/measurements/{made['items'][0]['id']}").status_code == 200


def test_the_same_file_again_stores_nothing(ours: Team) -> None:
    first = report(ours.http.post(PATH, content=SHIPPED, headers=CSV))
    again = report(ours.http.post(PATH, content=SHIPPED, headers=CSV))
    assert (first["accepted"], again["duplicate"]) == (23, 23)
    assert [item["id"] for item in again["items"]] == [item["id"] for item in first["items"]]


def test_a_retry_is_answered_as_the_first_time(ours: Team) -> None:
    once = {"idempotency-key": "import"}
    first = report(ours.http.post(PATH, content=SHIPPED, headers=CSV | once))
    again = report(ours.http.post(PATH, content=SHIPPED, headers=CSV | once))
    assert again == first
    assert ours.http.post(PATH, content=SHIPPED + b"\n", headers=CSV | once).status_code == 409
    other = ours.http.post(PATH, params={"mode": "atomic"}, content=SHIPPED, headers=CSV | once)
    assert other.status_code == 409, "asked otherwise, it is another request"


def test_a_check_says_what_would_become_of_each_row_and_stores_nothing(ours: Team) -> None:
    stored, fresh = sample(), sample()
    ours.http.post("/v1/measurements", json=stored).raise_for_status()
    body = lines(stored, fresh, fresh, sample(USUAL_RATE / 12), sample(USUAL_RATE * 20)) + b"not json\n"
    everything: dict[str, Any] = {"provenance.source.contains": "run-", "limit": 1000}
    audit, rows = ours.http.get("/v1/audit").json(), ours.http.get("/v1/measurements", params=everything).json()
    made = report(ours.http.post(PATH, params={"mode": "check"}, content=body, headers=NDJSON))
    assert made["mode"] == "check"
    outcomes = [item["outcome"] for item in made["items"]]
    assert outcomes == ["duplicate", "accepted", "duplicate", "quarantined", "refused", "refused"]
    assert [("id" in item) for item in made["items"]] == [True, False, False, False, False, False]
    assert ours.http.get("/v1/audit").json() == audit
    assert ours.http.get("/v1/measurements", params=everything).json() == rows
    kept = report(ours.http.post(PATH, content=body, headers=NDJSON))
    assert [item["outcome"] for item in kept["items"]] == outcomes, "the check had told"
    both: dict[str, Any] = {"mode": "check", "restore": True}
    assert ours.http.post(PATH, params=both, content=SHIPPED, headers=CSV).status_code == 422


def test_all_or_nothing(ours: Team) -> None:
    wrong = sample(result={"value": 1, "unit": "furlongs"})
    answer = ours.http.post(PATH, params={"mode": "atomic"}, content=lines(sample(), wrong), headers=NDJSON)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "rows[2].result.unit"
    mine = {"provenance.source.contains": "run-"}
    whole = lines(*(sample(visibility="team") for _ in range(3)))
    before = len(ours.http.get("/v1/measurements", params=mine | {"limit": 1000}).json()["items"])
    made = report(ours.http.post(PATH, params={"mode": "atomic"}, content=whole, headers=NDJSON))
    assert made["accepted"] == 3
    assert len(ours.http.get("/v1/measurements", params=mine | {"limit": 1000}).json()["items"]) == before + 3


def test_hostile_rows_are_refused_one_by_one(ours: Team) -> None:
    body = b'{"provenance": {"notes": "' + b"x" * 3_000_000 + b'"}}\n' + lines(sample())
    made = report(ours.http.post(PATH, content=body, headers=NDJSON))
    assert [item["outcome"] for item in made["items"]] == ["refused", "accepted"]
    header = b"model.name,hardware.accelerator,result.value,result.unit\n"
    bad = header + b'x,T4,1,"unclosed\n' + b"a" * 2_000_000 + b"\n\xff\xfe,T4,1,mfu\nnul\0,T4,1,mfu\n"
    refused = report(ours.http.post(PATH, content=bad, headers=CSV))
    assert refused["accepted"] == 0
    assert "encoded as UTF-8" in str(refused["items"])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_told_so(ours: Team, encoding: str) -> None:
    answer = ours.http.post(PATH, content="model.name,result.value\nbert-large,1\n".encode(encoding), headers=CSV)
    assert answer.status_code == 422
    assert "UTF-16, and UTF-8 is read" in answer.json()["detail"]


HEADER = b"model.name,hardware.accelerator,hardware.count,result.value,result.unit\n"
RUN = b"resnet-50,V100-SXM2-16GB,8,9800,samples_per_second\n"


def test_an_unclosed_quote_costs_its_own_row_only(ours: Team) -> None:
    quoted = RUN.replace(b"resnet-50", b'"resnet-50\nof lab ""x"""')
    body = HEADER + RUN + b'"resnet-50,T4\n' + quoted + RUN.replace(b"8", b"4") + b'"open,to,the,end\n'
    made = report(ours.http.post(PATH, content=body, headers=CSV))
    assert [(item["row"], item["outcome"] == "refused") for item in made["items"]] == [
        (2, False), (3, True), (4, False), (6, False), (7, True),
    ]  # fmt: skip
    assert "a quote opens here" in made["items"][1]["reason"]


@pytest.mark.parametrize("value", [True, "12", "9800.0"])
def test_in_json_only_numbers_are_numbers(ours: Team, value: object) -> None:
    wrong = sample(training={"precision": "fp16", "global_batch": value})
    imported = report(ours.http.post(PATH, content=lines(wrong), headers=NDJSON))
    assert imported["items"][0]["errors"][0]["field"] == "training.global_batch"
    alone = ours.http.post("/v1/measurements", json=wrong)
    assert (alone.status_code, alone.json()["errors"][0]["field"]) == (422, "training.global_batch")
    assert "without quotes" in alone.json()["errors"][0]["hint"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (HEADER + RUN, NDJSON, 415, "send it with content-type: text/csv"),
        (lines(sample()), CSV, 415, "content-type: application/x-ndjson"),
        (b"model.name;hardware.accelerator\nx;T4\n", CSV, 422, "separated by semicolons"),
        (b"[" + lines(sample()) + b"]", NDJSON, 422, "one object a line"),
        (b"gpu,speed\nT4,12\n", CSV, 422, "'gpu', 'speed'"),
        (b"", CSV, 422, "no row"),
        (b"\n\n", NDJSON, 422, "no row"),
        (HEADER, CSV, 422, "no row"),
        (gzip.compress(HEADER + RUN), CSV, 415, "compressed"),
        (gzip.compress(HEADER + RUN), CSV | {"content-encoding": "gzip"}, 415, "uncompressed"),
        (HEADER + RUN, {"content-type": "text/plain"}, 415, "send text/csv or application/x-ndjson"),
    ],
)
def test_what_is_no_table_of_rows_is_not_read_and_told_why(
    ours: Team, body: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    answer = ours.http.post(PATH, content=body, headers=headers)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text


def test_only_administrators_restore(theirs: Team) -> None:
    assert theirs.http.post(PATH, params={"restore": True}, content=SHIPPED, headers=CSV).status_code == 403


def test_the_clients_submit_and_import(ours: Team, writable: tuple[str, str], tmp_path: Any) -> None:
    file = tmp_path / "runs.csv"
    file.write_bytes(SHIPPED)
    with Traincast(writable[0], key=ours.key) as traincast:
        made = traincast.submit(**sample())
        assert (made.status, made.duplicate) == ("accepted", False)
        assert traincast.reject(made.id, "no").status == "rejected"
        assert traincast.accept(made.id).status == "accepted"
        assert traincast.withdraw(made.id).status == "withdrawn"
        sent: list[int] = []
        assert traincast.import_rows(file, sent=sent.append).accepted == 23
        assert sent[-1] == file.stat().st_size
        assert traincast.import_rows([sample(), sample()], mode="atomic").accepted == 2
        assert b"megatron-sc21-paper" in b"".join(traincast.export(source="megatron-sc21-paper"))
        with pytest.raises(TraincastError, match="times the peak") as refused:
            traincast.submit(**sample(USUAL_RATE * 20))
        assert refused.value.status == 422


@pytest.mark.anyio
async def test_the_asynchronous_client_does_the_same(ours: Team, writable: tuple[str, str]) -> None:
    async with AsyncTraincast(writable[0], key=ours.key) as traincast:
        made = await traincast.submit(**sample())
        assert (await traincast.reject(made.id)).status == "rejected"
        assert (await traincast.accept(made.id)).status == "accepted"
        assert (await traincast.withdraw(made.id)).status == "withdrawn"
        assert (await traincast.import_rows([sample()])).accepted == 1


@pytest.fixture
def elsewhere(databases: Databases) -> Iterator[Team]:
    """An administrator of another service, whose database holds what ships and nothing else."""
    from service.app import create_app
    from service.settings import Settings

    database = databases.seeded()
    with serving(create_app(Settings(database_url=database))) as url:
        team = Team(url, database, "administrators", "submit", "admin")
        with team.http:
            yield team


@pytest.mark.parametrize(("form", "kind"), [("csv", CSV), ("ndjson", NDJSON)])
def test_an_export_restored_elsewhere_is_the_same_to_the_last_column(
    ours: Team, elsewhere: Team, form: str, kind: dict[str, str]
) -> None:
    private = ours.http.post("/v1/measurements", json=sample(visibility="team", site="lab")).json()
    odd = ours.http.post("/v1/measurements", json=sample(USUAL_RATE / 12)).json()
    gone = ours.http.post("/v1/measurements", json=sample()).json()
    ours.http.delete(f"/v1/measurements/{gone['id']}").raise_for_status()
    wanted: dict[str, Any] = {"complete": True, "format": form, "provenance.source.contains": "run-"}
    exported = ours.http.get("/v1/measurements/export", params=wanted)
    assert exported.status_code == 200
    assert {private["id"], odd["id"], gone["id"]} <= set(_ids(exported.text, form))
    answer = elsewhere.http.post(PATH, params={"restore": True}, content=exported.content, headers=kind)
    assert report(answer)["restored"] == len(_ids(exported.text, form))
    assert elsewhere.http.get("/v1/measurements/export", params=wanted).text == exported.text
    assert elsewhere.http.get(f"/v1/measurements/{private['id']}").status_code == 404, "it stays its team's"
    again = elsewhere.http.post(PATH, params={"restore": True}, content=exported.content, headers=kind)
    assert report(again)["restored"] == len(_ids(exported.text, form))
    assert elsewhere.http.get("/v1/measurements/export", params=wanted).text == exported.text


def _ids(text: str, form: str) -> list[str]:
    if form == "ndjson":
        return [json.loads(line)["record"]["id"] for line in text.splitlines()]
    return [row["record.id"] for row in csv.DictReader(io.StringIO(text, newline=""))]


def test_a_plain_export_cannot_be_restored(ours: Team) -> None:
    answer = ours.http.post(PATH, params={"restore": True}, content=SHIPPED, headers=CSV)
    assert answer.status_code == 422
    assert "record.id" in answer.json()["detail"]
