"""What endpoints ask the application for.

Coroutines though they wait for nothing: FastAPI sends each plain function to a thread and back.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from service.catalog.catalog import Catalog
from service.database import Database
from service.engine.forecast import Forecaster
from service.measurements.counts import Counts
from service.measurements.repository import SourceRows
from service.metrics import Metrics
from service.problems import NotReady
from service.sites.counts import SiteCounts
from service.sites.service import Sites


async def get_catalog(request: Request) -> Catalog:
    """The reference catalogs."""
    catalog: Catalog = request.app.state.catalog
    return catalog


async def get_forecaster(request: Request) -> Forecaster:
    """The current forecaster.

    Raises:
        NotReady: if no calibration is loaded.
    """
    forecaster: Forecaster | None = request.app.state.forecaster
    if forecaster is None:
        raise NotReady("No calibration is loaded: fit one with POST /v1/calibrations.")
    return forecaster


async def get_sites(request: Request) -> Sites:
    """The standpoints that requests are predicted from."""
    sites: Sites = request.app.state.sites
    return sites


async def get_site_counts(request: Request) -> SiteCounts:
    """How many measurements each site of a team has."""
    counts: SiteCounts = request.app.state.site_counts
    return counts


async def get_source_counts(request: Request) -> Counts[SourceRows]:
    """How many measurements each source has."""
    counts: Counts[SourceRows] = request.app.state.source_counts
    return counts


async def get_metrics(request: Request) -> Metrics:
    """The metrics of this replica."""
    metrics: Metrics = request.app.state.metrics
    return metrics


async def get_database(request: Request) -> Database:
    """The database, for what outlives the request's own session (streamed answers)."""
    database: Database = request.app.state.database
    return database


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """A session that commits once, before the answer is sent; it connects at its first query, not before."""
    database: Database = request.app.state.database
    async with database.sessions() as session:
        yield session
        await session.commit()


# The scope makes the commit happen before the answer is sent, so that an answer never promises what then fails.
CatalogDependency = Annotated[Catalog, Depends(get_catalog)]
ForecasterDependency = Annotated[Forecaster, Depends(get_forecaster)]
SitesDependency = Annotated[Sites, Depends(get_sites)]
SiteCountsDependency = Annotated[SiteCounts, Depends(get_site_counts)]
SourceCountsDependency = Annotated[Counts[SourceRows], Depends(get_source_counts)]
MetricsDependency = Annotated[Metrics, Depends(get_metrics)]
DatabaseDependency = Annotated[Database, Depends(get_database)]
Session = Annotated[AsyncSession, Depends(get_session, scope="function")]
