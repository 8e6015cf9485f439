"""`traincast estimate`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.launching import PANEL, Launched, launch_configs, listed, show
from service.cli.words import Json, fail, fail_with, literal, object_of, pair, shipped_forecaster

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
    from_huggingface: Annotated[
        Path | None, typer.Option(help="Take the model from a config.json.", rich_help_panel=PANEL)
    ] = None,
    from_megatron: Annotated[
        Path | None,
        typer.Option(help="Take the run from Megatron-LM's flags, launch script or log.", rich_help_panel=PANEL),
    ] = None,
    from_deepspeed: Annotated[
        Path | None, typer.Option(help="Take batches and sharding from a ds_config.json.", rich_help_panel=PANEL)
    ] = None,
    from_torchtitan: Annotated[
        Path | None, typer.Option(help="Take the run from a torchtitan job's TOML.", rich_help_panel=PANEL)
    ] = None,
    fields: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Print these members of the estimate alone, as JSON.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Ask the service there, instead of computing here.")] = None,
    as_json: Json = False,
) -> None:
    """Estimate one training run, from flags, or from files that flags then change.

    What was understood of other frameworks' files, and what was ignored, is listed on standard error; with --json, in
    `launch_configs`.

    Examples:

    - `traincast estimate -m gpt-3-175b -a V100-SXM2-32GB -n 1024 --tokens 300e9 -s 2048 -p fp16 --global-batch 1536`
    - `traincast estimate -m resnet-50 --dataset imagenet-1k --epochs 90 -a V100-SXM2-16GB -n 8 --json`
    - `traincast estimate run.json --fields duration_hours,cost_usd,throughput.samples_per_second`
    - `traincast estimate run.json --count 512 --set training.tensor_parallel=8`
    - `traincast estimate -m llama-2-7b -a L40S --mode lora --set software.attention=flash2 --url http://localhost:8000`
    - `traincast estimate --from-megatron pretrain.sh -a H100-SXM5-80GB -n 64 --json`
    - `traincast estimate --from-huggingface config.json --from-deepspeed ds_config.json -a A100-SXM4-80GB -n 8 -s 4096`
    """
    given = {name: value for name, value in locals().items() if name in FLAGS and value is not None}
    launched = launch_configs(
        huggingface=from_huggingface, megatron=from_megatron, deepspeed=from_deepspeed, torchtitan=from_torchtitan
    )
    flags = {FLAGS[name]: value for name, value in given.items()}
    request = request_of(file, flags, setting or [], launched)
    as_json = as_json or fields is not None
    if launched and not as_json:
        show(launched)
    answer = _ask(url, request, fields) if url else _compute(request, fields)
    if as_json:
        made = answer if isinstance(answer, dict) else answer.model_dump(mode="json")
        made |= {"launch_configs": listed(launched)} if launched else {}
        print(json.dumps(made, indent=2, ensure_ascii=False))
        return
    from service import rendering

    rendering.console().print(rendering.estimate(answer))


def request_of(
    file: Path | None, flags: dict[str, object], settings: list[str], launched: Sequence[Launched] = ()
) -> dict[str, Any]:
    """The request: what other frameworks' files say, changed by the file, by flags, by `--set`."""
    request: dict[str, Any] = {}
    if file is not None:
        request = object_of(file, "a request")
    fields = flags | {name: literal(value) for name, value in (pair(text, "--set") for text in settings)}
    for path, value in {**_unsaid(launched, request), **fields}.items():
        section, dot, name = path.partition(".")
        if not dot:
            request[section] = value
        elif isinstance(request.setdefault(section, {}), dict):
            request[section][name] = value
    if not request:
        fail("say which run: flags, --set, or a JSON file; see --help")
    return request


def _unsaid(launched: Sequence[Launched], request: dict[str, Any]) -> dict[str, object]:
    """What the files of other frameworks say and the request does not."""
    read = {name: value for one in launched for name, value in one.config.defaults.items()}
    read |= {name: value for one in launched for name, value in one.config.fields.items()}
    return {
        path: value
        for path, value in read.items()
        if not isinstance(part := request.get(path.partition(".")[0], {}), dict) or path.partition(".")[2] not in part
    }


def _compute(request: dict[str, Any], fields: str | None) -> Any:
    from service.catalog.catalog import load_catalog
    from service.estimates.batch import cannot_run, read_request
    from service.estimates.columns import WHOLE
    from service.estimates.members import chosen_fields
    from service.estimates.schemas import Estimate
    from service.estimates.service import compute_many
    from service.problems import Problem
    from service.sites.standpoint import Standpoint

    read = read_request(request)
    if isinstance(read, Problem):
        fail_with(read.document())
    try:
        chosen = WHOLE if fields is None else chosen_fields(fields)
    except Problem as problem:
        fail_with(problem.document())
    computed = compute_many([read], load_catalog(), Standpoint(shipped_forecaster()))
    for errors in computed.refused.values():
        fail_with(cannot_run(errors).document())
    (document,) = computed.documents(chosen)
    return Estimate.model_validate(document) if fields is None else document


def _ask(url: str, request: dict[str, Any], fields: str | None) -> Any:
    import httpx

    from service.client import Traincast, TraincastError

    model, hardware = request.pop("model", {}), request.pop("hardware", {})
    try:
        with Traincast(url) as traincast:
            if fields is not None:
                return traincast.figures([fields], model=model, hardware=hardware, **request)
            return traincast.estimate(model=model, hardware=hardware, **request)
    except TraincastError as error:
        fail_with(error.problem)
    except httpx.HTTPError as error:
        fail(f"{url} cannot be reached: {error}")
