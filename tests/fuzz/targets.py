"""What hostile files are fed to, and what must hold of whatever comes out, for generated and for mutated bytes alike.

Each target takes bytes and either reads them or refuses them as it says it does; all else, a crash, a value that is no
number, a row that reads back otherwise, is an `AssertionError` or the crash itself.
"""

import contextlib
import io
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from service.catalog.catalog import load_catalog
from service.catalog.huggingface import read_huggingface_config
from service.catalog.resolution import Unresolvable
from service.catalog.resolve import resolve
from service.codec import read_rows, write_ndjson
from service.launch_configs import READERS, LaunchConfigError
from service.problems import TooLarge, Unprocessable, UnsupportedMediaType
from service.submissions.spool import CSV, NDJSON, Spool

MOST_ROWS = 1000
CHIP = "H100-SXM5-80GB"


def csv_import(content: bytes) -> None:
    """A body of `text/csv`."""
    _imported(content, CSV)


def ndjson_import(content: bytes) -> None:
    """A body of `application/x-ndjson`."""
    _imported(content, NDJSON)


def huggingface_config(content: bytes) -> None:
    """A `config.json` pasted into `model.huggingface_config`: as a request has it, so JSON and an object already."""
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        return
    if not isinstance(config, dict):
        return
    try:
        shape = read_huggingface_config(config)
    except ValueError:
        return
    _finite(shape)
    with contextlib.suppress(Unresolvable):
        resolve({"model.huggingface_config": config, "hardware.accelerator": CHIP}, load_catalog())


def launch_config(kind: str) -> Callable[[bytes], None]:
    """A file of that framework."""

    def target(content: bytes) -> None:
        try:
            read = READERS[kind](content.decode("utf-8", errors="replace"))
        except LaunchConfigError:
            return
        # The published file itself is passed on as it is.
        _finite({name: value for name, value in read.fields.items() if name != "model.huggingface_config"})

    return target


TARGETS: dict[str, Callable[[bytes], None]] = {
    "csv": csv_import,
    "ndjson": ndjson_import,
    "config": huggingface_config,
    **{kind: launch_config(kind) for kind in READERS},
}


def _imported(content: bytes, kind: str) -> None:
    spool = Spool(io.BytesIO(content), kind, b"", content.count(b"\n"))
    try:
        rows = list(spool.rows(MOST_ROWS))
    except (Unprocessable, UnsupportedMediaType, TooLarge):
        return
    assert len(rows) <= content.count(b"\n") + content.count(b"\r") + 1
    assert [row.line for row in rows] == sorted({row.line for row in rows})
    for row in rows:
        assert (row.values is None) != (row.error is None)
        assert row.error is None or len(row.error) < 10_000
    taken = [row.values for row in rows if row.values]
    written = io.StringIO()
    write_ndjson(taken, written)
    again = list(read_rows(io.BytesIO(written.getvalue().encode()), content=NDJSON))
    assert [row.values for row in again] == taken


def _finite(fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        assert isinstance(value, str | bool | int | float), name
        assert isinstance(value, str) or math.isfinite(value), name
