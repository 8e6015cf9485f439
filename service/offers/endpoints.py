"""Offers over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from starlette.concurrency import run_in_threadpool

from service.dependencies import CatalogDependency, ForecasterDependency, SitesDependency
from service.estimates.batch import cannot_run
from service.offers.schemas import OfferRequest, Offers
from service.offers.service import offers
from service.problems import BadRequest, NotReady, TooLarge, TooManyRequests, Unprocessable, responses
from service.security import COST_OF_OFFERS, BudgetsDependency, CallerDependency

router = APIRouter(prefix="/v1/offers", tags=["offers"])

EXAMPLES: dict[str, Any] = {
    "llama-on-64-h100": {
        "summary": "A Llama 3 8B on 64 H100, least carbon first",
        "value": {
            "model": {"name": "llama-3-8b"},
            "data": {"tokens": 100e9},
            "hardware": {"accelerator": "H100-SXM5-80GB", "count": 64},
            "order": "carbon",
        },
    },
    "resnet-50-by-spot": {
        "summary": "ResNet-50 on 8 A100, spot prices only",
        "value": {
            "model": {"name": "resnet-50"},
            "data": {"name": "imagenet-1k", "epochs": 90},
            "hardware": {"accelerator": "A100-SXM4-40GB", "count": 8},
            "pricing": {"kind": "spot"},
        },
    },
}


@router.post(
    "",
    summary="Where a training run is cheapest, or emits least",
    responses=responses(BadRequest, TooLarge, Unprocessable, TooManyRequests, NotReady),
)
async def create_offers(
    asked: Annotated[OfferRequest, Body(openapi_examples=EXAMPLES)],
    catalog: CatalogDependency,
    forecaster: ForecasterDependency,
    sites: SitesDependency,
    caller: CallerDependency,
    budgets: BudgetsDependency,
) -> Offers:
    """The run at every known price of its chips: provider, region and kind of rent, with cost, energy and carbon.

    What `pricing` states narrows the offers (`provider`, `region`, `kind`, `date`); the caller's own
    `usd_per_accelerator_hour` is one more. Grid and facility are those of each region, unless `location` states its own
    figures. `save` is not heeded.
    """
    budgets.spend(caller, COST_OF_OFFERS, "offers")
    standpoint = await sites.standpoint(forecaster, site=asked.site, team_id=caller.team_id, team_name=caller.team_name)
    answer = await run_in_threadpool(offers, asked, catalog, standpoint)
    if not isinstance(answer, Offers):
        raise cannot_run(answer)
    return answer
