"""Evaluations of whole files: scores by any of their columns, and the predictions beside what was measured."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from service.catalog.catalog import Catalog
from service.catalog.operating_facts import operating_facts
from service.codec import Row, csv_records, format_value, read_rows, write_csv
from service.engine.forecast import Forecaster
from service.evaluations.schemas import Evaluation, SkippedRow
from service.evaluations.service import Comparison, compare, learn, run_and_result, score

BY_DEFAULT = "provenance.source"
PREDICTED = ("predicted.p10", "predicted.p50", "predicted.p90", "predicted.grade")
NOTE = (
    "Each row is predicted as a new site would be, whatever its source says. Rows that the calibration was fitted on "
    "(those that ship) are in-sample for its coefficients: their scores flatter."
)
NOTE_LEARNT = "Predicted as the team would be that had submitted the learned rows; nothing was stored."
LEARNED_TOO = "is among the learned rows"
MOST_NAMED = 20
"""Lines of a file that a note names."""


@dataclass(frozen=True)
class MeasurementFile:
    """A file of measurements: its rows as the codec types them, and its cells as they stand, by line."""

    rows: list[Row]
    columns: list[str]
    cells: Mapping[int, Mapping[str, str]]


@dataclass(frozen=True)
class Judged:
    """An evaluation, and the comparison behind each scored row, by line."""

    evaluation: Evaluation
    comparisons: Mapping[int, Comparison]


class UnknownColumnError(ValueError):
    """The file has no column of that name."""


def read_measurements(stream: IO[str], content: str) -> MeasurementFile:
    """Reads a file of measurements; columns beyond the vocabulary are kept as cells and not otherwise heeded.

    Args:
        stream: text opened with `newline=""`.
        content: `text/csv` or `application/x-ndjson`.
    """
    text = stream.read().removeprefix("\ufeff")
    rows = list(read_rows(io.StringIO(text, newline=""), content=content, other_columns="ignore"))
    if content == "text/csv":
        cells = dict(_cells(text))
        records = csv_records(io.StringIO(text, newline=""))
        header = next((cells for _, cells in records if isinstance(cells, list)), [])
        return MeasurementFile(rows, [name.strip() for name in header], cells)
    cells = {
        row.line: {name: format_value(value) for name, value in row.values.items()}
        for row in rows
        if row.values is not None
    }
    return MeasurementFile(rows, list(dict.fromkeys(name for row in cells.values() for name in row)), cells)


def evaluate(
    file: MeasurementFile,
    catalog: Catalog,
    forecaster: Forecaster,
    *,
    by: str = BY_DEFAULT,
    learned: MeasurementFile | None = None,
) -> Judged:
    """How well the forecaster predicts the file's rows, overall and by the values of a column.

    Args:
        file: the rows to predict.
        catalog: the reference tables.
        forecaster: the calibration to judge.
        by: the column to score by; the default may be absent from the file.
        learned: rows to learn first, as if a team had submitted them.

    Raises:
        UnknownColumnError: The file has rows, and no column `by`.
    """
    if file.rows and by != BY_DEFAULT and by not in file.columns:
        raise UnknownColumnError(f"there is no column {by!r}; the file has {', '.join(file.columns)}")
    facts = operating_facts()
    rows, note, skipped = file.rows, NOTE, list[SkippedRow]()
    if learned is not None:
        forecaster, note = learn(learned.rows, catalog, forecaster, facts), NOTE_LEARNT
        # What was learned is no test of what was learned.
        known = {said for row in learned.rows if (said := run_and_result(row)) is not None}
        again = [row.line for row in rows if run_and_result(row) in known]
        if again:
            rows = [row for row in rows if run_and_result(row) not in known]
            skipped += [SkippedRow(row=line, reason=LEARNED_TOO) for line in again]
            note += f" {_left_out(again)}"
    comparisons: dict[int, Comparison] = {}
    groups: dict[str, list[Comparison]] = {}
    for made in compare(rows, catalog, forecaster, facts):
        if isinstance(made, Comparison):
            comparisons[made.line] = made
            groups.setdefault(file.cells.get(made.line, {}).get(by, ""), []).append(made)
        else:
            skipped.append(SkippedRow(row=made.line, reason=made.reason))
    evaluation = Evaluation(
        rows=len(file.rows),
        scored=len(comparisons),
        skipped=sorted(skipped, key=lambda one: one.row),
        overall=score(list(comparisons.values())),
        by={name: score(group) for name, group in groups.items()},
        calibration=forecaster.calibration_version,
        note=note,
    )
    return Judged(evaluation, comparisons)


def _left_out(lines: Sequence[int]) -> str:
    named = ", ".join(map(str, lines[:MOST_NAMED])) + (
        f" and {more} more" if (more := len(lines) - MOST_NAMED) > 0 else ""
    )
    are = "row is" if len(lines) == 1 else "rows are"
    return f"{len(lines)} {are} among the learned ones and not scored: line{'s' * (len(lines) > 1)} {named}."


def write_predictions(file: MeasurementFile, judged: Judged, stream: IO[str]) -> None:
    """Writes the file's columns and, in each row's own unit, what was predicted; blank where a row was skipped."""

    def rows() -> Iterator[dict[str, object]]:
        for row in file.rows:
            made = judged.comparisons.get(row.line)
            predicted = (made.p10, made.p50, made.p90, made.grade) if made else ("", "", "", "")
            yield {**file.cells.get(row.line, {}), **dict(zip(PREDICTED, predicted, strict=True))}

    columns = [name for name in file.columns if name not in PREDICTED]
    write_csv(rows(), stream, columns=[*columns, *PREDICTED])


def _cells(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The cells of each CSV row by column name, with the line it starts on."""
    header: list[str] | None = None
    for line, cells in csv_records(io.StringIO(text, newline="")):
        if isinstance(cells, str):
            continue
        if header is None:
            header = [name.strip() for name in cells]
        elif any(cells):
            yield line, dict(zip(header, cells, strict=False))
