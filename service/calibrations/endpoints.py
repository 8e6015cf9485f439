"""The calibration in use, over HTTP."""

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from service.calibrations.repository import CalibrationRepository
from service.calibrations.schemas import CalibrationEntry
from service.calibrations.service import describe
from service.dependencies import ForecasterDependency, Session
from service.problems import NotReady, responses

router = APIRouter(prefix="/v1/calibrations", tags=["calibrations"])


@router.get("/current", summary="The calibration in use", responses=responses(NotReady))
async def get_current_calibration(forecaster: ForecasterDependency, session: Session) -> CalibrationEntry:
    """Its version and the fingerprint of the measurements behind it, its coefficients with units, and its accuracy."""
    row = await CalibrationRepository(session).get(forecaster.calibration_version)
    return await run_in_threadpool(describe, forecaster, row)
