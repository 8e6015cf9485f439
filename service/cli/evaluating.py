"""`traincast evaluate` and `calibrate`: how good it is, and how it becomes better."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.words import Json, fail, shipped_forecaster

if TYPE_CHECKING:
    from service.evaluations.files import MeasurementFile


def evaluate(
    file: Annotated[Path, typer.Argument(help="Measurements: CSV with dotted columns, or NDJSON (.ndjson, .jsonl).")],
    learn: Annotated[
        Path | None, typer.Option(help="Measurements to learn first, as if a team had submitted them.")
    ] = None,
    by: Annotated[str, typer.Option(metavar="COLUMN", help="Column to score by.")] = "provenance.source",
    predictions: Annotated[
        Path | None, typer.Option(metavar="OUT.csv", help="Write the rows with their predictions there.")
    ] = None,
    as_json: Json = False,
) -> None:
    """How well are these measurements predicted? With the shipped calibration; no server, no database, nothing stored.

    Examples:

    - `traincast evaluate runs.csv`
    - `traincast evaluate runs.csv --by model.family --json`
    - `traincast evaluate new.csv --learn old.csv --predictions predicted.csv`
    """
    from service import rendering
    from service.catalog.catalog import load_catalog
    from service.evaluations.files import UnknownColumnError, write_predictions
    from service.evaluations.files import evaluate as judge

    if predictions and predictions.resolve() == file.resolve():
        fail("--predictions would overwrite the measurements; name another file")
    if predictions and not predictions.resolve().parent.is_dir():
        fail(f"--predictions: there is no folder {predictions.resolve().parent}")
    measured = measurements_in(file)
    learned = measurements_in(learn) if learn else None
    with rendering.console(stderr=True).status("predicting"):
        try:
            judged = judge(measured, load_catalog(), shipped_forecaster(), by=by, learned=learned)
        except UnknownColumnError as error:
            fail(str(error))
    if predictions:
        try:
            with predictions.open("w", newline="", encoding="utf-8") as stream:
                write_predictions(measured, judged, stream)
        except OSError as error:
            fail(f"{predictions} cannot be written: {error.strerror}")
    if as_json:
        print(judged.evaluation.model_dump_json(indent=2, exclude={"calibration", "note"}))
        print(judged.evaluation.note, file=sys.stderr)
    else:
        rendering.console().print(rendering.evaluation(judged.evaluation, by))


def calibrate() -> None:
    """Fit the calibration that ships from the measurements that ship.

    Takes minutes; writes `service/data/calibration.json.gz`. The same measurements give the same calibration.
    """
    from rich.progress import Progress

    from service import rendering
    from service.calibrations.fit import fit_shipped

    with Progress(console=rendering.console(stderr=True), transient=True) as progress:
        task = progress.add_task("fitting", total=1.0)
        result = fit_shipped(progress=lambda stage, share: progress.update(task, description=stage, completed=share))
    print(f"calibration {result.forecaster.calibration_version}, fitted on {result.forecaster.report['rows']:,} rows")


def measurements_in(path: Path) -> MeasurementFile:
    from service.evaluations.files import read_measurements

    content = "application/x-ndjson" if path.suffix in (".ndjson", ".jsonl") else "text/csv"
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            return read_measurements(stream, content)
    except UnicodeDecodeError:
        fail(f"{path} is not text in UTF-8")
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")
