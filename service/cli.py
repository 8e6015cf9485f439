"""The `traincast` command.

Imports of the server and the engine are inside the commands, so that `traincast --help` answers at once.
Exit codes: 0 done, 1 it cannot be done (said on standard error), 2 the command was not understood.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from service.engine.forecast import Forecaster
    from service.evaluations.files import MeasurementFile

app = typer.Typer(
    name="traincast",
    help="Predicts how long a training run takes, what it costs and what it emits, with calibrated intervals.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
# One flag each for what is asked most; every other field goes by its name with --set.
FLAGS = {
    "model": "model.name",
    "parameters": "model.parameters",
    "dataset": "data.name",
    "tokens": "data.tokens",
    "samples": "data.samples",
    "epochs": "data.epochs",
    "sequence_length": "data.sequence_length",
    "image_size": "data.image_size",
    "accelerator": "hardware.accelerator",
    "count": "hardware.count",
    "per_node": "hardware.per_node",
    "mode": "training.mode",
    "precision": "training.precision",
    "global_batch": "training.global_batch",
    "micro_batch": "training.micro_batch",
    "framework": "software.framework",
    "price": "pricing.usd_per_accelerator_hour",
    "region": "location.region",
}


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. [default: TRAINCAST_HOST or 127.0.0.1]")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [default: TRAINCAST_PORT or 8000]")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Serve the HTTP API; migrate and seed the database first.

    Examples:

    - `traincast serve`
    - `TRAINCAST_DATABASE_URL=postgresql://me@db/traincast traincast serve --host 0.0.0.0 --port 80`
    """
    import uvicorn
    from pydantic import ValidationError

    from service.settings import get_settings

    try:
        settings = get_settings()
    except ValidationError as error:
        wrong = [f"TRAINCAST_{str(flaw['loc'][0]).upper()}: {flaw['msg']}" for flaw in error.errors()]
        _fail("; ".join(wrong))
    uvicorn.run(
        "service.app:create_app",
        factory=True,
        host=host or settings.host,
        port=settings.port if port is None else port,
        workers=workers,
        log_level=settings.log_level,
    )


@app.command()
def estimate(
    file: Annotated[
        Path | None, typer.Argument(help="A request as JSON, as POST /v1/estimates takes it; - for standard input.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model, by catalog name.")] = None,
    parameters: Annotated[float | None, typer.Option(help="Parameters, count (8e9).")] = None,
    accelerator: Annotated[str | None, typer.Option("--accelerator", "-a", help="Chip, by slug or alias.")] = None,
    count: Annotated[float | None, typer.Option("--count", "-n", help="Accelerators.")] = None,
    per_node: Annotated[float | None, typer.Option(help="Accelerators in one machine.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Data set, by catalog name.")] = None,
    tokens: Annotated[float | None, typer.Option(help="Tokens to train on (300e9).")] = None,
    samples: Annotated[float | None, typer.Option(help="Samples to train on.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    sequence_length: Annotated[
        float | None, typer.Option("--sequence-length", "-s", help="Tokens of a sample.")
    ] = None,
    image_size: Annotated[float | None, typer.Option(help="Pixels of a side.")] = None,
    mode: Annotated[str | None, typer.Option(help="pretrain, finetune, lora, qlora, frozen, fwd_bwd.")] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", "-p", help="fp32, tf32, fp16, bf16, fp8, fp4.")
    ] = None,
    global_batch: Annotated[float | None, typer.Option(help="Samples of one optimizer step.")] = None,
    micro_batch: Annotated[float | None, typer.Option(help="Samples a replica computes at once.")] = None,
    framework: Annotated[str | None, typer.Option(help="Framework.")] = None,
    price: Annotated[float | None, typer.Option(help="USD per accelerator and hour.")] = None,
    region: Annotated[str | None, typer.Option(help="Grid: a country, state or cloud region.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Any other field by its dotted name; repeatable."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Ask the service there, instead of computing here.")] = None,
    as_json: Json = False,
) -> None:
    """Estimate one training run, from flags, or from a JSON file that flags then change.

    Examples:

    - `traincast estimate -m gpt-3-175b -a V100-SXM2-32GB -n 1024 --tokens 300e9 -s 2048 -p fp16 --global-batch 1536`
    - `traincast estimate -m resnet-50 --dataset imagenet-1k --epochs 90 -a V100-SXM2-16GB -n 8 --json`
    - `traincast estimate run.json --count 512 --set training.tensor_parallel=8`
    - `traincast estimate -m llama-2-7b -a L40S --mode lora --set software.attention=flash2 --url http://localhost:8000`
    """
    given = {name: value for name, value in locals().items() if name in FLAGS and value is not None}
    request = _request(file, {FLAGS[name]: value for name, value in given.items()}, setting or [])
    answer = _ask(url, request) if url else _compute(request)
    if as_json:
        print(answer.model_dump_json(indent=2))
        return
    from service import rendering

    rendering.console().print(rendering.estimate(answer))


@app.command()
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
        _fail("--predictions would overwrite the measurements; name another file")
    if predictions and not predictions.resolve().parent.is_dir():
        _fail(f"--predictions: there is no folder {predictions.resolve().parent}")
    measured = _measurements(file)
    learned = _measurements(learn) if learn else None
    with rendering.console(stderr=True).status("predicting"):
        try:
            judged = judge(measured, load_catalog(), _shipped_forecaster(), by=by, learned=learned)
        except UnknownColumnError as error:
            _fail(str(error))
    if predictions:
        try:
            with predictions.open("w", newline="", encoding="utf-8") as stream:
                write_predictions(measured, judged, stream)
        except OSError as error:
            _fail(f"{predictions} cannot be written: {error.strerror}")
    if as_json:
        print(judged.evaluation.model_dump_json(indent=2, exclude={"calibration", "note"}))
        print(judged.evaluation.note, file=sys.stderr)
    else:
        rendering.console().print(rendering.evaluation(judged.evaluation, by))


@app.command()
def calibrate(
    url: Annotated[str | None, typer.Option(help="Have the service there fit all that it knows.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="TRAINCAST_KEY", help="API key with the scope calibrate, for --url.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --url: put it in use even if it is worse on held-out sources.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit a calibration: of a service's measurements (--url), or the one that ships from those that ship.

    Takes minutes. Without --url it writes `service/data/calibration.json.gz`. The same measurements give the same
    calibration.

    Examples:

    - `traincast calibrate`
    - `traincast calibrate --url http://localhost:8000 --key $KEY`
    """
    from rich.progress import Progress

    from service import rendering

    if url is None:
        from service.calibrations.fit import fit_shipped

        with Progress(console=rendering.console(stderr=True), transient=True) as progress:
            task = progress.add_task("fitting", total=1.0)
            result = fit_shipped(
                progress=lambda stage, share: progress.update(task, description=stage, completed=share)
            )
        forecaster = result.forecaster
        print(f"calibration {forecaster.calibration_version}, fitted on {forecaster.report['rows']:,} rows")
        return
    fitted = _calibrate_there(url, key, force=force)
    if as_json:
        print(json.dumps(fitted, indent=2))
    if fitted["status"] == "failed":
        _fail(f"calibration {fitted['version']} could not be fitted: {fitted['error']}")
    if not as_json:
        print(f"calibration {fitted['version']}, fitted on {fitted['rows']:,} rows. {fitted['verdict']}")


@app.command()
def export(
    output: Annotated[Path | None, typer.Argument(help="File to write; standard output if none.")] = None,
    form: Annotated[str, typer.Option("--format", help="csv or ndjson. [default: by the file's name, else csv]")] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Only such measurements; FIELD.at_least, .at_most, .contains compare; repeatable.",
        ),
    ] = None,
) -> None:
    """Write the database's measurements, in the columns that an import takes.

    Examples:

    - `traincast export measurements.csv`
    - `traincast export --format ndjson --where model.family=decoder --where hardware.count.at_least=64 > large.ndjson`
    """
    import asyncio

    named = form or ("ndjson" if output and output.suffix in (".ndjson", ".jsonl") else "csv")
    if named not in ("csv", "ndjson"):
        raise typer.BadParameter("csv or ndjson", param_hint="--format")
    pairs = [_pair(text, "--where") for text in where or []]
    asyncio.run(_export(output, named, pairs))


@app.command()
def migrate() -> None:
    """Bring the database's tables to this release. `serve` does so by itself."""
    import asyncio

    from service.database import IMMEDIATE, Database, lock_schema
    from service.seed import migrate as upgrade
    from service.settings import get_settings

    async def run() -> None:
        database = Database(get_settings().database)
        try:
            async with database.engine.execution_options(**IMMEDIATE).begin() as connection:
                await lock_schema(connection)
                await connection.run_sync(upgrade)
        finally:
            await database.close()

    asyncio.run(run())


@app.command()
def seed() -> None:
    """Fill the database with the measurements and the calibration that ship. `serve` does so by itself."""
    from service.seed import main as fill

    fill()


@app.command()
def openapi() -> None:
    """Write `openapi/openapi.json` as the service serves it."""
    from service.openapi import main as write

    write()


def main() -> None:
    """Entry point of the `traincast` command."""
    app()


def _request(file: Path | None, flags: dict[str, object], settings: list[str]) -> dict[str, Any]:
    """The request: the file's, changed by flags, changed by `--set`."""
    request: dict[str, Any] = {}
    if file is not None:
        text = sys.stdin.read() if str(file) == "-" else _text(file)
        try:
            request = json.loads(text)
        except ValueError as error:
            _fail(f"{file} is not JSON: {error}")
        if not isinstance(request, dict):
            _fail(f"{file}: a request is a JSON object")
    fields = flags | {name: _literal(value) for name, value in (_pair(text, "--set") for text in settings)}
    for path, value in fields.items():
        section, dot, name = path.partition(".")
        if not dot:
            request[section] = value
        elif isinstance(request.setdefault(section, {}), dict):
            request[section][name] = value
    if not request:
        _fail("say what to estimate: flags, --set, or a JSON file; see traincast estimate --help")
    return request


def _compute(request: dict[str, Any]) -> Any:
    from service.catalog.catalog import load_catalog
    from service.estimates.batch import cannot_run, read_request
    from service.estimates.schemas import Estimate
    from service.estimates.service import estimate_many
    from service.problems import Problem
    from service.sites.standpoint import Standpoint

    read = read_request(request)
    if isinstance(read, Problem):
        _fail_with(read.document())
    (answer,) = estimate_many([read], load_catalog(), Standpoint(_shipped_forecaster()))
    if not isinstance(answer, Estimate):
        _fail_with(cannot_run(answer).document())
    return answer


def _ask(url: str, request: dict[str, Any]) -> Any:
    import httpx

    from service.client import Traincast, TraincastError

    model, hardware = request.pop("model", {}), request.pop("hardware", {})
    try:
        with Traincast(url) as traincast:
            return traincast.estimate(model=model, hardware=hardware, **request)
    except TraincastError as error:
        _fail_with(error.problem)
    except httpx.HTTPError as error:
        _fail(f"{url} cannot be reached: {error}")


def _calibrate_there(url: str, key: str | None, *, force: bool) -> dict[str, Any]:
    """Has a service fit a calibration, and shows how far it is until it is done; gives it without its content."""
    import time

    import httpx
    from rich.progress import Progress

    from service import rendering
    from service.client import Traincast, TraincastError

    try:
        with (
            Traincast(url, key=key) as traincast,
            Progress(console=rendering.console(stderr=True), transient=True) as progress,
        ):
            made = traincast.calibrate(force=force)
            task = progress.add_task(made["stage"], total=1.0)
            while made["status"] in ("queued", "running"):
                time.sleep(1.0)
                made = traincast.get(f"/v1/calibrations/{made['version']}")
                progress.update(task, description=made["stage"], completed=made["progress"])
    except TraincastError as error:
        _fail_with(error.problem)
    except httpx.HTTPError as error:
        _fail(f"{url} cannot be reached: {error}")
    return {name: value for name, value in made.items() if name != "content"}


def _shipped_forecaster() -> Forecaster:
    from service.engine.forecast import Forecaster
    from service.seed import CALIBRATION

    if not CALIBRATION.exists():
        _fail("no calibration ships with this installation: fit one with traincast calibrate")
    return Forecaster.load(CALIBRATION)


def _measurements(path: Path) -> MeasurementFile:
    from service.evaluations.files import read_measurements

    content = "application/x-ndjson" if path.suffix in (".ndjson", ".jsonl") else "text/csv"
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            return read_measurements(stream, content)
    except UnicodeDecodeError:
        _fail(f"{path} is not text in UTF-8")
    except OSError as error:
        _fail(f"{path} cannot be read: {error.strerror}")


async def _export(output: Path | None, form: str, where: list[tuple[str, str]]) -> None:
    from service.database import Database
    from service.measurements.filters import read_filters
    from service.measurements.service import export as stream
    from service.problems import Problem
    from service.settings import get_settings

    try:
        filters = read_filters(where)
    except Problem as problem:
        _fail_with(problem.document())
    database = Database(get_settings().database)
    target = output.open("wb") if output else sys.stdout.buffer
    try:
        async for chunk in stream(database, filters, "ndjson" if form == "ndjson" else "csv"):
            target.write(chunk)
    finally:
        if output:
            target.close()
        await database.close()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        _fail(f"{path} cannot be read: {error.strerror}")


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not FIELD=VALUE", param_hint=option)
    return name.strip(), value.strip()


def _literal(text: str) -> object:
    """Numbers, booleans and objects as JSON has them; anything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _fail_with(problem: dict[str, Any]) -> NoReturn:
    """Says what the problem document says, a line for each field at fault."""
    errors = problem.get("errors") or []
    lines = [
        f"{error['field']}: {error['message']}" + (f" ({error['hint']})" if error.get("hint") else "")
        for error in errors
    ]
    _fail("\n".join(lines) or str(problem.get("detail", problem)))


def _fail(message: str) -> NoReturn:
    typer.secho(message, err=True, fg=typer.colors.RED)
    raise typer.Exit(1)
