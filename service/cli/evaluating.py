"""`traincast evaluate` and `calibrate`: how good it is, and how it becomes better."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.words import Json, Key, fail, service_at, shipped_forecaster

if TYPE_CHECKING:
    from service.evaluations.files import MeasurementFile
    from service.evaluations.schemas import Evaluation

POLL_SECONDS = 1.0
"""How often a service is asked how far its fit is."""


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

    Exits with 1 where not one row could be scored.
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
    if not judged.evaluation.scored:
        fail(_unscored(judged.evaluation))


def calibrate(
    url: Annotated[
        str | None, typer.Option(help="Have the service there fit what it holds, for all its callers.")
    ] = None,
    key: Key = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --url: put it in use even if it is worse on held-out sources.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit a calibration: of a service's measurements (--url), or the one that ships from the measurements that ship.

    Takes minutes. Without --url it writes `service/data/calibration.json.gz`; with it, it needs a key with the scope
    `calibrate`. The same measurements give the same calibration.

    Examples:

    - `traincast calibrate`
    - `traincast calibrate --url http://localhost:8000 --key KEY`
    """
    fitted = _fitted_here() if url is None else _fitted_there(url, key, force=force)
    if as_json:
        print(json.dumps(fitted, indent=2))
    if fitted["status"] == "failed":
        fail(f"calibration {fitted['version']} could not be fitted: {fitted['error']}")
    if not as_json:
        print(f"calibration {fitted['version']}, fitted on {fitted['rows']:,} rows. {fitted['verdict'] or ''}".rstrip())


def _fitted_here() -> dict[str, Any]:
    from rich.progress import Progress

    from service import rendering
    from service.calibrations.fit import fit_shipped

    with Progress(console=rendering.console(stderr=True), transient=True) as progress:
        task = progress.add_task("fitting", total=1.0)
        result = fit_shipped(progress=lambda stage, share: progress.update(task, description=stage, completed=share))
    forecaster = result.forecaster
    about = {"version": forecaster.calibration_version, "rows": forecaster.report["rows"]}
    return {**about, "fingerprint": forecaster.fingerprint, "status": "succeeded", "verdict": None}


def _fitted_there(url: str, key: str | None, *, force: bool) -> dict[str, Any]:
    """Has a service fit a calibration and shows how far it is until it is done; gives it without its content."""
    from rich.progress import Progress

    from service import rendering

    with service_at(url, key) as service, Progress(console=rendering.console(stderr=True), transient=True) as progress:
        made = service.calibrate(force=force)
        task = progress.add_task(made["stage"], total=1.0)
        while made["status"] in ("queued", "running"):
            time.sleep(POLL_SECONDS)
            made = service.get(f"/v1/calibrations/{made['version']}")
            progress.update(task, description=made["stage"], completed=made["progress"])
    return {name: value for name, value in made.items() if name != "content"}


def _unscored(evaluation: Evaluation) -> str:
    """Why an evaluation says nothing."""
    if not evaluation.skipped:
        return "nothing was scored: there is no row in the file"
    first = evaluation.skipped[0]
    return f"nothing was scored: {evaluation.rows} rows were skipped, the first (line {first.row}) for: {first.reason}"


def measurements_in(path: Path) -> MeasurementFile:
    from service.evaluations.files import read_measurements
    from service.submissions.spool import is_utf_16

    content = "application/x-ndjson" if path.suffix in (".ndjson", ".jsonl") else "text/csv"
    try:
        with path.open("rb") as body:
            if is_utf_16(body.read(4)):
                fail(f"{path} is encoded as UTF-16, and UTF-8 is read: save it in that encoding")
            body.seek(0)
            with io.TextIOWrapper(body, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
                return read_measurements(stream, content)
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")
