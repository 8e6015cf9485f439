"""One codec for everything that is read and written: what is written reads back the same, bad rows are told by line."""

import io
import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import read_rows, write_csv, write_ndjson
from service.configuration import FIELDS
from service.field_types import UNITS, Family, Precision

CSV = "text/csv"
NDJSON = "application/x-ndjson"
RUN = {"model.name": "x", "hardware.accelerator": "T4", "result.value": 3.0, "result.unit": "mfu"}

counts = st.floats(min_value=1e-9, max_value=1e24, allow_nan=False)
words = (
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30).map(str.strip).filter(bool)
)
plain = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
fields: dict[str, st.SearchStrategy[Any]] = {
    "provenance.notes": words,
    "model.name": words,
    "model.family": st.sampled_from(get_args(Family)),
    "model.parameters": counts,
    "model.gated_mlp": st.booleans(),
    "model.huggingface_config": st.dictionaries(plain, st.integers() | plain, max_size=3),
    "data.sequence_length": counts,
    "training.precision": st.sampled_from(get_args(Precision)),
    "software.compile": st.booleans(),
    "result.value": counts,
    "result.unit": st.sampled_from(UNITS),
    "result.mfu": st.floats(min_value=0, max_value=5),
    "visibility": st.sampled_from(["shared", "team"]),
}
measurements = st.lists(st.fixed_dictionaries({"hardware.accelerator": words}, optional=fields), max_size=5)


@given(measurements)
def test_csv_loses_nothing(rows: list[dict[str, Any]]) -> None:
    written = io.StringIO(newline="")
    write_csv(rows, written)
    read = list(read_rows(io.BytesIO(written.getvalue().encode()), content=CSV))
    assert [row.error for row in read] == [None] * len(rows)
    assert [row.values for row in read] == rows


@given(measurements)
def test_ndjson_loses_nothing(rows: list[dict[str, Any]]) -> None:
    written = io.StringIO()
    write_ndjson(rows, written)
    assert [row.values for row in read_rows(io.StringIO(written.getvalue()), content=NDJSON)] == rows


def read_csv(text: str, **options: Any) -> list[tuple[int, object, str | None]]:
    rows = read_rows(io.StringIO(text, newline=""), content=CSV, **options)
    return [(row.line, row.values, row.error) for row in rows]


def test_bad_rows_are_reported_and_the_rest_go_on() -> None:
    header = "model.name,hardware.accelerator,hardware.count,result.value,result.unit\n"
    read = read_csv(header + "a,T4,1,3,mfu\nb,T4,many,3,mfu\nc,T4,1,3,parsecs\nd,T4\n\ne,T4,,3,mfu\n")
    assert [line for line, _, _ in read] == [2, 3, 4, 5, 7]
    errors = [error for _, _, error in read]
    assert errors[0] is None
    assert errors[1] is not None
    assert errors[1].startswith("hardware.count")
    assert errors[2] is not None
    assert errors[2].startswith("result.unit")
    assert errors[3] == "2 cells where the header has 5"
    assert errors[4] is None
    assert read[4][1] == {"model.name": "e", "hardware.accelerator": "T4", "result.value": 3.0, "result.unit": "mfu"}


def test_a_number_in_a_programs_notation_is_refused_by_its_field() -> None:
    header = "model.name,hardware.accelerator,hardware.count,result.value,result.unit\n"
    (_, values, error), (_, lenient, _) = read_csv(header + "a_b,T4,1_000,3,mfu\na_b,T4,1e3,3,mfu\n")
    assert values is None
    assert error == "hardware.count: a number is written without underscores, got '1_000'"
    assert lenient == {
        "model.name": "a_b", "hardware.accelerator": "T4", "hardware.count": 1000.0, "result.value": 3.0,
        "result.unit": "mfu",
    }  # fmt: skip


def test_an_unknown_column_is_refused_with_the_likely_one_or_left_out_on_request() -> None:
    text = "model.name,seq_len\nx,5\n"
    assert read_csv(text) == [(2, None, "unknown field 'seq_len': did you mean 'data.sequence_length'?")]
    assert read_csv(text, other_columns="ignore") == [(2, {"model.name": "x"}, None)]


def test_a_cell_over_several_lines_counts_from_its_first() -> None:
    read = read_csv('provenance.notes,model.name\n"one\ntwo",x\nthree,y\n')
    assert [line for line, _, _ in read] == [2, 4]


def test_nested_and_dotted_objects_are_both_read() -> None:
    lines = [
        json.dumps({"model": {"name": "x"}, "hardware": {"accelerator": "T4"}, "result": {"value": 3, "unit": "mfu"}}),
        json.dumps(RUN),
        "",
        "[1]",
        "{",
        json.dumps({"model": {"nme": "x"}}),
    ]
    read = list(read_rows(io.BytesIO("\n".join(lines).encode()), content=f"{NDJSON}; charset=utf-8"))
    assert [row.line for row in read] == [1, 2, 4, 5, 6]
    assert [row.values for row in read] == [RUN, RUN, None, None, None]
    assert read[4].error == "unknown field 'model.nme': did you mean 'model.name'?"


@pytest.mark.parametrize(("written", "truth"), [("true", True), ("False", False), ("yes", True), ("0", False)])
def test_a_cell_of_csv_may_say_a_truth_as_people_do(written: str, truth: bool) -> None:
    (row,) = read_rows(io.StringIO(f"software.compile\n{written}\n"), content=CSV)
    assert row.values == {"software.compile": truth}


def test_json_says_a_truth_as_json_does() -> None:
    lines = '{"software.compile": true}\n{"software.compile": "yes"}\n{"result": {"out_of_memory": 1}}\n'
    good, quoted, counted = read_rows(io.StringIO(lines), content=NDJSON)
    assert good.values == {"software.compile": True}
    assert str(quoted.error).startswith("software.compile: input should be a valid boolean")
    assert str(counted.error).startswith("result.out_of_memory: ")


def test_files_that_are_empty_marked_or_not_text() -> None:
    assert read_csv("") == []
    assert read_csv("model.name\n") == []
    marked = list(read_rows(io.BytesIO("\ufeffmodel.name\nx\n".encode()), content=CSV))
    assert marked[0].values == {"model.name": "x"}
    broken = list(read_rows(io.BytesIO(b"model.name\n\xff\xfe\ny\n"), content=CSV))
    assert broken[0].error is not None
    assert broken[1].values == {"model.name": "y"}


def test_the_callers_stream_stays_open() -> None:
    stream = io.BytesIO(b"model.name\nx\n")
    list(read_rows(stream, content=CSV))
    assert not stream.closed


def test_another_content_type_is_refused() -> None:
    with pytest.raises(ValueError, match="text/csv"):
        next(iter(read_rows(io.BytesIO(b""), content="text/html")))


def test_columns_come_in_the_order_of_the_vocabulary() -> None:
    written = io.StringIO()
    write_csv([{"result.value": 1.5, "model.name": "x", "predicted.p50": 2.0}], written)
    assert written.getvalue() == "model.name,result.value,predicted.p50\nx,1.5,2\n"
    assert FIELDS.index("model.name") < FIELDS.index("result.value")
