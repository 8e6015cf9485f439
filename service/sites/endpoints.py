"""A team's sites over HTTP: where it has measured, and what that changes in its predictions."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.concurrency import run_in_threadpool

from service.dependencies import ForecasterDependency, SiteCountsDependency, SitesDependency
from service.estimates.schemas import Quantity
from service.problems import Forbidden, NotFound, NotReady, Unauthorized, responses
from service.security import Caller, require
from service.sites.schemas import LearnedSite, SiteEntry, SiteList

router = APIRouter(prefix="/v1/sites", tags=["sites"])

Member = Annotated[Caller, Depends(require("submit"))]


@router.get("", summary="List the team's sites", responses=responses(Unauthorized, Forbidden))
async def list_sites(counts: SiteCountsDependency, caller: Member) -> SiteList:
    """Where the key's team has measured: what its measurements state as `site`, or its own name.

    New measurements count at once; that one was withdrawn, within a minute.
    """
    rows = await counts.rows(str(caller.team_id))
    items = [SiteEntry(site=site, rows=rows[site]) for site in rows]
    return SiteList(team=str(caller.team_name), items=items)


@router.get(
    "/{site:path}", summary="What a site taught", responses=responses(Unauthorized, Forbidden, NotFound, NotReady)
)
async def get_site(
    site: Annotated[
        str,
        Path(description="A site's name, or the team's for all of them.", max_length=200, examples=["cluster-a"]),
    ],
    counts: SiteCountsDependency,
    caller: Member,
    forecaster: ForecasterDependency,
    sites: SitesDependency,
) -> LearnedSite:
    """How much slower or faster the team's runs there are than those of a site that nobody knows, as learned now."""
    known = await counts.rows(str(caller.team_id))
    rows = sum(known.values()) if site == caller.team_name else known.get(site)
    if rows is None:
        raise NotFound(f"The team has no measurements of a site {site!r}; GET /v1/sites lists those it has.")
    standpoint = await sites.standpoint(forecaster, site=site, team_id=caller.team_id, team_name=caller.team_name)
    ratio = await run_in_threadpool(standpoint.time_ratio, forecaster)
    return LearnedSite(
        site=site,
        rows=rows,
        calibration=forecaster.calibration_version,
        site_version=standpoint.site_version,
        time_ratio=ratio and Quantity(p10=ratio.p10[0], p50=ratio.p50[0], p90=ratio.p90[0]),
    )
