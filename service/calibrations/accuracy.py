"""`make accuracy`: the held-out accuracy table by family and by source, beside the rule of thumb, and its figures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from service.calibrations.fit import Calibrated, calibrate, load_shipped

COLUMNS = (
    "rows",
    "mape",
    "median_ape",
    "bias",
    "coverage_80",
    "median_interval_ratio",
    "rule_of_thumb_mape",
    "rule_of_thumb_median_ape",
)


def main() -> None:
    """Command line of the accuracy report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=Path("build/accuracy"), help="folder for report.json and figures"
    )
    arguments = parser.parse_args()
    console = Console()
    with console.status("fitting") as status:
        result = calibrate(load_shipped(), progress=lambda stage, share: status.update(f"{stage} ({share:.0%})"))
    report: dict[str, Any] = result.forecaster.report
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "report.json").write_text(json.dumps(report, indent=1))
    for title, part in (
        ("Overall (sources with at least 20 rows)", report["overall"]),
        ("By family", report["by_family"]),
        ("By family, every lineage weighing the same", report["by_family_over_lineages"]),
        ("By grade", report["by_grade"]),
        ("By source", report["by_source"]),
        ("Warm, after 20 own rows: overall", report["warm"]["overall"]),
        ("Warm, by source", report["warm"]["by_source"]),
    ):
        console.print(_table(title, part))
    figures(result, arguments.output)
    console.print(f"report and figures in {arguments.output}")


def _table(title: str, part: dict[str, dict[str, Any]]) -> RichTable:
    table = RichTable(title=title)
    table.add_column("")
    for name in COLUMNS:
        table.add_column(name.replace("_", " "), justify="right")
    for name, entry in part.items():
        cells = [entry.get(column, entry.get("n") if column == "rows" else None) for column in COLUMNS]
        table.add_row(
            name, *("" if cell is None else f"{cell:,}" if isinstance(cell, int) else f"{cell:.3f}" for cell in cells)
        )
    return table


def figures(result: Calibrated, folder: Path) -> None:
    """Draw predicted against measured, and the reliability diagram, into `folder`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    timed = np.isfinite(result.measured.log_seconds)
    measured = np.exp(result.measured.log_seconds[timed])
    held = np.exp(result.held_out.predicted)
    figure, axes = plt.subplots(figsize=(6, 6))
    axes.loglog(measured, held, ".", markersize=2, alpha=0.3)
    limits = [float(np.nanmin(measured)), float(np.nanmax(measured))]
    axes.loglog(limits, limits, "k-", linewidth=1)
    axes.set(xlabel="measured seconds per sample", ylabel="predicted (lineage held out)")
    figure.savefig(folder / "predicted_against_measured.png", dpi=120)
    figure, axes = plt.subplots(figsize=(5, 5))
    points = result.forecaster.report["reliability"]
    axes.plot([0, 1], [0, 1], "k-", linewidth=1)
    axes.plot([point["nominal"] for point in points], [point["observed"] for point in points], "o-")
    axes.set(xlabel="nominal coverage", ylabel="observed coverage (held out)")
    figure.savefig(folder / "reliability.png", dpi=120)


if __name__ == "__main__":
    main()
