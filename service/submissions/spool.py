"""A body of measurements on disk, and the rows in it: told apart from what is no table of measurements at all."""

from __future__ import annotations

import csv
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import IO

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from service.codec import Adapters, Row, bounded_lines, read_rows
from service.configuration import FIELDS, suggest_field
from service.problems import FieldError, Problem, TooLarge, Unprocessable, UnsupportedMediaType

CSV, NDJSON = "text/csv", "application/x-ndjson"
CONTENTS = (CSV, NDJSON)
IN_MEMORY = 8_000_000
"""Bytes of a body that are held in memory; what is longer waits on disk."""
GZIP = b"\x1f\x8b"
"""What gzip files start with (RFC 1952, section 2.3.1)."""
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""What UTF-16 starts with: spreadsheets' "Unicode text", and what PowerShell writes."""
MOST_NAMED = 5
"""Columns that a refused header names."""
SEPARATORS = {";": "semicolons", "\t": "tabs"}
"""What spreadsheets separate columns by where a comma stands in numbers, and what a table that was copied has."""
NOTHING_MORE: Adapters = MappingProxyType({})


@dataclass
class Spool:
    """A body on disk, with its type, its digest and the number of its lines."""

    body: IO[bytes]
    content: str
    digest: bytes
    lines: int

    @classmethod
    async def of(cls, request: Request) -> Spool:
        """Reads the whole body.

        Raises:
            UnsupportedMediaType: It is said to be neither CSV nor NDJSON.
            OSError: The disk is full.
        """
        content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content not in CONTENTS:
            raise _other_type(f"{content!r} is not read here", f"send {' or '.join(CONTENTS)}")
        body = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 -- closed by whoever reads it
        digest, lines = hashlib.sha256(), 0
        async for chunk in request.stream():
            digest.update(chunk)
            lines += chunk.count(b"\n")
            await run_in_threadpool(body.write, chunk)
        return cls(body, content, digest.digest(), lines)

    def rows(self, most: int, *, more: Adapters = NOTHING_MORE) -> Iterator[Row]:
        """Its rows from the first on, at least one.

        Args:
            most: rows that are taken.
            more: columns besides those of a measurement.

        Raises:
            TooLarge: There are more rows than are taken.
            UnsupportedMediaType: It is compressed, or of the other type than it is said to be.
            Unprocessable: No row is in it, or no column that is known.
        """
        if self.lines > most + 1:
            raise TooLarge(f"At most {most} rows are imported at once, and there are about {self.lines}.")
        refuse_other_types(self.body, self.content, more=more)
        rows = read_rows(bounded_lines(self.body), content=self.content, more=more)
        head = next(rows, None)
        if head is None:
            raise Unprocessable("There is no row in the body: nothing was stored.")
        return chain([head], rows)


def is_utf_16(start: bytes) -> bool:
    """Whether a text of which these are the first four bytes is encoded as UTF-16."""
    # Without a mark, every other byte of Latin letters is zero.
    return start.startswith(UTF_16) or start[::2] == b"\0\0" or start[1::2] == b"\0\0"


def refuse_other_types(body: IO[bytes], content: str, *, more: Adapters = NOTHING_MORE) -> None:
    """Looks whether a body is the table that it is said to be, by its first line; leaves it at its beginning.

    Args:
        body: a file that can be sought in.
        content: `text/csv` or `application/x-ndjson`.
        more: columns besides those of a measurement.

    Raises:
        UnsupportedMediaType: It is compressed, or of the other type than it is said to be.
        Unprocessable: No column in it is known, or it is UTF-16.
    """
    body.seek(0)
    if body.read(len(GZIP)) == GZIP:
        raise _other_type("the body is compressed", "send it as it is")
    body.seek(0)
    if is_utf_16(body.read(4)):
        raise Unprocessable("The file is encoded as UTF-16, and UTF-8 is read: save it in that encoding.")
    body.seek(0)
    first = next((line for line in bounded_lines(body) if line.strip()), "")
    if (trouble := _trouble(first, content, more)) is not None:
        raise trouble
    body.seek(0)


def _trouble(first: str, content: str, more: Adapters) -> Problem | None:
    """Why a body that starts with this line is not read, if it is not; a single bad row is no reason."""
    start = first.lstrip()[:1]
    header = _cells(first)
    known = [name for name in header if name in FIELDS or name in more]
    if content == NDJSON:
        if start == "[":
            return Unprocessable("The body is a JSON list: send one object a line instead, without brackets around.")
        if start != "{" and known:
            return _other_type("the body is CSV and was sent as NDJSON", f"send it with content-type: {CSV}")
        return None
    if start in ("{", "["):
        return _other_type("the body is JSON and was sent as CSV", f"send one object a line as content-type: {NDJSON}")
    for separator, called in SEPARATORS.items():
        if not known and any(cell.strip().strip('"') in FIELDS for cell in first.split(separator)):
            return Unprocessable(
                f"The columns are separated by {called}: save the file with commas between them, and points in numbers."
            )
    if header and not known:
        named = ", ".join(repr(name) for name in header[:MOST_NAMED])
        return Unprocessable(
            f"The header (line 1) names no column of a measurement: {named}.",
            [FieldError(field=name, message="is no column here", hint=_meant(name)) for name in header[:MOST_NAMED]],
        )
    return None


def _cells(header: str) -> list[str]:
    """Names in a header; none where it is not CSV, which its rows are then told."""
    try:
        return [cell.strip() for cell in next(csv.reader([header], strict=True), []) if cell.strip()]
    except csv.Error:
        return []


def _meant(name: str) -> str:
    meant = suggest_field(name)
    return f"did you mean {meant!r}?" if meant else "the first line names columns, such as model.name and result.value"


def _other_type(message: str, hint: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(
        f"{message[0].upper()}{message[1:]}: {hint}.",
        [FieldError(field="header.content-type", message=message, hint=hint)],
    )
