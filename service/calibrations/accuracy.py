"""`make accuracy`: held-out accuracy, cold and warm, beside the rule of thumb; what moved; and the figures.

Writes `report.json` and the figures. `--leave LINEAGE ...` holds out those lineages only, in seconds instead of
minutes; intervals are then widened as the shipped calibration widens them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from service.calibrations.accuracy_figures import draw
from service.calibrations.accuracy_tables import (
    moved,
    moved_tables,
    printer,
    read_report,
    readme_tables,
    tables,
    with_tables,
)
from service.calibrations.fit import CALIBRATION, Calibrated, calibrate, hold_out, load_shipped

README = Path(__file__).parent.parent.parent / "README.md"


def main(words: list[str] | None = None) -> None:
    """Command line of the accuracy report."""
    arguments = _parser().parse_args(words)
    console = printer()
    if arguments.readme:
        README.write_text(with_tables(README.read_text(encoding="utf-8"), read_report(arguments.against)), "utf-8")
        print(readme_tables(read_report(arguments.against)))
        return
    with console.status("reading the measurements") as status:
        data = load_shipped()
        if arguments.leave:
            unknown = set(arguments.leave) - set(data.table.text("lineage").tolist())
            if unknown:
                raise SystemExit(f"no such lineage: {', '.join(sorted(unknown))}")
            status.update("fitting, and predicting without each lineage")
            result = hold_out(data, arguments.leave)
        else:
            result = calibrate(data, progress=lambda stage, share: status.update(f"{stage} ({share:.0%})"))
    write(result, arguments.output, read_report(arguments.against) if arguments.against.exists() else None, console)


def write(result: Calibrated, folder: Path, against: dict[str, Any] | None, console: Console) -> None:
    """Print the report and what moved, and write both and the figures into `folder`."""
    report = result.forecaster.report
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    for table in tables(report):
        console.print(table)
    if against is not None:
        differences = moved(report, against)
        (folder / "moved.json").write_text(json.dumps(differences, indent=1))
        for table in moved_tables(differences):
            console.print(table)
    timed = np.isfinite(result.measured.log_seconds)
    draw(report, result.measured.table.take(timed), result.measured.log_seconds[timed], result.held_out, folder)
    console.print(f"report and figures in {folder}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=Path("build/accuracy"), help="folder for report.json and the figures"
    )
    parser.add_argument("--leave", nargs="+", metavar="LINEAGE", help="hold out these lineages only")
    parser.add_argument(
        "--against",
        type=Path,
        default=CALIBRATION,
        metavar="FILE",
        help="report.json or calibration to compare with (the shipped calibration)",
    )
    parser.add_argument(
        "--readme",
        action="store_true",
        help="print the tables of the --against report and write them into README.md",
    )
    return parser


if __name__ == "__main__":
    main()
