"""Sweeps over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from starlette.concurrency import run_in_threadpool

from service.dependencies import CatalogDependency, ForecasterDependency, SitesDependency
from service.problems import BadRequest, NotReady, TooLarge, TooManyRequests, Unprocessable, responses
from service.security import COST_OF_LINE, BudgetsDependency, CallerDependency
from service.sweeps.expansion import expand
from service.sweeps.schemas import Sweep, SweepRequest
from service.sweeps.service import sweep

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"])

EXAMPLES: dict[str, Any] = {
    "days-against-count": {
        "summary": "Days and cost of GPT-3 175B against the number of V100",
        "value": {
            "model": {"name": "gpt-3-175b"},
            "data": {"tokens": 300e9, "sequence_length": 2048},
            "hardware": {"accelerator": "V100-SXM2-32GB", "per_node": 8},
            "training": {"precision": "fp16", "global_batch": 1536},
            "vary": {"hardware.count": [256, 512, 1024]},
        },
    },
    "chips-and-precisions": {
        "summary": "ResNet-50 by global batch, on two chips",
        "value": {
            "model": {"name": "resnet-50"},
            "data": {"name": "imagenet-1k", "epochs": 90},
            "hardware": {"count": 8},
            "training": {"precision": "fp16"},
            "vary": {
                "training.global_batch": {"start": 256, "stop": 2048, "scale": "log2"},
                "hardware.accelerator": ["V100-SXM2-16GB", "A100-SXM4-40GB"],
            },
        },
    },
}


@router.post(
    "",
    summary="Vary one or two fields of a training run",
    responses=responses(BadRequest, TooLarge, Unprocessable, TooManyRequests, NotReady),
)
async def create_sweep(
    asked: Annotated[SweepRequest, Body(openapi_examples=EXAMPLES)],
    request: Request,
    catalog: CatalogDependency,
    forecaster: ForecasterDependency,
    sites: SitesDependency,
    caller: CallerDependency,
    budgets: BudgetsDependency,
) -> Sweep:
    """Days and cost against the number of chips, throughput against the batch, memory against the sequence length.

    Everything that an estimate takes, and `vary`: up to 400 points. A point that cannot run has its problem in place
    of its estimate. `remedies` are not looked for, and `save` is not heeded: ask for the estimate of that one point.
    """
    curves = expand(asked)
    budgets.spend(caller, sum(map(len, curves)) * COST_OF_LINE, "points of sweeps")
    standpoint = await sites.standpoint(forecaster, site=asked.site, team_id=caller.team_id, team_name=caller.team_name)
    request_id = getattr(request.state, "request_id", None)
    return await run_in_threadpool(sweep, curves, catalog, standpoint, request_id=request_id)
