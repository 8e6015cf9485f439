"""Is it alive, can it answer, and how is it doing."""

import logging
from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from service.calibrations.repository import CalibrationRepository
from service.dependencies import DatabaseDependency
from service.metrics import Metrics
from service.problems import NotReady, responses

logger = logging.getLogger(__name__)
router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = Field("ok", description="The process answers.")


class Readiness(BaseModel):
    """Estimates can be answered."""

    status: Literal["ready"] = Field("ready", description="Estimates can be answered.")
    calibration: str = Field(description="Version of the calibration that answers.", examples=["ea19f40dc149"])


@router.get("/healthz", summary="Liveness")
async def healthz() -> Health:
    """Answers as long as the process does."""
    return Health()


@router.get("/readyz", summary="Readiness", responses=responses(NotReady))
async def readyz(request: Request, database: DatabaseDependency) -> Readiness:
    """200 once estimates can be answered: the database is reachable and a calibration is loaded."""
    forecaster = request.app.state.forecaster
    if forecaster is None:
        raise NotReady("No calibration is loaded.")
    try:
        await database.ping()
    except (SQLAlchemyError, OSError) as error:
        logger.warning("the database cannot be reached: %s", error)
        raise NotReady("The database cannot be reached.") from error
    return Readiness(calibration=forecaster.calibration_version)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request, database: DatabaseDependency) -> Response:
    """Requests, predictions, forecast errors, calibration and database connections, in Prometheus' text format."""
    held: Metrics = request.app.state.metrics
    try:
        async with database.sessions() as session:
            held.calibrations(*await CalibrationRepository(session).in_use_and_waiting())
    except (SQLAlchemyError, OSError) as error:
        # The rest is worth knowing most of all while the database is away.
        logger.warning("the database cannot be asked for calibrations: %s", error)
    return Response(generate_latest(held.registry), media_type=CONTENT_TYPE_LATEST)
