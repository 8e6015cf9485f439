"""Every shipped measurement is readable, typed, sourced, and relates to a known chip."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from service.catalog.catalog import DATA, load_catalog
from service.codec import Row, read_rows
from service.configuration import Measurement
from service.field_types import UNITS

FILES = sorted((DATA / "measurements").glob("*.csv"))


@cache
def rows_of(path: Path) -> tuple[Row, ...]:
    with path.open("rb") as stream:
        return tuple(read_rows(stream, content="text/csv"))


def values_of(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    for row in rows_of(path):
        assert row.values is not None, f"line {row.line}: {row.error}"
        yield row.line, row.values


def test_all_measurements_ship() -> None:
    assert {path.stem for path in FILES} <= set(load_catalog().sources)
    assert sum(len(rows_of(path)) for path in FILES) == 25_601


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_rows_speak_the_vocabulary(path: Path) -> None:
    catalog = load_catalog()
    for line, values in values_of(path):
        assert values.get("provenance.source") == path.stem, line
        assert path.stem in catalog.sources
        assert values.get("provenance.locator"), f"line {line} says not where it is from"
        assert values.get("hardware.accelerator") in catalog.accelerators, f"line {line}"
        assert values.get("result.out_of_memory") is True or (
            values.get("result.unit") in UNITS and float(str(values["result.value"])) > 0
        ), f"line {line}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_row_is_there_twice(path: Path) -> None:
    seen: dict[tuple[tuple[str, object], ...], int] = {}
    for line, values in values_of(path):
        key = tuple(values.items())
        assert key not in seen, f"line {line} repeats line {seen[key]}"
        seen[key] = line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_rows_are_whole_measurements(path: Path) -> None:
    for line, values in values_of(path):
        assert Measurement.from_flat(values).flat() == values, f"line {line}"


def test_a_whole_run_says_how_much_it_trained_on() -> None:
    whole_runs = {"hours", "minutes", "accelerator_hours"}
    for path in FILES:
        for line, values in values_of(path):
            if values.get("result.unit") in whole_runs:
                assert {"data.samples", "data.tokens"} & set(values), f"{path.stem}, line {line}"


def test_models_are_found_by_the_names_that_the_catalog_has_for_them() -> None:
    catalog = load_catalog()
    measured = {str(values.get("model.name", "")) for path in FILES for _, values in values_of(path)}
    known = {name: model for name in measured if (model := catalog.model(name)) is not None}
    unlisted = {name for name, model in known.items() if name not in catalog.spellings(model)}
    assert not unlisted
