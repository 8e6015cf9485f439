"""The shipped measurements as the engine sees them: a table, measured times, identifiers."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.catalog.catalog import Catalog
from service.catalog.normalise import normalise
from service.catalog.operating_facts import operating_facts
from service.catalog.records import DATA
from service.catalog.resolution import Resolved, Unresolvable
from service.catalog.resolve import resolve_table
from service.catalog.resolve_training import OTHER_OBJECTIVES
from service.codec import read_rows
from service.engine.economics import step_seconds_per_sample
from service.engine.judge import Judge
from service.engine.table import FloatArray, Table, TextArray


@dataclass(frozen=True, eq=False)
class Measured:
    """Measured configurations: the n rows that resolved, with what was observed."""

    table: Table
    log_seconds: FloatArray  # natural log of seconds per sample; NaN where nothing was timed
    peak_memory_gb: FloatArray  # NaN where not measured
    ids: TextArray
    configurations: TextArray  # digest of all that a row states but what came of it: equal ones are repeats
    fingerprint: str


# What a row says of its outcome and of its place in the source; all else is how the run was made.
OUTCOME = frozenset(
    {
        "provenance.locator",
        "provenance.notes",
        "result.value",
        "result.model_tflops",
        "result.mfu",
        "result.peak_memory_gb",
        "result.out_of_memory",
    }
)


def measurement_id(fields: Mapping[str, Any], *, repeat: int = 0) -> str:
    """The lasting id of a shipped measurement: a digest of all it says.

    Args:
        fields: its stated fields by dotted name.
        repeat: how many rows before it say exactly the same.
    """
    said = json.dumps([sorted(fields.items()), repeat], ensure_ascii=False, separators=(",", ":"))
    return f"m_{hashlib.sha256(said.encode()).hexdigest()[:24]}"


def configuration_digest(fields: Mapping[str, Any]) -> str:
    """The same text for all measurements (dotted names) that state the same run, whatever came of it."""
    stated = sorted((name, str(value)) for name, value in fields.items() if name not in OUTCOME and value is not None)
    return hashlib.sha256(json.dumps(stated, separators=(",", ":")).encode()).hexdigest()[:16]


def measured(
    rows: Sequence[Mapping[str, Any]], ids: Sequence[str], catalog: Catalog, *, judge: Judge | None = None
) -> Measured:
    """Make measurements (dotted names) computable; rows that can't be resolved are left out of the table.

    Args:
        rows: the measurements.
        ids: what they are stored under.
        catalog: the reference tables.
        judge: given, what they leave open of their layouts is taken as an estimate of the same words takes it.
    """
    answers: list[Resolved | Unresolvable]
    table, answers = resolve_table([normalise(dict(row)) for row in rows], catalog, measured=True, judge=judge)
    kept = [index for index, answer in enumerate(answers) if isinstance(answer, Resolved)]
    sources = [str(rows[index].get("provenance.source", "")) for index in kept]
    lineages = np.array(
        [catalog.sources[source].lineage if source in catalog.sources else source for source in sources], dtype=object
    )
    table = table.replace(lineage=lineages)
    value = np.array([_number(rows[index].get("result.value")) for index in kept])
    unit = np.array([str(rows[index].get("result.unit", "")) for index in kept], dtype=object)
    samples = np.array([answers[index].samples_to_train for index in kept])  # type: ignore[union-attr]
    seconds = step_seconds_per_sample(table, value, unit, samples, operating_facts())
    comparable = [rows[index].get("training.objective") not in OTHER_OBJECTIVES for index in kept]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_seconds = np.where(comparable, np.log(seconds), np.nan)
    memory = np.array([_number(rows[index].get("result.peak_memory_gb")) for index in kept])
    digest = hashlib.sha256()
    for identifier in sorted(str(ids[index]) for index in kept):
        digest.update(identifier.encode())
    return Measured(
        table,
        log_seconds,
        memory,
        np.array([ids[index] for index in kept], dtype=object),
        np.array([configuration_digest(rows[index]) for index in kept], dtype=object),
        digest.hexdigest(),
    )


def shipped_rows(directory: Path = DATA) -> tuple[list[dict[str, Any]], list[str]]:
    """All shipped measurements by dotted name, in the order of their files, and their ids."""
    rows: list[dict[str, Any]] = []
    ids: list[str] = []
    seen: Counter[str] = Counter()
    for path in sorted((directory / "measurements").glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as stream:
            for row in read_rows(stream, content="text/csv"):
                if row.values is None:
                    raise ValueError(f"{path.name}, line {row.line}: {row.error}")
                first = measurement_id(row.values)
                repeat = seen[first]
                seen[first] += 1
                rows.append(row.values)
                ids.append(measurement_id(row.values, repeat=repeat) if repeat else first)
    return rows, ids


def _number(value: Any) -> float:
    return float("nan") if value is None or value == "" else float(value)
