"""`traincast plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.computing import computed
from service.cli.estimating import request_of
from service.cli.words import Json, service_at

# One flag each for what is asked most; every other field goes by its name with --set.
FLAGS = {
    "model": "model.name",
    "parameters": "model.parameters",
    "dataset": "data.name",
    "tokens": "data.tokens",
    "samples": "data.samples",
    "epochs": "data.epochs",
    "sequence_length": "data.sequence_length",
    "accelerator": "hardware.accelerators",
    "count": "hardware.counts",
    "max_count": "hardware.max_count",
    "mode": "training.mode",
    "precision": "training.precision",
    "global_batch": "training.global_batch",
    "deadline": "deadline_hours",
    "budget": "budget_usd",
    "objective": "objective",
    "limit": "limit",
    "price": "pricing.usd_per_accelerator_hour",
    "provider": "pricing.provider",
    "region": "location.region",
}


def plan(
    file: Annotated[
        Path | None, typer.Argument(help="A request as JSON, as POST /v1/plans takes it; - for standard input.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model, by catalog name.")] = None,
    parameters: Annotated[float | None, typer.Option(help="Parameters, count (8e9).")] = None,
    accelerator: Annotated[
        list[str] | None, typer.Option("--accelerator", "-a", help="Chip to choose among; repeatable.")
    ] = None,
    count: Annotated[
        list[float] | None, typer.Option("--count", "-n", help="Number of accelerators to try; repeatable.")
    ] = None,
    max_count: Annotated[float | None, typer.Option(help="Most accelerators.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Data set, by catalog name.")] = None,
    tokens: Annotated[float | None, typer.Option(help="Tokens to train on (300e9).")] = None,
    samples: Annotated[float | None, typer.Option(help="Samples to train on.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    sequence_length: Annotated[
        float | None, typer.Option("--sequence-length", "-s", help="Tokens of a sample.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="pretrain, finetune, lora, qlora, frozen.")] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", "-p", help="fp32, tf32, fp16, bf16, fp8, fp4.")
    ] = None,
    global_batch: Annotated[float | None, typer.Option(help="Samples of one optimizer step.")] = None,
    deadline: Annotated[float | None, typer.Option(help="Longest wall-clock, hours.")] = None,
    budget: Annotated[float | None, typer.Option(help="Most rent, USD.")] = None,
    objective: Annotated[str | None, typer.Option(help="What to rank by: time, cost, energy.")] = None,
    limit: Annotated[int | None, typer.Option(help="Most plans.")] = None,
    price: Annotated[float | None, typer.Option(help="USD per accelerator and hour.")] = None,
    provider: Annotated[str | None, typer.Option(help="Whose prices: aws, gcp, ...")] = None,
    region: Annotated[str | None, typer.Option(help="Grid: a country, state or cloud region.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Any other field by its dotted name; repeatable."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Ask the service there, instead of computing here.")] = None,
    as_json: Json = False,
) -> None:
    """Plan one training run: on which chips, how many, laid out how.

    Examples:

    - `traincast plan -m gpt-3-175b --tokens 300e9 -s 2048 -a A100-SXM4-80GB -a H100-SXM5-80GB --deadline 720`
    - `traincast plan -m resnet-50 --dataset imagenet-1k --epochs 90 -a T4 -a A10 --max-count 16 --budget 100`
    - `traincast plan question.json --objective cost --json`
    """
    given = {name: value for name, value in locals().items() if name in FLAGS and value not in (None, [])}
    request = request_of(file, {FLAGS[name]: value for name, value in given.items()}, setting or [])
    answer = _ask(url, request) if url else _compute(request)
    if as_json:
        print(answer.model_dump_json(indent=2))
        return
    from service import rendering

    rendering.console().print(rendering.plans(answer))


def _compute(request: dict[str, Any]) -> Any:
    from service.plans.schemas import PlanRequest
    from service.plans.service import make_plans

    return computed(request, PlanRequest, make_plans)


def _ask(url: str, request: dict[str, Any]) -> Any:
    model, hardware = request.pop("model", {}), request.pop("hardware", {})
    with service_at(url, None) as traincast:
        return traincast.plan(model=model, hardware=hardware, **request)
