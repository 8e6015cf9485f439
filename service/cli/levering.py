"""`traincast levers`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.computing import computed
from service.cli.estimating import FLAGS, request_of
from service.cli.words import Json, service_at


def levers(
    file: Annotated[
        Path | None, typer.Argument(help="A request as JSON, as POST /v1/levers takes it; - for standard input.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model, by catalog name.")] = None,
    accelerator: Annotated[str | None, typer.Option("--accelerator", "-a", help="Chip, by slug or alias.")] = None,
    count: Annotated[float | None, typer.Option("--count", "-n", help="Accelerators.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Data set, by catalog name.")] = None,
    tokens: Annotated[float | None, typer.Option(help="Tokens to train on (300e9).")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    sequence_length: Annotated[
        float | None, typer.Option("--sequence-length", "-s", help="Tokens of a sample.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="pretrain, finetune, lora, qlora, frozen.")] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", "-p", help="fp32, tf32, fp16, bf16, fp8, fp4.")
    ] = None,
    global_batch: Annotated[float | None, typer.Option(help="Samples of one optimizer step.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Any other field by its dotted name; repeatable."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Ask the service there, instead of computing here.")] = None,
    as_json: Json = False,
) -> None:
    """What would shorten a run, the largest speed-up first, and what each change trades away.

    Examples:

    - `traincast levers -m gpt-3-175b -a V100-SXM2-32GB -n 1024 --tokens 300e9 -s 2048 -p fp16`
    - `traincast levers -m resnet-50 --dataset imagenet-1k --epochs 90 -a V100-SXM2-16GB -n 8 --json`
    - `traincast levers run.json --set assume.kept_fraction=0.7 --set assume.finetune_tokens=5e7`
    """
    given = {name: value for name, value in locals().items() if name in FLAGS and value is not None}
    request = request_of(file, {FLAGS[name]: value for name, value in given.items()}, setting or [])
    found = _ask(url, request) if url else _compute(request)
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    from service import rendering

    rendering.console().print(rendering.levers(found))


def _compute(request: dict[str, Any]) -> Any:
    from service.levers.schemas import LeversRequest
    from service.levers.service import find_levers

    return computed(request, LeversRequest, find_levers)


def _ask(url: str, request: dict[str, Any]) -> Any:
    model, hardware = request.pop("model", {}), request.pop("hardware", {})
    with service_at(url, None) as service:
        return service.levers(model=model, hardware=hardware, **request)
