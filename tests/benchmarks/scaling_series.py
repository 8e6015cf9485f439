"""How well the speed-up from more chips is predicted where nobody measured: ``make scaling``.

A series is one source's runs of the same model, chip, software, precision and layout at several counts, at the same
batch per chip (weak scaling) or the same global batch (strong). Each lineage's series are predicted by a fit that has
not seen the lineage. A speed-up is of samples per second, from the series' smallest count in a range (1 to 8 chips, 8
to 4,096) to each larger one. Errors are averaged over the pairs of a lineage, and then over lineages, so that no
source drowns the others. Prints tables; the goal is 8 %. Takes about a minute.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from service.calibrations.shipped import OUTCOME, measured, shipped_rows
from service.catalog.catalog import load_catalog
from service.engine.calibration import fit
from service.engine.comparison import log_ratio
from service.engine.distribution import Z90
from service.engine.forecast import Forecaster
from service.engine.held_out import as_new_site, ask_without_lineages
from service.engine.table import FloatArray, IntArray, Table

GOAL = 0.08
RANGES = {"1 to 8": (1.0, 8.0), "8 to 4,096": (8.0, 4096.0)}
# What grows with the count, or says where it stands in the source.
SCALED = OUTCOME | {
    "hardware.count",
    "hardware.per_node",
    "hardware.interconnect",
    "hardware.inter_node_gbs",
    "training.global_batch",
    "training.gradient_accumulation",
    "training.data_parallel",
    "provenance.measured_on",
    "result.unit",
}


@dataclass(frozen=True)
class Pair:
    """One measured speed-up: positions of the two runs among the timed rows, and which kind it is."""

    few: int
    many: int
    range: str
    scaling: str  # weak, strong
    measured: float  # natural log of the speed-up


@dataclass(frozen=True)
class Judged:
    """A measured speed-up beside the predicted one, natural logs."""

    lineage: str
    source: str
    family: str
    model: str
    accelerator: str
    few: float
    many: float
    range: str
    scaling: str
    measured: float
    predicted: float
    deviation: float

    @property
    def error(self) -> float:
        """Relative error of the predicted speed-up, signed."""
        return float(np.expm1(self.predicted - self.measured))

    @property
    def covered(self) -> bool:
        """Whether the measured speed-up lies in the predicted 80 % interval."""
        return abs(self.predicted - self.measured) <= Z90 * self.deviation


def main() -> None:
    """Predicts every measured series without its lineage and prints the errors of the speed-ups."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leave", nargs="+", metavar="LINEAGE", help="these lineages only")
    parser.add_argument("--output", type=Path, help="JSON file to write every pair to")
    parser.add_argument("--processes", type=int, default=2, help="lineages at a time")
    arguments = parser.parse_args()
    console = Console(width=140)
    with console.status("reading the measurements"):
        rows, ids = shipped_rows()
        data = measured(rows, ids, load_catalog())
    timed = np.isfinite(data.log_seconds)
    table, log_seconds = data.table.take(timed), data.log_seconds[timed]
    if unknown := set(arguments.leave or ()) - set(table.text("lineage").tolist()):
        raise SystemExit(f"no such lineage: {', '.join(sorted(unknown))}")
    stated = dict(zip(ids, rows, strict=True))
    pairs = find_pairs(table, log_seconds, [stated[str(name)] for name in data.ids[timed]])
    with console.status("fitting, and predicting without each lineage"):
        judged = judge(table, log_seconds, pairs, arguments.leave, arguments.processes)
    if arguments.output:
        arguments.output.write_text(json.dumps([asdict(one) for one in judged], indent=1))
    for title, key in (("scaling", "scaling"), ("family", "family"), ("lineage", "lineage")):
        console.print(_table(judged, title, key))


def find_pairs(table: Table, log_seconds: FloatArray, rows: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """All measured speed-ups among n timed rows; `rows` are what each states, by dotted name."""
    alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for position, row in enumerate(rows):
        key = tuple(sorted((name, str(value)) for name, value in row.items() if name not in SCALED))
        alike.setdefault(key, []).append(position)
    # Where only accumulation is stated, the same batch per chip may still be computed in other pieces.
    kinds = {
        "strong": (table["global_batch"],),
        "weak": (table["global_batch"] / table["count"], table["gradient_accumulation"]),
    }
    found: list[Pair] = []
    for positions in alike.values():
        for scaling, batch in kinds.items():
            series: dict[tuple[str, ...], list[int]] = {}
            for position in positions:
                series.setdefault(tuple(f"{column[position]:.6g}" for column in batch), []).append(position)
            for members in series.values():
                found += _pairs(table, log_seconds, members, scaling)
    return found


def _pairs(table: Table, log_seconds: FloatArray, members: Sequence[int], scaling: str) -> Iterable[Pair]:
    """The speed-ups of one series, from runs that fill their nodes; of repeats the median run stands for all."""
    at: dict[float, list[int]] = {}
    for position in members:
        at.setdefault(float(table["count"][position]), []).append(position)
    usual = {}
    for chips, runs in at.items():
        # Some sources spread the same count over more nodes, too: another question.
        filled = max(table["per_node"][run] for run in runs)
        dense = sorted((run for run in runs if table["per_node"][run] == filled), key=lambda run: log_seconds[run])
        usual[chips] = dense[len(dense) // 2]
    for name, (least, most) in RANGES.items():
        inside = sorted(chips for chips in usual if least <= chips <= most)
        for chips in inside[1:]:
            few, many = usual[inside[0]], usual[chips]
            if table["per_node"][few] == min(inside[0], table["per_node"][many]):
                yield Pair(few, many, name, scaling, float(log_seconds[few] - log_seconds[many]))


def judge(
    table: Table, log_seconds: FloatArray, pairs: Sequence[Pair], lineages: Sequence[str] | None, processes: int
) -> list[Judged]:
    """Every pair as a fit without its lineage predicts it."""
    names = table.text("lineage")
    wanted = sorted({str(names[pair.few]) for pair in pairs} if lineages is None else set(lineages))
    by_row: dict[int, list[Pair]] = {}
    for pair in pairs:
        by_row.setdefault(pair.many, []).append(pair)
    most = max(len(listed) for listed in by_row.values())

    def question(cold: Forecaster, rows: IntArray) -> FloatArray:
        answer = np.full((2 * most, len(rows)), np.nan)
        column = {int(row): index for index, row in enumerate(rows)}
        asked = [(place, pair) for row in column for place, pair in enumerate(by_row.get(row, []))]
        if not asked:
            return answer
        many, few = (
            as_new_site(table.take(np.array([getattr(pair, side) for _, pair in asked]))) for side in ("many", "few")
        )
        compared = log_ratio(cold, many, few)
        for (place, pair), median, deviation in zip(asked, compared.median, compared.deviation, strict=True):
            answer[2 * place : 2 * place + 2, column[pair.many]] = -median, deviation
        return answer

    answers = ask_without_lineages(
        table, log_seconds, fit(table, log_seconds), wanted, question, 2 * most, processes=processes
    )
    judged = []
    for row, listed in by_row.items():
        for place, pair in enumerate(listed):
            predicted, deviation = answers[2 * place : 2 * place + 2, row]
            if np.isfinite(predicted):
                judged.append(
                    Judged(
                        lineage=str(table.text("lineage")[row]),
                        source=str(table.text("site")[row]),
                        family=str(table.text("family")[row]),
                        model=str(table.text("model")[row]),
                        accelerator=str(table.text("accelerator")[row]),
                        few=float(table["count"][pair.few]),
                        many=float(table["count"][row]),
                        range=pair.range,
                        scaling=pair.scaling,
                        measured=pair.measured,
                        predicted=float(predicted),
                        deviation=float(deviation),
                    )
                )
    return judged


def _table(judged: Sequence[Judged], title: str, key: str) -> RichTable:
    """Scores by the values of one attribute and by range, lineages weighing the same."""
    shown = RichTable(title=f"Predicted speed-up, by {title} (goal {GOAL:.0%})")
    for column in (
        "chips",
        title,
        "lineages",
        "pairs",
        "mean error",
        "median error",
        "bias",
        "coverage of 80 %",
        "p90/p10",
    ):
        shown.add_column(column, justify="left" if column in ("chips", title) else "right")
    for name in RANGES:
        inside = [one for one in judged if one.range == name]
        values = sorted({str(getattr(one, key)) for one in inside})
        groups = [(value, [one for one in inside if str(getattr(one, key)) == value]) for value in values]
        for value, members in [*groups, ("all", inside)]:
            by_lineage: dict[str, list[Judged]] = {}
            for one in members:
                by_lineage.setdefault(one.lineage, []).append(one)
            if not by_lineage:
                continue

            def mean(values: Iterable[Iterable[float]]) -> float:
                return float(np.mean([np.mean(list(inner)) for inner in values]))

            lineages = by_lineage.values()
            shown.add_row(
                name,
                value,
                str(len(by_lineage)),
                str(len(members)),
                f"{mean((abs(one.error) for one in inner) for inner in lineages):.1%}",
                f"{np.mean([np.median([abs(one.error) for one in inner]) for inner in lineages]):.1%}",
                f"{mean((one.predicted - one.measured for one in inner) for inner in lineages):+.1%}",
                f"{mean((one.covered for one in inner) for inner in lineages):.0%}",
                f"{np.exp(2 * Z90 * mean((one.deviation for one in inner) for inner in lineages)):.2f}",
            )
        shown.add_section()
    return shown


if __name__ == "__main__":
    main()
