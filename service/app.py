"""The application: rooms, middleware, error handlers, and what is loaded before the first request."""

import asyncio
import gc
import logging
import math
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from service import health
from service.calibrations import endpoints as calibrations
from service.calibrations.current import CurrentCalibration
from service.calibrations.job import CalibrationJobs
from service.catalog import endpoints as catalog
from service.catalog.catalog import load_catalog
from service.database import Database
from service.engine.forecast import Forecaster
from service.estimates import endpoints as estimates
from service.estimates.examples import EXAMPLES
from service.estimates.schemas import EstimateRequest
from service.estimates.service import Estimated
from service.estimates.together import Together
from service.evaluations import endpoints as evaluations
from service.failures import add_failure_handlers
from service.levers import endpoints as levers
from service.measurements import endpoints as measurements
from service.measurements.counts import source_counts
from service.metrics import Metrics
from service.middleware import BodyAllowance, BodyLimit, HeadAsGet, RequestContext
from service.offers import endpoints as offers
from service.openapi import describe
from service.parameters import only_declared
from service.plans import endpoints as plans
from service.problems import add_handlers
from service.security import Budgets, Gate
from service.seed import prepare
from service.settings import Settings, get_settings
from service.sites import endpoints as sites
from service.sites.counts import SiteCounts
from service.sites.service import Sites
from service.sites.standpoint import Standpoint
from service.submissions import endpoints as submissions
from service.sweeps import endpoints as sweeps
from service.teams import endpoints as teams
from service.tracing import stop_tracing, trace_queries, trace_requests
from service.web.endpoints import add_pages
from service.web.pages import PATHS

logger = logging.getLogger(__name__)

ROOMS = (
    estimates,
    plans,
    sweeps,
    offers,
    levers,
    submissions,
    measurements,
    sites,
    teams,
    calibrations,
    evaluations,
    catalog,
    health,
)
"""Whose endpoints are served, in the order the documentation lists them."""

ROWS = frozenset({"application/x-ndjson", "text/csv"})
STREAMED = {
    "/v1/estimates/batch": ROWS,
    "/v1/evaluations": ROWS | {"multipart/form-data"},
    "/v1/measurements/import": ROWS,
}
"""Media types that a path reads row by row, so that the limits of streams hold for them."""

DESCRIPTION = """\
Predicts how long a training run takes, its throughput, memory, cost, energy and carbon, each with a calibrated
80 % interval (`p10`, `p50`, `p90`), from a description of the model, the data and the hardware.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, ready to be served; it connects to nothing before its lifespan starts.

    Args:
        settings: its settings; those of the environment if None.
    """
    settings = settings or get_settings()
    app: FastAPI = FastAPIOffline(
        redoc_url=None,
        static_url="/docs/assets",
        title="Traincast",
        summary="What will this training run take?",
        description=DESCRIPTION,
        version=version("traincast"),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        root_path=settings.root_path,
        dependencies=[Depends(only_declared)],
        # Generated clients name their functions by it.
        generate_unique_id_function=lambda route: route.name,
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.metrics = Metrics()
    app.state.budgets = Budgets(settings)
    app.state.forecaster = None

    # The one added last is outermost: a refused body still has an id and is counted.
    app.add_middleware(HeadAsGet)
    app.add_middleware(
        BodyLimit,
        whole=BodyAllowance(int(settings.body_limit_mb * 1e6), settings.body_seconds),
        stream=BodyAllowance(int(settings.stream_limit_mb * 1e6), settings.stream_seconds),
        stall_seconds=settings.stall_seconds,
        streamed=STREAMED,
    )
    app.add_middleware(Gate, settings=settings, database=lambda: app.state.database, pages=PATHS)
    if settings.cors_origins:
        # Outside the gate: a browser asks whether it may call before it sends the key.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[origin.strip() for origin in settings.cors_origins.split(",")],
            allow_methods=["*"],
            allow_headers=["authorization", "content-type", "idempotency-key", "x-request-id", "traceparent"],
            expose_headers=["location", "retry-after", "x-request-id"],
        )
    app.add_middleware(RequestContext, metrics=app.state.metrics)
    if settings.tracing:
        trace_requests(app)
    add_handlers(app)
    add_failure_handlers(app)

    for room in ROOMS:
        app.include_router(room.router)
    app.state.tools = _tools_of_agents(app) if settings.mcp else nullcontext()

    add_pages(app)

    describing = threading.Lock()

    def openapi() -> dict[str, Any]:
        with describing:
            if app.openapi_schema is None:
                app.openapi_schema = describe(app)
            return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    database = Database(
        settings.database, pool_size=settings.database_pool, slow_query_seconds=settings.slow_query_seconds
    )
    app.state.database = database
    app.state.metrics.watch_pool(*database.pool())
    if settings.tracing:
        trace_queries(app, database.engine)
    logger.info("preparing %s", database)
    try:
        await prepare(database)
        app.state.catalog = await asyncio.to_thread(load_catalog)
        app.state.sites = Sites(database, app.state.catalog)
        app.state.source_counts = source_counts(database)
        app.state.site_counts = SiteCounts(database)
        app.state.together = Together(app.state.catalog)
        # Without a calibration the service starts all the same: what needs no forecast answers, and readiness says
        # what lacks.
        current = CurrentCalibration(database, lambda forecaster: _use(app, forecaster))
        await current.refresh()
        # What is loaded now stays: looked through for garbage again and again, it would slow all that allocates much.
        gc.freeze()
        gc.enable()
        jobs = CalibrationJobs(database, settings.database, calibrate_after=settings.calibrate_after)
        async with app.state.tools, _in_background(current.watch(), jobs.run()):
            yield
    finally:
        await database.close()
        if settings.tracing:
            stop_tracing(app)


def _tools_of_agents(app: FastAPI) -> AbstractAsyncContextManager[None]:
    """What must be entered while the tools are served; imported only where they are, for they are an extra."""
    try:
        from service.agents.serving import mount
    except ImportError as error:
        raise RuntimeError("TRAINCAST_MCP needs the extra mcp: pip install 'traincast[server,mcp]'") from error
    return mount(app)


@asynccontextmanager
async def _in_background(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Keeps these going; cancels them at the end, and waits until they have put their things in order."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _use(app: FastAPI, forecaster: Forecaster) -> None:
    """Swaps the forecaster in whole: a request that has begun keeps the one it took.

    It answers once before anybody asks, for the first estimate of a forecaster takes ten times as long as the others,
    and one that cannot answer is not to replace one that can.

    Raises:
        ValueError: It gives no estimate; other errors may say so, too.
    """
    asked = EstimateRequest.model_validate(next(iter(EXAMPLES.values()))["value"])
    answer = await app.state.together.estimate(asked, Standpoint(forecaster))
    if not isinstance(answer, Estimated) or not all(map(math.isfinite, answer.document["step_seconds"].values())):
        raise ValueError("an estimate that should have an answer has none")
    app.state.forecaster = forecaster
    app.state.metrics.calibration.clear()
    app.state.metrics.calibration.labels(forecaster.calibration_version).set(1)
