"""Rows of measurements as CSV with dotted columns or as NDJSON: one codec for all that is read, written and shipped.

Each cell is typed by the vocabulary's own field. Blank means not stated. Reading streams; a bad row is reported with
its line and the rest go on. What is written reads back the same.
"""

import csv
import io
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO, Annotated, Any, Literal, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from service.configuration import FIELDS, SECTIONS, Measurement, nest, unknown_field

Content = Literal["text/csv", "application/x-ndjson"]
_QUOTE = '"'
_SPECIAL = re.compile(r'[",\r\n]')
RECORD = "record"
"""Section of what the service, not the submitter, says of a row: id, status, team, times (complete exports)."""
LONGEST_LINE = 1_000_000
"""Characters of one row; more is refused, for no measurement is that long."""
LONGEST_REMEMBERED = 100
"""Characters of a cell whose typed value is remembered: names and numbers come again, texts don't, and fill memory."""
MOST_FLAWS = 3
"""Things wrong with a header that its rows are told."""
MOST_READ_AGAIN = 1_000_000
"""Lines of a file that are read a second time because a quote before them was not closed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its line in the file (a CSV header is line 1), and its typed values or what is wrong with it."""

    line: int
    values: dict[str, object] | None
    error: str | None


def _types() -> dict[str, TypeAdapter[Any]]:
    types: dict[str, TypeAdapter[Any]] = {}
    for name in FIELDS:
        section, dot, field = name.partition(".")
        info: FieldInfo = SECTIONS[section].model_fields[field] if dot else Measurement.model_fields[name]
        annotation: Any = info.annotation
        for constraint in info.metadata:
            annotation = Annotated[annotation, constraint]
        types[name] = TypeAdapter(annotation)
    return types


_JSON_FIELD = "model.huggingface_config"
_TYPES = _types()

Adapters = Mapping[str, Callable[[Any], object]]
"""How the values of each column are typed and checked, by its dotted name."""

VALUES: Adapters = {name: kind.validate_python for name, kind in _TYPES.items()}
"""Of JSON: numbers are numbers, not text."""
CELLS: Adapters = {
    name: kind.validate_python if name == _JSON_FIELD else kind.validate_strings for name, kind in _TYPES.items()
}
"""Of CSV, whose cells are text by nature."""


def parse_value(name: str, value: object, adapters: Adapters = CELLS) -> object:
    """A value of the field of that dotted name, typed and checked; None for blank.

    Raises ``ValueError`` naming the field and what it takes.
    """
    adapter = adapters.get(name)
    if adapter is None:
        raise ValueError(unknown_field(name))
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
        if "\0" in value:
            raise ValueError(f"{name}: contains a NUL character")
        if name == _JSON_FIELD:
            try:
                value = json.loads(value)
            except (json.JSONDecodeError, RecursionError):
                raise ValueError(f"{name}: not JSON") from None
    try:
        typed = adapter(value)
    except ValidationError as error:
        raise ValueError(f"{name}: {_reason(error, value)}") from None
    if isinstance(value, str) and "_" in value and isinstance(typed, int | float):
        # Python's own notation, which no other reader of CSV takes for a number.
        raise ValueError(f"{name}: a number is written without underscores, got {value!r}")
    return typed


def _reason(error: ValidationError, value: object) -> str:
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if fault["type"] == "string_unicode":
        return "is not encoded as UTF-8; save the file in that encoding"
    shown = repr(value)
    message = fault["msg"]
    return f"{message[0].lower()}{message[1:]}, got {shown if len(shown) <= 80 else shown[:77] + '...'}"


def read_rows(
    stream: IO[str] | IO[bytes] | Iterator[str],
    *,
    content: str,
    other_columns: Literal["refuse", "ignore"] = "refuse",
    more: Adapters = MappingProxyType({}),
) -> Iterator[Row]:
    """Read rows one by one.

    ``stream`` is text (opened with ``newline=""`` for CSV), its lines, or UTF-8 bytes; ``content`` is ``text/csv`` or
    ``application/x-ndjson`` (parameters such as ``; charset=utf-8`` are ignored). NDJSON objects may be nested or
    dotted. ``other_columns`` says what to do with names that the vocabulary lacks: report the row, or drop them;
    ``more`` are columns known besides. Raises ``ValueError`` for another content type.
    """
    kind = content.partition(";")[0].strip().lower()
    if kind not in {"text/csv", "application/x-ndjson"}:
        raise ValueError(f"unknown content type {content!r}: send text/csv or application/x-ndjson")
    text, wrapper = _as_text(stream)
    try:
        if kind == "text/csv":
            yield from _read_csv(text, other_columns == "ignore", {**CELLS, **more})
        else:
            yield from _read_ndjson(text, other_columns == "ignore", {**VALUES, **more})
    finally:
        if wrapper is not None:
            wrapper.detach()


def bounded_lines(stream: IO[bytes]) -> Iterator[str]:
    """The lines of a stream that nobody vouches for: of one that is too long only so much that its row is refused."""
    first = True
    while line := stream.readline(LONGEST_LINE + 1):
        if not line.endswith(b"\n"):
            while (rest := stream.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
        text = line.decode("utf-8", errors="surrogateescape")
        yield text.removeprefix("\ufeff") if first else text
        first = False


def _as_text(stream: IO[str] | IO[bytes] | Iterator[str]) -> tuple[Iterable[str], io.TextIOWrapper | None]:
    if isinstance(stream, io.TextIOBase) or not hasattr(stream, "read"):
        return cast(Iterable[str], stream), None
    # Bytes that are no UTF-8 survive as surrogates, which the text fields then refuse row by row.
    wrapper = io.TextIOWrapper(cast(Any, stream), encoding="utf-8-sig", errors="surrogateescape", newline="")
    return wrapper, wrapper


class _Lines:
    """Lines that can be read again from the second one of the record under way."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = iter(lines)
        self.again: deque[str] = deque()
        self.record: list[str] = []
        self.length = 0
        self.number = 0
        self.left = MOST_READ_AGAIN

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.again.popleft() if self.again else next(self.lines)
        self.record.append(line)
        self.length += len(line)
        self.number += 1
        if self.length > LONGEST_LINE and len(self.record) > 1:
            raise csv.Error(f"more than {LONGEST_LINE} characters in one row")
        return line

    def begin(self) -> int:
        """Starts a record; the number of its first line."""
        self.record.clear()
        self.length = 0
        return self.number + 1

    def rewind(self) -> bool:
        """Back to the second line of the record; False if too much was read again already."""
        behind = self.record[1:]
        if len(behind) > self.left:
            return False
        self.left -= len(behind)
        self.number -= len(behind)
        self.again.extendleft(reversed(behind))
        return True


def csv_records(text: Iterable[str]) -> Iterator[tuple[int, list[str] | str]]:
    """The line that each record of a CSV file starts on, and its cells or what is wrong with it; the header is one.

    A quote that is not closed would swallow the rows behind it. A record of several lines that ends wrongly, or has
    other cells than the header, is taken for that: its first line is at fault, and the others are read again.
    """
    lines = _Lines(text)
    records = csv.reader(lines, strict=True)
    width: int | None = None
    while True:
        start = lines.begin()
        found: list[str] | str | None
        try:
            found = next(records, None)
        except csv.Error as error:
            # What the parser says of it is about Python's files.
            lone = str(error).startswith("new-line character")
            found = f"not CSV: {'a carriage return without a line feed ends no line' if lone else error}"
        if found is None:
            return
        if not found:
            continue
        if width is None:
            width = len(found) if isinstance(found, list) else 0
        elif lines.number > start and (isinstance(found, str) or len(found) != width):
            end = lines.number
            found = "not CSV: a quote opens here and is not closed where its cell ends"
            if not lines.rewind():
                found += f"; the rows up to line {end} are not read"
        yield start, found


def _read_csv(text: Iterable[str], ignore: bool, adapters: Adapters) -> Iterator[Row]:
    header: list[str] | None = None
    columns: list[tuple[int, str, dict[str, object]]] = []
    flaw: str | None = None
    for line, cells in csv_records(text):
        if header is None:
            header = [] if isinstance(cells, str) else [cell.strip().removeprefix("\ufeff") for cell in cells]
            columns, flaw = _columns(header, ignore, adapters)
            if isinstance(cells, str):
                flaw = f"the header is {cells}"
                yield Row(line, None, flaw)
        elif isinstance(cells, str):
            yield Row(line, None, cells)
        elif any(cells):
            yield _csv_row(line, cells, header, columns, flaw, adapters)


def _columns(
    header: list[str], ignore: bool, adapters: Adapters
) -> tuple[list[tuple[int, str, dict[str, object]]], str | None]:
    """Position, name and memory of values already typed of each column; and what is wrong with the header."""
    columns: list[tuple[int, str, dict[str, object]]] = []
    flaws = []
    for position, name in enumerate(header):
        if name in adapters:
            if header.index(name) != position:
                flaws.append(f"column {name!r} appears twice")
            columns.append((position, name, {"": None}))
        elif name and not ignore:
            flaws.append(unknown_field(name))
        # To look for what a name means takes its time, and a header may hold any number of them.
        if len(flaws) == MOST_FLAWS:
            break
    return columns, "; ".join(flaws) or None


def _csv_row(
    line: int,
    cells: list[str],
    header: list[str],
    columns: list[tuple[int, str, dict[str, object]]],
    flaw: str | None,
    adapters: Adapters,
) -> Row:
    if flaw is not None:
        return Row(line, None, flaw)
    if len(cells) != len(header):
        return Row(line, None, f"{len(cells)} cells where the header has {len(header)}")
    values: dict[str, object] = {}
    for position, name, known in columns:
        cell = cells[position]
        if not cell:
            continue
        if cell in known:
            value = known[cell]
        else:
            try:
                value = parse_value(name, cell, adapters)
            except ValueError as error:
                return Row(line, None, str(error))
            if len(cell) <= LONGEST_REMEMBERED and len(known) < 10_000:
                known[cell] = value
        if value is not None:
            values[name] = value
    return Row(line, values, None)


def _read_ndjson(text: Iterable[str], ignore: bool, adapters: Adapters) -> Iterator[Row]:
    for line, written in enumerate(text, start=1):
        if not written.strip():
            continue
        try:
            yield Row(line, _ndjson_values(written, ignore, adapters), None)
        except ValueError as error:
            yield Row(line, None, str(error))


def _ndjson_values(written: str, ignore: bool, adapters: Adapters) -> dict[str, object]:
    if len(written) > LONGEST_LINE:
        raise ValueError(f"more than {LONGEST_LINE} characters in one line")
    try:
        read = json.loads(written)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(read, dict):
        raise ValueError("a row is a JSON object")
    values: dict[str, object] = {}
    for name, value in _dotted(read):
        if ignore and name not in adapters:
            continue
        typed = parse_value(name, value, adapters) if value is not None else None
        if name not in adapters:
            raise ValueError(unknown_field(name))
        if typed is not None:
            values[name] = typed
    return values


def _dotted(read: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in read.items():
        if isinstance(value, dict) and (name in SECTIONS or name == RECORD):
            yield from ((f"{name}.{field}", inner) for field, inner in value.items())
        else:
            yield name, value


def format_value(value: object) -> str:
    """A value as a CSV cell: numbers shortest, whole ones without a point; booleans lower case; objects as JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return str(value)


def write_csv(rows: Iterable[Mapping[str, object]], stream: IO[str], columns: Iterable[str] | None = None) -> None:
    """Write rows of dotted names as CSV; ``stream`` is text opened with ``newline=""``.

    Without ``columns``, those that any row states, in the order of the vocabulary (the rows are then held in memory).
    Names beyond the vocabulary come last, in order of appearance.
    """
    if columns is None:
        rows = list(rows)
        present = dict.fromkeys(name for row in rows for name in row)
        columns = [name for name in FIELDS if name in present] + [name for name in present if name not in VALUES]
    names = list(columns)
    stream.write(_csv_line(names))
    for row in rows:
        stream.write(_csv_line([format_value(row.get(name)) for name in names]))


def _csv_line(cells: Iterable[str]) -> str:
    """One line as RFC 4180 has it, but for the bare line feed at its end; the standard writer leaves \\r unquoted."""
    return ",".join(f'"{cell.replace(_QUOTE, _QUOTE * 2)}"' if _SPECIAL.search(cell) else cell for cell in cells) + "\n"


def write_ndjson(rows: Iterable[Mapping[str, object]], stream: IO[str]) -> None:
    """Write rows of dotted names as NDJSON, one nested object a line."""
    for row in rows:
        stream.write(
            json.dumps(nest({name: value for name, value in row.items() if value is not None}), ensure_ascii=False)
        )
        stream.write("\n")
