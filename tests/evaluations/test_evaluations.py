"""Evaluations: every row compared in its own unit, bad ones skipped with the reason, nothing stored."""

import csv
import io
import math
from typing import Any

import httpx
import pytest

from service.catalog.catalog import load_catalog
from service.catalog.records import DATA
from service.engine.forecast import Forecaster
from service.evaluations.files import MeasurementFile, UnknownColumnError, evaluate, read_measurements
from service.seed import CALIBRATION

CATALOG = load_catalog()
HEADER = "model.name,data.sequence_length,hardware.accelerator,hardware.count,training.precision,training.global_batch"
ROW = "gpt-3-175b,2048,A100-SXM4-80GB,1024,bf16,1536"


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    """The calibration that ships."""
    return Forecaster.load(CALIBRATION)


def read(text: str) -> MeasurementFile:
    return read_measurements(io.StringIO(text, newline=""), "text/csv")


def shipped(name: str) -> str:
    return (DATA / "measurements" / f"{name}.csv").read_text(encoding="utf-8")


def test_scores_are_what_their_rows_say(forecaster: Forecaster) -> None:
    judged = evaluate(read(shipped("megatron-sc21-paper")), CATALOG, forecaster)
    made = list(judged.comparisons.values())
    errors = [abs(math.exp(comparison.log_time_ratio) - 1) for comparison in made]
    overall = judged.evaluation.overall
    assert overall.n == len(made) == judged.evaluation.scored > 20
    assert overall.mape == pytest.approx(sum(errors) / len(errors))
    assert overall.coverage_80 == pytest.approx(sum(comparison.covered for comparison in made) / len(made))
    assert judged.evaluation.by == {"megatron-sc21-paper": overall}


def test_the_same_speed_scores_the_same_in_every_unit(forecaster: Forecaster) -> None:
    """10 samples of 2,048 tokens a second on 1,024 chips, in steps of 1,536 samples, said in six ways."""
    said = {
        "samples_per_second": 10.0,
        "tokens_per_second": 10.0 * 2048,
        "samples_per_second_per_accelerator": 10.0 / 1024,
        "tokens_per_second_per_accelerator": 10.0 * 2048 / 1024,
        "seconds_per_step": 153.6,
        "milliseconds_per_step": 153_600.0,
    }
    text = f"{HEADER},result.value,result.unit\n" + "".join(f"{ROW},{value},{unit}\n" for unit, value in said.items())
    made = list(evaluate(read(text), CATALOG, forecaster).comparisons.values())
    assert len(made) == len(said)
    for comparison in made:
        assert comparison.log_time_ratio == pytest.approx(made[0].log_time_ratio, rel=1e-9)
        assert comparison.interval_ratio == pytest.approx(made[0].interval_ratio, rel=1e-9)
        assert comparison.p10 <= comparison.p50 <= comparison.p90
        assert comparison.covered == (comparison.p10 <= comparison.measured <= comparison.p90)
        faster = comparison.unit not in ("seconds_per_step", "milliseconds_per_step")
        ratio = comparison.measured / comparison.p50 if faster else comparison.p50 / comparison.measured
        assert ratio == pytest.approx(math.exp(comparison.log_time_ratio), rel=1e-6)


def test_a_whole_run_is_compared_by_the_wall_clock(forecaster: Forecaster) -> None:
    text = (
        f"{HEADER},data.tokens,result.value,result.unit\n"
        f"{ROW},300e9,800,hours\n{ROW},300e9,48000,minutes\n{ROW},300e9,819200,accelerator_hours\n"
        f"{ROW},,800,hours\n"
    )
    judged = evaluate(read(text), CATALOG, forecaster)
    ratios = [comparison.log_time_ratio for comparison in judged.comparisons.values()]
    assert ratios == pytest.approx([ratios[0]] * 3)
    assert [(skipped.row, "data.tokens" in skipped.reason) for skipped in judged.evaluation.skipped] == [(5, True)]


def test_a_row_without_sequence_length_is_compared_per_token(forecaster: Forecaster) -> None:
    text = (
        "model.name,hardware.accelerator,training.precision,result.value,result.unit\n"
        "llama-2-7b,A100-SXM4-80GB,bf16,2500,tokens_per_second\n"
    )
    judged = evaluate(read(text), CATALOG, forecaster)
    assert judged.evaluation.scored == 1
    assert 0.2 < judged.comparisons[2].p50 / 2500 < 5


def test_bad_rows_are_skipped_with_the_reason_and_the_rest_go_on(forecaster: Forecaster) -> None:
    text = (
        f"{HEADER},result.value,result.unit\n"
        f"{ROW},10,samples_per_second\n"
        f"{ROW.replace('A100-SXM4-80GB', 'H1000')},10,samples_per_second\n"
        f"{ROW},,samples_per_second\n"
        f"{ROW},10,furlongs_per_fortnight\n"
        f"{ROW},-3,samples_per_second\n"
        f"{ROW},ten,samples_per_second\n"
        f"too,few\n"
        f"{ROW},11,samples_per_second\n"
    )
    evaluation = evaluate(read(text), CATALOG, forecaster).evaluation
    assert (evaluation.rows, evaluation.scored) == (8, 2)
    reasons = {skipped.row: skipped.reason for skipped in evaluation.skipped}
    assert list(reasons) == [3, 4, 5, 6, 7, 8]
    assert "H1000" in reasons[3]
    assert reasons[4] == "no result.value"
    assert "result.unit" in reasons[5]
    assert "result.value" in reasons[6]
    assert "result.value" in reasons[7]
    assert "cells" in reasons[8]


@pytest.mark.parametrize("text", ["", f"{HEADER},result.value,result.unit\n"])
def test_an_empty_file_has_no_scores(forecaster: Forecaster, text: str) -> None:
    evaluation = evaluate(read(text), CATALOG, forecaster).evaluation
    assert (evaluation.rows, evaluation.scored, evaluation.by) == (0, 0, {})
    assert evaluation.overall.n == 0
    assert evaluation.overall.mape is None


def test_the_source_column_does_not_change_a_prediction(forecaster: Forecaster) -> None:
    """Every row is predicted as a new site would be."""
    file = read(shipped("megatron-sc21-paper"))
    elsewhere = read(shipped("megatron-sc21-paper").replace("megatron-sc21-paper", "somewhere-new"))
    mine, theirs = (evaluate(each, CATALOG, forecaster).comparisons for each in (file, elsewhere))
    assert [made.p50 for made in mine.values()] == [made.p50 for made in theirs.values()]


def test_learning_a_sites_own_rows_brings_its_other_rows_nearer(forecaster: Forecaster) -> None:
    """A site that is 1.6 times slower than all others, half of its rows learned."""
    header, *rows = shipped("megatron-lm-repo").splitlines()
    columns = header.split(",")
    value, unit = columns.index("result.value"), columns.index("result.unit")
    slow: list[list[str]] = []
    for cells in csv.reader(rows):
        per_time = not cells[unit].endswith("_per_step") and "hours" not in cells[unit] and cells[unit] != "minutes"
        cells[value] = str(float(cells[value]) * (1 / 1.6 if per_time else 1.6)) if cells[value] else ""
        slow.append(cells)

    def written(part: list[list[str]]) -> MeasurementFile:
        text = io.StringIO()
        csv.writer(text).writerows([columns, *part])
        return read(text.getvalue())

    learned, rest = written(slow[::2]), written(slow[1::2])
    cold = evaluate(rest, CATALOG, forecaster).evaluation.overall
    warm = evaluate(rest, CATALOG, forecaster, learned=learned).evaluation.overall
    assert cold.mape is not None
    assert warm.mape is not None
    assert warm.mape < cold.mape
    assert abs(warm.bias or 0) < abs(cold.bias or 0)


def test_any_column_groups_and_an_unknown_one_is_refused(forecaster: Forecaster) -> None:
    file = read(shipped("megatron-sc21-paper"))
    by = evaluate(file, CATALOG, forecaster, by="hardware.count").evaluation.by
    assert len(by) > 3
    assert sum(score.n for score in by.values()) == len(file.rows)
    with pytest.raises(UnknownColumnError, match="colour"):
        evaluate(file, CATALOG, forecaster, by="colour")


def test_a_file_with_columns_of_its_own_is_read(forecaster: Forecaster) -> None:
    text = f"{HEADER},result.value,result.unit,mood\n{ROW},10,samples_per_second,good\n"
    assert set(evaluate(read(text), CATALOG, forecaster, by="mood").evaluation.by) == {"good"}


def test_every_shipped_file_can_be_evaluated(forecaster: Forecaster) -> None:
    """Any of them; all but a few rows that nothing relates to any work are scored."""
    for path in sorted((DATA / "measurements").glob("*.csv"))[::8]:
        evaluation = evaluate(read(path.read_text(encoding="utf-8")), CATALOG, forecaster).evaluation
        assert evaluation.scored + len(evaluation.skipped) == evaluation.rows
        assert evaluation.scored >= 0.9 * evaluation.rows, (path.name, evaluation.skipped[:3])


def post(client: httpx.Client, content: str, kind: str = "text/csv", **parameters: Any) -> httpx.Response:
    return client.post("/v1/evaluations", content=content.encode(), headers={"content-type": kind}, params=parameters)


def test_over_http_it_answers_the_same_and_stores_nothing(client: httpx.Client, forecaster: Forecaster) -> None:
    text = shipped("megatron-sc21-paper")
    before = client.get("/v1/sources", params={"limit": 1000}).json()
    answer = post(client, text, by="model.name")
    assert answer.status_code == 200
    expected = evaluate(read(text), CATALOG, forecaster, by="model.name").evaluation
    assert answer.json()["overall"] == pytest.approx(expected.overall.model_dump())
    assert list(answer.json()["by"]) == list(expected.by)
    assert client.get("/v1/sources", params={"limit": 1000}).json() == before


def test_over_http_rows_can_be_learned_first(client: httpx.Client) -> None:
    header, *rows = shipped("megatron-sc21-paper").splitlines()
    half = ("half.csv", "\n".join([header, *rows[::2]]).encode())
    rest = ("rest.csv", "\n".join([header, *rows[1::2]]).encode())
    learned = client.post("/v1/evaluations", files={"measurements": rest, "learn": half}).json()
    plain = client.post("/v1/evaluations", files={"measurements": rest}).json()
    assert learned["overall"]["mape"] < plain["overall"]["mape"]
    assert learned["scored"] == plain["scored"]


def test_a_learned_row_is_not_scored_whatever_its_spelling_and_source(forecaster: Forecaster) -> None:
    other = f"{ROW},20,samples_per_second,theirs\n"
    head = f"{HEADER},result.value,result.unit,provenance.source\n"
    file = read(f"{head}{ROW},10,samples_per_second,mine\n{other}")
    learned = read(head + f"{ROW},10.0,samples_per_second,yours\n".replace("bf16", "bfloat16"))
    made = evaluate(file, CATALOG, forecaster, learned=learned).evaluation
    assert (made.rows, made.scored) == (2, 1)
    assert [(one.row, one.reason) for one in made.skipped] == [(2, "is among the learned rows")]
    assert made.note.endswith("1 row is among the learned ones and not scored: line 2.")


def test_over_http_bodies_are_limited_and_typed(client: httpx.Client) -> None:
    assert post(client, "a", kind="text/html").status_code == 415
    row = f"{ROW},10,samples_per_second\n"
    assert post(client, f"{HEADER},result.value,result.unit\n" + row * 50_001).status_code == 413
    assert client.post("/v1/evaluations", files={"wrong": ("a.csv", b"")}).status_code == 422
    assert post(client, shipped("megatron-sc21-paper"), by="colour").status_code == 422


@pytest.mark.parametrize(
    ("text", "kind", "status"),
    [
        ('{"model": {"name": "resnet-50"}}\n', "text/csv", 415),
        (f"{HEADER}\n{ROW}\n", "application/x-ndjson", 415),
        ('[{"model": {"name": "resnet-50"}}]', "application/x-ndjson", 422),
        ("colour,taste\nred,sweet\n", "text/csv", 422),
    ],
    ids=["NDJSON as CSV", "CSV as NDJSON", "a JSON list", "another table"],
)
def test_over_http_what_is_no_table_of_measurements_is_refused(
    client: httpx.Client, text: str, kind: str, status: int
) -> None:
    alone = post(client, text, kind=kind)
    name = "runs.csv" if kind == "text/csv" else "runs.ndjson"
    in_form = client.post("/v1/evaluations", files={"measurements": (name, text.encode())})
    assert (alone.status_code, in_form.status_code) == (status, status)
    assert alone.json()["detail"] == in_form.json()["detail"]


def test_ndjson_scores_as_csv_does(client: httpx.Client) -> None:
    exported = client.get("/v1/measurements/export", params={"format": "ndjson", "source": "megatron-sc21-paper"}).text
    as_csv = post(client, shipped("megatron-sc21-paper")).json()
    as_ndjson = post(client, exported, kind="application/x-ndjson").json()
    assert as_ndjson["overall"]["n"] == as_csv["overall"]["n"]
    assert as_ndjson["overall"]["mape"] == pytest.approx(as_csv["overall"]["mape"], rel=1e-6)
