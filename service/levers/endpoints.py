"""Levers over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Body
from starlette.concurrency import run_in_threadpool

from service.dependencies import CatalogDependency, ForecasterDependency, SitesDependency
from service.estimates.batch import cannot_run
from service.levers.examples import EXAMPLES
from service.levers.schemas import Levers, LeversRequest
from service.levers.service import find_levers
from service.problems import BadRequest, NotReady, TooLarge, TooManyRequests, Unprocessable, responses
from service.security import COST_OF_LEVERS, BudgetsDependency, CallerDependency

router = APIRouter(prefix="/v1/levers", tags=["levers"])


@router.post(
    "",
    summary="What would shorten a run",
    responses=responses(BadRequest, TooLarge, Unprocessable, TooManyRequests, NotReady),
)
async def create_levers(
    asked: Annotated[LeversRequest, Body(openapi_examples=EXAMPLES)],
    catalog: CatalogDependency,
    forecaster: ForecasterDependency,
    sites: SitesDependency,
    caller: CallerDependency,
    budgets: BudgetsDependency,
) -> Levers:
    """What would shorten a run, the largest speed-up first, each with its interval, its cost and its trade-off.

    More and better accelerators, links, precision, kernels, compilation, layout, transfer learning, less data, a
    smaller model at equal loss, the global batch, and choices of the recipe. The figures of a lever are those of
    `POST /v1/estimates` with its `change`. What no forecast of speed can tell (how much fine-tuning suffices, how much
    of the data could go) is the caller's `assume`, or an assumption that the lever states.
    """
    budgets.spend(caller, COST_OF_LEVERS, "levers")
    standpoint = await sites.standpoint(forecaster, site=asked.site, team_id=caller.team_id, team_name=caller.team_name)
    found = await run_in_threadpool(find_levers, asked, catalog, standpoint)
    if not isinstance(found, Levers):
        raise cannot_run(found)
    return found
