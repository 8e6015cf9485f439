"""The accuracy report as tables: for the terminal, for the README, and what moved against another report."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from service.engine.accuracy import LEAST_ROWS, mean_over

COLUMNS = (
    "sources",
    "rows",
    "mape",
    "median_ape",
    "bias",
    "coverage_80",
    "median_interval_ratio",
    "rule_of_thumb_mape",
    "rule_of_thumb_median_ape",
)
WARM_COLUMNS = ("rows", "mape", "goal", "repeat_scatter", "median_ape", "bias", "coverage_80", "median_interval_ratio")
MOVED = ("mape", "median_ape", "coverage_80", "median_interval_ratio")
# Where a report keeps scores by source, by the title of what moved there.
COMPARED = {"cold": ("by_source",), "warm": ("warm", "by_source")}
README_BEGIN, README_END = "<!-- accuracy: written by `make readme` -->\n", "<!-- /accuracy -->"
WIDTH = 170  # columns of text in which every table has room
CLASS_NAMES = {"transformer": "Transformers", "other": "others"}


def printer() -> Console:
    """A console as wide as the terminal, or wide enough for every table where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def read_report(path: Path) -> dict[str, Any]:
    """The accuracy report in a report's own file, or in a calibration (`.json.gz`), whatever engine it is of."""
    raw = path.read_bytes()
    if path.suffix != ".gz":
        return dict(json.loads(raw))
    return dict(json.loads(gzip.decompress(raw))["report"])


def tables(report: Mapping[str, Any]) -> list[RichTable]:
    """All tables of a report."""
    warm = report["warm"]
    named = [
        ("Overall (sources with at least 20 rows)", report["overall"], COLUMNS),
        ("By family, means over sources", report["by_family"], COLUMNS),
        ("By family, means over lineages (in the column of sources)", report["by_family_over_lineages"], COLUMNS),
        ("By grade", report["by_grade"], COLUMNS),
        ("By accelerator (at least 20 rows)", report["by_accelerator"], COLUMNS),
        ("By chip group", report["by_chip_group"], COLUMNS),
        ("By source, worst first", _worst_first(report["by_source"]), COLUMNS),
        ("Warm, after 20 own rows: overall", warm["overall"], COLUMNS),
        ("Warm, by family", warm["by_family"], COLUMNS),
        ("Warm, by grade", warm["by_grade"], COLUMNS),
        ("Warm, by source, worst first", _worst_first(warm["by_source"]), WARM_COLUMNS),
    ]
    memory = report.get("memory", {})
    if memory:
        whole = {name: value for name, value in memory.items() if name != "by_lineage"}
        peaks = {"mean over lineages": whole, **_worst_first(memory["by_lineage"])}
        columns = tuple(dict.fromkeys(key for entry in peaks.values() for key in entry if key != "n"))
        named.append(("Peak memory, lineage held out", peaks, columns))
    return [score_table(title, part, columns) for title, part, columns in named if part]


def score_table(title: str, part: Mapping[str, Mapping[str, Any]], columns: Sequence[str] = ()) -> RichTable:
    """One table of scores by name, of these columns or of all there are; columns that nothing has are left out."""
    rows = {name: {"rows": entry.get("n"), **entry} for name, entry in part.items()}
    columns = columns or list(dict.fromkeys(key for entry in part.values() for key in entry))
    shown = [column for column in columns if any(entry.get(column) is not None for entry in rows.values())]
    table = RichTable(title=title, title_justify="left")
    table.add_column("")
    for column in shown:
        table.add_column(column.replace("_", " "), justify="right")
    for name, entry in rows.items():
        table.add_row(name, *(cell(entry.get(column)) for column in shown))
    return table


def cell(value: object) -> str:
    """A value as tables show it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def moved(report: Mapping[str, Any], against: Mapping[str, Any]) -> dict[str, dict[str, dict[str, list[float | None]]]]:
    """What moved: title -> name -> score -> [before, after].

    Of sources that both reports score, most moved first; overall, of the same sources, so that a report of some
    lineages can be compared with one of all.
    """
    result: dict[str, dict[str, dict[str, list[float | None]]]] = {}
    for state, path in COMPARED.items():
        now, was = _at(report, path), _at(against, path)
        both = [name for name in now if name in was]
        kinds = {CLASS_NAMES[kind]: [n for n in both if now[n]["class"] == kind] for kind in CLASS_NAMES}
        large = {kind: [n for n in names if now[n]["n"] >= LEAST_ROWS] for kind, names in kinds.items()}
        result[f"Overall, {state}"] = {
            f"{kind} ({len(names)} sources)": _pairs(
                mean_over([was[name] for name in names]), mean_over([now[name] for name in names])
            )
            for kind, names in large.items()
            if names
        }
        pairs = {name: _pairs(was[name], now[name]) for name in both}
        result[f"By source, {state}"] = dict(sorted(pairs.items(), key=lambda item: -_distance(item[1]["mape"])))
    return result


def _pairs(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[float | None]]:
    return {score: [before.get(score), after.get(score)] for score in MOVED}


def moved_tables(differences: Mapping[str, Mapping[str, Mapping[str, Sequence[float | None]]]]) -> list[RichTable]:
    """`moved` as tables: before → after."""
    result = []
    for title, names in differences.items():
        table = RichTable(title=f"{title}: before → after", title_justify="left")
        table.add_column("")
        for score in MOVED:
            table.add_column(score.replace("_", " "), justify="right")
        for name, scores in names.items():
            table.add_row(name, *(_arrow(*scores[score]) for score in MOVED))
        if names:
            result.append(table)
    return result


def readme_tables(report: Mapping[str, Any]) -> str:
    """The README's tables of accuracy, in Markdown, from a report; between its markers."""
    states = (("cold", report["overall"]), (f"after {report['warm']['rows_learned']} rows", report["warm"]["overall"]))
    by_lineage = sorted(report["by_family_over_lineages"].items(), key=lambda item: -item[1]["sources"])
    lines = [
        *_head("", "sources"),
        *(
            _line(f"{CLASS_NAMES[name]}, {state}", entry)
            for state, part in states
            for name, entry in part.items()
            if entry["sources"]
        ),
        "",
        *_head("family, cold", "lineages"),
        *(_line(name.replace("_", "-"), entry) for name, entry in by_lineage),
    ]
    memory = report.get("memory")
    if memory:
        judged = f"mean APE {_percent(memory['mape'])}, the mean over {len(memory['by_lineage'])} lineages"
        fits = f"of the runs that ran, {_percent(memory['fit_share'])} are predicted to fit"
        lines += ["", f"Peak memory, lineage held out: {judged}; {fits}."]
    return README_BEGIN + "\n" + "\n".join(lines) + "\n\n" + README_END


def with_tables(readme: str, report: Mapping[str, Any]) -> str:
    """A README whose tables, between their markers, are those of a report."""
    before, begin, rest = readme.partition(README_BEGIN)
    _, end, after = rest.partition(README_END)
    if not (begin and end):
        raise ValueError("the README has no place for the tables of accuracy")
    return before + readme_tables(report) + after


def _head(first: str, counted: str) -> list[str]:
    return [
        f"| {first} | {counted} | mean APE | median APE | rule of thumb: mean | median | coverage of 80 % | p90/p10 |",
        "|---" * 8 + "|",
    ]


def _line(name: str, entry: Mapping[str, Any]) -> str:
    shares = ("mape", "median_ape", "rule_of_thumb_mape", "rule_of_thumb_median_ape", "coverage_80")
    cells = [name, str(entry["sources"]), *(_percent(entry[share]) for share in shares)]
    return f"| {' | '.join(cells)} | {_ratio(entry['median_interval_ratio'])} |"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}".replace("%", " %")


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1f}"


def _at(report: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    part: Any = report
    for name in path:
        part = part.get(name, {})
    return dict(part)


def _distance(pair: Sequence[float | None]) -> float:
    before, after = pair
    return 0.0 if before is None or after is None else abs(after - before)


def _arrow(before: float | None, after: float | None) -> str:
    return f"{cell(before)} → {cell(after)}"


def _worst_first(part: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return dict(sorted(part.items(), key=lambda item: -(item[1].get("mape") or 0.0)))
