"""How far malicious submissions move predictions on clean sources that nobody fitted: ``make poison``.

A tenth of all rows is malicious and past the vetting: configurations that the fit knows, with their times multiplied
by three, divided by three, or by anything from a tenth to ten. They come from one
team under many source names, or from many teams. What each fit then predicts for the clean sources, as a new site
would be, is compared with what the fit without malice predicts: the median move of their rows, and that of the source
that moves most. Prints a table; the goal is under 3 %. Takes some minutes.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from service.calibrations.fit import load_shipped, shared_fit
from service.calibrations.shipped import Measured
from service.engine.calibration import Fit, fit
from service.engine.forecast import Forecaster
from service.engine.table import FloatArray, Table
from service.engine.trust import TEAM

MALICIOUS_SHARE = 0.10
"""Of all rows that a fit sees."""
GOAL = 0.03
HELD_OUT_LINEAGES = 8
"""Clean lineages that no fit sees, drawn among those of at least ``LEAST_ROWS`` rows."""
LEAST_ROWS = 50
SEED = 7
SOURCE_NAMES = 50
"""Names that the one team submits under."""

ATTACKS: dict[str, Callable[[np.random.Generator, int], FloatArray]] = {
    "all ×3": lambda generator, rows: np.full(rows, np.log(3.0)),
    "all ÷3": lambda generator, rows: np.full(rows, -np.log(3.0)),
    "random": lambda generator, rows: generator.uniform(-np.log(10.0), np.log(10.0), rows),
}
"""What is added to the natural log of each malicious row's time."""
TEAMS = (1, 10, 40)


@dataclass(frozen=True)
class Moved:
    """Relative moves of the median predictions of clean rows: of all rows the median and 90th percentile, and the
    largest median among the sources."""

    median: float
    ninetieth: float
    worst_source: float


def main() -> None:
    """Runs every attack and prints how far the clean predictions moved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="JSON file to write the moves to")
    arguments = parser.parse_args()
    console = Console()
    with console.status("loading"):
        seen, unseen = _split(load_shipped())
    console.print(f"held out: {', '.join(sorted(set(unseen.text('lineage').tolist())))}")
    with console.status("without malice"):
        anchor = fit(seen.table, seen.log_seconds)
        before = _predictions(seen, anchor, unseen)
    result = RichTable(title=f"{MALICIOUS_SHARE:.0%} malicious rows: relative move of clean median predictions")
    for column in ("attack", "teams", "median", "90th percentile", "worst source", f"< {GOAL:.0%}"):
        result.add_column(column, justify="right")
    moves: dict[str, dict[str, float]] = {}
    for name, attack in ATTACKS.items():
        for teams in TEAMS:
            with console.status(f"{name}, {teams} teams"):
                moved = compared(before, _predictions(poisoned(seen, attack, teams), anchor, unseen), unseen)
            moves[f"{name}, {teams} teams"] = vars(moved)
            shown = [f"{share:.1%}" for share in vars(moved).values()]
            result.add_row(name, str(teams), *shown, "yes" if moved.median < GOAL else "no")
            console.print(f"{name}, {teams} teams: {', '.join(shown)}")
    console.print(result)
    if arguments.output:
        arguments.output.write_text(json.dumps(moves, indent=1, ensure_ascii=False))


def poisoned(seen: Measured, attack: Callable[[np.random.Generator, int], FloatArray], teams: int) -> Measured:
    """The rows that a fit sees, and among them the malicious ones, submitted by so many teams."""
    generator = np.random.default_rng(SEED)
    clean = len(seen.table)
    rows = round(clean * MALICIOUS_SHARE / (1.0 - MALICIOUS_SHARE))
    used = np.concatenate([np.arange(clean), generator.choice(clean, rows)])
    team = generator.integers(teams, size=rows)
    lineage = np.array([f"{TEAM}{number}" for number in team], dtype=object)
    site = np.array([f"{TEAM}{number}/{generator.integers(SOURCE_NAMES)}" for number in team], dtype=object)
    table = seen.table.take(used).replace(
        lineage=np.concatenate([seen.table.text("lineage"), lineage]),
        site=np.concatenate([seen.table.text("site"), site]),
    )
    log_seconds = seen.log_seconds[used] + np.concatenate([np.zeros(clean), attack(generator, rows)])
    ids = np.concatenate([seen.ids, np.array([f"malicious-{number}" for number in range(rows)], dtype=object)])
    return Measured(table, log_seconds, np.full(len(used), np.nan), ids, seen.configurations[used], "")


def compared(before: FloatArray, after: FloatArray, table: Table) -> Moved:
    """How far predictions (natural log of seconds per sample) moved."""
    moves = np.abs(np.expm1(after - before))
    sources = table.text("site").astype(str)
    by_source = [float(np.median(moves[sources == name])) for name in np.unique(sources)]
    return Moved(float(np.median(moves)), float(np.quantile(moves, 0.9)), max(by_source))


def _split(data: Measured) -> tuple[Measured, Table]:
    """The timed rows that fits see, and the clean configurations of lineages that none does."""
    timed = np.isfinite(data.log_seconds)
    lineages = data.table.text("lineage").astype(str)
    names, counts = np.unique(lineages[timed], return_counts=True)
    held_out = np.random.default_rng(SEED).choice(names[counts >= LEAST_ROWS], HELD_OUT_LINEAGES, replace=False)
    clean = timed & np.isin(lineages, held_out)
    seen = timed & ~clean
    peaks = data.peak_memory_gb[seen]
    kept = Measured(data.table.take(seen), data.log_seconds[seen], peaks, data.ids[seen], data.configurations[seen], "")
    return kept, data.table.take(clean)


def _predictions(data: Measured, anchor: Fit, unseen: Table) -> FloatArray:
    """Median natural log of seconds per sample that a calibration on these rows predicts for new sites."""
    forecaster = Forecaster.of(*shared_fit(data, anchor))
    nowhere = np.full(len(unseen), "", dtype=object)
    predicted, _, _ = forecaster.log_seconds(unseen.replace(lineage=nowhere, site=nowhere))
    return predicted


if __name__ == "__main__":
    main()
