"""`traincast sweep` and `traincast offers`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.computing import computed
from service.cli.estimating import FLAGS, request_of
from service.cli.words import Json, fail, fail_with, literal, pair, service_at, shipped_forecaster

if TYPE_CHECKING:
    from service.offers.schemas import Offers
    from service.sweeps.schemas import Sweep

File = Annotated[Path | None, typer.Argument(help="A request as JSON, as POST /v1/estimates takes it; - for stdin.")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Model, by catalog name.")]
Accelerator = Annotated[str | None, typer.Option("--accelerator", "-a", help="Chip, by slug or alias.")]
Count = Annotated[float | None, typer.Option("--count", "-n", help="Accelerators.")]
Tokens = Annotated[float | None, typer.Option(help="Tokens to train on (300e9).")]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Any other field by its dotted name; repeatable."),
]
Remote = Annotated[str | None, typer.Option(help="Ask the service there, instead of computing here.")]


def sweep(
    file: File = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUES", help="What varies: 8,16,32, or a range as JSON; once or twice. The first is shown."
        ),
    ] = None,
    model: Model = None,
    accelerator: Accelerator = None,
    count: Count = None,
    tokens: Tokens = None,
    setting: Setting = None,
    url: Remote = None,
    as_json: Json = False,
) -> None:
    """Vary one or two fields of a training run.

    Examples:

    - `traincast sweep -m llama-3-8b -a H100-SXM5-80GB --tokens 1e12 --vary hardware.count=64,128,256`
    - `traincast sweep run.json --vary 'training.global_batch={"start": 64, "stop": 4096, "scale": "log2"}' --json`
    - `traincast sweep -m resnet-50 -n 8 --vary training.precision=fp32,fp16 --vary hardware.accelerator=T4,L40S`
    """
    if not vary:
        fail("say what varies, e.g. --vary hardware.count=8,16,32")
    axes = {path: _values(text) for path, text in (pair(text, "--vary") for text in vary)}
    request = request_of(file, _flags(locals()), setting or []) | {"vary": axes}
    answer = _swept_there(url, request) if url else _swept_here(request)
    if as_json:
        print(answer.model_dump_json(indent=2))
        return
    from service import rendering

    rendering.console().print(rendering.sweep(answer))


def offers(
    file: File = None,
    model: Model = None,
    accelerator: Accelerator = None,
    count: Count = None,
    tokens: Tokens = None,
    order: Annotated[str, typer.Option(help="cost or carbon: what comes first.")] = "cost",
    setting: Setting = None,
    url: Remote = None,
    as_json: Json = False,
) -> None:
    """Where a training run is cheapest, or emits least, at the prices and grids that are known.

    Examples:

    - `traincast offers -m llama-3-8b -a H100-SXM5-80GB -n 64 --tokens 100e9 --order carbon`
    - `traincast offers run.json --set pricing.kind=spot --json`
    """
    request = request_of(file, _flags(locals()), setting or []) | {"order": order}
    answer = _offered_there(url, request) if url else _offered_here(request)
    if as_json:
        print(answer.model_dump_json(indent=2))
        return
    from service import rendering

    rendering.console().print(rendering.offers(answer))


def _flags(given: dict[str, object]) -> dict[str, object]:
    return {FLAGS[name]: value for name, value in given.items() if name in FLAGS and value is not None}


def _values(text: str) -> object:
    """A range or list as JSON, or values with commas between them."""
    found = literal(text)
    return found if isinstance(found, (dict, list)) else [literal(value.strip()) for value in text.split(",")]


def _swept_here(request: dict[str, Any]) -> Sweep:
    from pydantic import ValidationError

    from service.catalog.catalog import load_catalog
    from service.estimates.batch import invalid
    from service.problems import Problem
    from service.sites.standpoint import Standpoint
    from service.sweeps.expansion import expand
    from service.sweeps.schemas import SweepRequest
    from service.sweeps.service import sweep as make_sweep

    try:
        curves = expand(SweepRequest.model_validate(request))
    except ValidationError as error:
        fail_with(invalid(error).document())
    except Problem as problem:
        fail_with(problem.document())
    return make_sweep(curves, load_catalog(), Standpoint(shipped_forecaster()))


def _offered_here(request: dict[str, Any]) -> Offers:
    from service.offers.schemas import OfferRequest
    from service.offers.service import offers as make_offers

    return computed(request, OfferRequest, make_offers)


def _swept_there(url: str, request: dict[str, Any]) -> Sweep:
    with service_at(url, None) as service:
        return service.sweep(model=request.pop("model", {}), hardware=request.pop("hardware", {}), **request)


def _offered_there(url: str, request: dict[str, Any]) -> Offers:
    with service_at(url, None) as service:
        return service.offers(model=request.pop("model", {}), hardware=request.pop("hardware", {}), **request)
