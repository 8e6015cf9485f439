"""How well layouts are ranked where they were measured, and how fast they are searched: ``make plan-ranking``.

A group is one source's runs of the same model, chip, number of chips, software, precision and batch in at least
``LEAST`` layouts. Its lineage is predicted by a fit that has not seen it, and its layouts are ranked by that. Judged:
whether the layout ranked first is within 10 % of the quickest measured one (goal: in 80 % of groups), and the rank
correlation (Spearman) of predicted and measured speed (goal: 0.85 in the mean). Beside it, on rows whose degrees were
measured more than once, how well one measurement ranks the other: what a sweep repeats no better cannot be ranked
better. The search: GPT-3 175B on up to 4,096 of six chips. Prints tables; judges nothing, for clocks differ from
machine to machine. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable
from scipy import stats

from service.calibrations.fit import hold_out, load_shipped
from service.catalog.catalog import load_catalog
from service.engine.forecast import Forecaster
from service.engine.search import NOT_IN_MEMORY, SLOWER, search
from service.engine.table import FloatArray, IntArray, Table
from service.plans.places import places
from service.plans.schemas import PlanRequest
from service.plans.service import make_plans
from service.seed import CALIBRATION
from service.sites.standpoint import Standpoint

LEAST = 5
NEAR = 0.9
SAME = (
    "site", "model", "accelerator", "framework", "attention", "precision", "mode", "adapter", "optimizer", "count",
    "per_node", "inter_gbs", "sequence_length", "global_batch", "compile", "year",
)  # fmt: skip
LAYOUT = (
    "tensor_parallel", "pipeline_parallel", "virtual_pipeline", "context_parallel", "expert_parallel", "data_parallel",
    "micro_batch", "sharding", "recompute", "offload",
)  # fmt: skip
SPACE = {
    "model": {"name": "gpt-3-175b"},
    "data": {"tokens": 300e9, "sequence_length": 2048},
    "hardware": {
        "accelerators": [
            "V100-SXM2-32GB", "A100-SXM4-80GB", "H100-SXM5-80GB", "H200-SXM-141GB", "B200-SXM-180GB", "MI300X",
        ],
        "max_count": 4096,
    },
    "training": {"global_batch": 1536},
}  # fmt: skip
REPEATS = 5


@dataclass(frozen=True)
class Group:
    """Layouts of one run: how well they were ranked."""

    lineage: str
    name: str
    layouts: int
    achieved: float  # speed of the layout ranked first, over that of the quickest
    correlation: float
    first: str
    best: str


def groups(table: Table) -> Iterator[IntArray]:
    """Positions of the rows of every group."""
    keys: dict[tuple[str, ...], list[int]] = {}
    columns = [_told(table, name) for name in SAME]
    for row, key in enumerate(zip(*columns, strict=True)):
        keys.setdefault(key, []).append(row)
    layouts = list(zip(*(_told(table, name) for name in LAYOUT), strict=True))
    for rows in keys.values():
        if len({layouts[row] for row in rows}) >= LEAST:
            yield np.array(rows)


def judged(table: Table, measured: FloatArray, predicted: FloatArray, rows: IntArray) -> Group:
    """How a group was ranked; natural logs of seconds per sample."""
    first, best = rows[np.argmin(predicted[rows])], rows[np.argmin(measured[rows])]
    head = table.take(rows[:1])
    return Group(
        str(head.text("lineage")[0]),
        f"{head.text('model')[0]} on {head['count'][0]:g} {head.text('accelerator')[0]}",
        len(rows),
        float(np.exp(measured[best] - measured[first])),
        float(stats.spearmanr(measured[rows], predicted[rows]).statistic),
        _layout(table, int(first)),
        _layout(table, int(best)),
    )


def repeats(table: Table, measured: FloatArray) -> FloatArray:
    """What other measurements of the same degrees say of each row (natural log, mean), shape (n,); NaN if none do.

    How replicas share the optimizer out may differ, which the quickest runs hardly feel.
    """
    keys: dict[tuple[str, ...], list[int]] = {}
    columns = [_told(table, name) for name in (*SAME, *LAYOUT) if name != "sharding"]
    for row, key in enumerate(zip(*columns, strict=True)):
        keys.setdefault(key, []).append(row)
    result = np.full(len(table), np.nan)
    for rows in keys.values():
        for row in rows if len(rows) > 1 else ():
            result[row] = np.mean([measured[other] for other in rows if other != row])
    return result


def ranking(lineages: list[str] | None) -> None:
    """Prints how groups of layouts are ranked, lineages held out."""
    data = load_shipped()
    timed = np.isfinite(data.log_seconds)
    table, measured = data.table.take(timed), data.log_seconds[timed]
    found = [rows for rows in groups(table) if not lineages or table.text("lineage")[rows[0]] in lineages]
    names = sorted({str(table.text("lineage")[rows[0]]) for rows in found})
    predicted = hold_out(data, names).held_out.predicted
    made = [judged(table, measured, predicted, rows) for rows in found]
    each = RichTable("lineage", "run", "layouts", "first / best", "correlation", "ranked first", "best measured")
    for group in sorted(made, key=lambda group: (group.lineage, group.achieved)):
        each.add_row(
            group.lineage, group.name, str(group.layouts), f"{group.achieved:.2f}", f"{group.correlation:.2f}",
            group.first, group.best,
        )  # fmt: skip
    every = RichTable(
        "lineage", "groups", "first within 10 % of best", "mean correlation", title="Layouts ranked, cold"
    )
    for name in [*names, "all"]:
        mine = [group for group in made if name in (group.lineage, "all")]
        every.add_row(name, *_figures(mine))
    again = repeats(table, measured)
    twice = [rows[np.isfinite(again[rows])] for rows in found]
    twice = [rows for rows in twice if len(rows) >= LEAST]
    bound = RichTable("ranked by", "groups", "first within 10 % of best", "mean correlation", title="Measured twice")
    for name, by in (("another measurement of the same degrees", again), ("the prediction", predicted)):
        mine = [judged(table, measured, by, rows) for rows in twice]
        bound.add_row(name, *_figures(mine))
    console = Console(width=220)
    for shown in (each, every, bound):
        console.print(shown)


def speed() -> None:
    """Prints how long the largest search takes, on one core."""
    catalog, forecaster = load_catalog(), Forecaster.load(CALIBRATION)
    request = PlanRequest.model_validate(SPACE)
    counts = request.hardware.tried_counts()
    made = places(request, counts, catalog).found
    values, stated, judge = [place.values for place in made], made[0].stated, forecaster.judge
    found = search(values, stated, judge, offloads=("none", "cpu"))
    considered = found.considered
    # What is neither put aside by division alone nor known to be no better than another.
    computed = found.rejected[NOT_IN_MEMORY] + found.rejected[SLOWER] + sum(map(len, found.candidates))

    def searched() -> None:
        search(values, stated, judge, offloads=("none", "cpu"))

    def planned() -> None:
        make_plans(request, catalog, Standpoint(forecaster))

    shown = RichTable("what", "figure", title="GPT-3 175B on up to 4,096 of six chips")
    shown.add_row("configurations", f"{considered:,} at {len(made)} places, {computed:,} of them by the mechanics")
    for name, work in (("search alone", searched), ("the whole plan", planned)):
        spent = min(_cpu_seconds(work) for _ in range(REPEATS))
        shown.add_row(
            name,
            f"{spent:.2f} s of one core: {considered / spent:,.0f} a second, {computed / spent:,.0f} by the mechanics",
        )
    Console(width=120).print(shown)


def _figures(made: Sequence[Group]) -> tuple[str, str, str]:
    near = sum(group.achieved >= NEAR for group in made) / max(len(made), 1)
    return str(len(made)), f"{near:.0%}", f"{np.mean([group.correlation for group in made]):.2f}"


def _told(table: Table, name: str) -> list[str]:
    column = table.text(name) if name in table.texts else table[name]
    return [str(value) for value in column.tolist()]


def _layout(table: Table, row: int) -> str:
    degrees = ", ".join(f"{name[0].upper()}P{table[name][row]:g}" for name in LAYOUT[:6] if table[name][row] > 1)
    held = ", ".join(str(table.text(name)[row]) for name in LAYOUT[7:9])
    return f"{degrees}; micro-batch {table['micro_batch'][row]:g}; {held}"


def _cpu_seconds(work: Callable[[], None]) -> float:
    """Processor time: what else the machine does is not the search's."""
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lineage", action="append", help="judge these lineages only; repeatable")
    parser.add_argument("--only", choices=("ranking", "speed"), help="one of the two")
    asked = parser.parse_args()
    if asked.only != "speed":
        ranking(asked.lineage)
    if asked.only != "ranking":
        speed()


if __name__ == "__main__":
    main()
