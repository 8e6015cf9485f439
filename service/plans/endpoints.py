"""Plans over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Body
from starlette.concurrency import run_in_threadpool

from service.dependencies import CatalogDependency, ForecasterDependency, SitesDependency
from service.estimates.batch import cannot_run
from service.plans.examples import EXAMPLES
from service.plans.schemas import PlanAnswer, PlanRequest
from service.plans.service import make_plans
from service.problems import BadRequest, NotReady, TooLarge, TooManyRequests, Unprocessable, responses
from service.security import COST_OF_PLACE, BudgetsDependency, CallerDependency

router = APIRouter(prefix="/v1/plans", tags=["plans"])


@router.post(
    "",
    summary="Plan a training run",
    responses=responses(BadRequest, TooLarge, Unprocessable, TooManyRequests, NotReady),
)
async def create_plans(
    asked: Annotated[PlanRequest, Body(openapi_examples=EXAMPLES)],
    catalog: CatalogDependency,
    forecaster: ForecasterDependency,
    sites: SitesDependency,
    caller: CallerDependency,
    budgets: BudgetsDependency,
) -> PlanAnswer:
    """On which chips, how many of them and laid out how a run is quickest, cheapest or takes the least energy.

    Every number of every chip allowed is searched for the layouts that fit in memory; the quickest
    of each are forecast as `POST /v1/estimates` does and ranked. `rejected` counts what fell out and why;
    `nearest_feasible` says what would work where nothing does.
    """
    budgets.spend(caller, asked.forecasts() * COST_OF_PLACE, "plans")
    standpoint = await sites.standpoint(forecaster, site=asked.site, team_id=caller.team_id, team_name=caller.team_name)
    answer = await run_in_threadpool(make_plans, asked, catalog, standpoint)
    if not isinstance(answer, PlanAnswer):
        raise cannot_run(answer)
    return answer
