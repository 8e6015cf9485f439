"""Calibrations over HTTP: the one in use, all of them, fitting a new one, and which to use."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response, status
from starlette.concurrency import run_in_threadpool

from service.calibrations.fitted_points import fitted_measurements
from service.calibrations.repository import CalibrationRepository, TrackRecordRepository
from service.calibrations.schemas import (
    CalibrationEntry,
    CalibrationPage,
    CalibrationRequest,
    CalibrationSummary,
    CurrentCalibration,
    FittedMeasurements,
)
from service.calibrations.service import describe, stored_content, track_record
from service.cursors import BadCursorError
from service.database import Database
from service.dependencies import DatabaseDependency, ForecasterDependency, Session
from service.engine.forecast import Forecaster
from service.problems import (
    Conflict,
    FieldError,
    Forbidden,
    NotFound,
    NotReady,
    Unauthorized,
    Unprocessable,
    responses,
)
from service.security import Caller, CallerDependency, require
from service.teams.repository import AuditRepository

router = APIRouter(prefix="/v1/calibrations", tags=["calibrations"])

Version = Annotated[str, Path(description="Its version.", max_length=100, examples=["20260801T120000-3fa2c1"])]
MayCalibrate = Annotated[Caller, Depends(require("calibrate"))]


@router.get("", summary="List calibrations", responses=responses(Unprocessable))
async def list_calibrations(
    session: Session,
    limit: Annotated[int, Query(ge=1, le=1000, description="The most to return.")] = 100,
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the page before.", examples=["SDEwMC1TWE01LTgwR0I"])
    ] = None,
) -> CalibrationPage:
    """All calibrations, newest first: those that were fitted, that are being fitted, and that wait."""
    repository = CalibrationRepository(session)
    try:
        rows, following = await repository.page(limit=limit, cursor=cursor)
    except BadCursorError as error:
        hint = FieldError(field="cursor", message=str(error), hint="Start without one.")
        raise Unprocessable(str(error), [hint]) from None
    current = await repository.current_version()
    return CalibrationPage(items=[CalibrationSummary.from_row(row, current) for row in rows], next_cursor=following)


@router.post(
    "",
    summary="Fit a new calibration",
    status_code=status.HTTP_202_ACCEPTED,
    responses=responses(Unauthorized, Forbidden, Unprocessable),
)
async def create_calibration(
    response: Response, session: Session, caller: MayCalibrate, asked: CalibrationRequest | None = None
) -> CalibrationSummary:
    """Queues a fit on all accepted, shared measurements; `Location` says where its progress is to be read.

    One is fitted at a time. A request that comes while another one waits joins it, for both would see the same
    measurements. It is put in use unless it is worse on held-out sources than the present one (its `comparison` states
    the rule); `force` puts it in use all the same.
    """
    forced = asked is not None and asked.force
    repository = CalibrationRepository(session)
    row = await repository.request(trigger="request", forced=forced, team_id=caller.team_id)
    await AuditRepository(session).add(caller.actor, "calibration.request", [row.version], {"force": forced})
    response.headers["location"] = f"/v1/calibrations/{row.version}"
    return CalibrationSummary.from_row(row, await repository.current_version())


@router.get("/current", summary="The calibration in use", responses=responses(NotReady))
async def get_current_calibration(
    forecaster: ForecasterDependency, session: Session, caller: CallerDependency
) -> CurrentCalibration:
    """Its version and the fingerprint of the measurements behind it, its coefficients with units, its accuracy on
    sources it had not seen, and the service's track record: how its forecasts fared against what was measured later.
    """
    row = await CalibrationRepository(session).get(forecaster.calibration_version)
    record = track_record(await TrackRecordRepository(session).outcomes(caller.team_id))
    return await run_in_threadpool(describe, forecaster, row, record)


@router.get("/current/measurements", summary="Predicted against measured", responses=responses(Unprocessable, NotReady))
async def list_fitted_measurements(
    forecaster: ForecasterDependency,
    per_lineage: Annotated[int, Query(ge=1, le=1000, description="The most to return of each lineage.")] = 40,
) -> FittedMeasurements:
    """The measurements behind the calibration in use, each beside what it predicts for a new site that ran the same.

    `GET /v1/measurements/{id}` says more of one.
    """
    return await run_in_threadpool(fitted_measurements, forecaster, per_lineage)


@router.get("/{version}", summary="One calibration", responses=responses(NotFound))
async def get_calibration(version: Version, session: Session) -> CalibrationEntry:
    """How its fit goes or went, its accuracy before and after, and what it learned."""
    repository = CalibrationRepository(session)
    row = await repository.get(version)
    if row is None:
        raise _unknown(version)
    stored = await repository.content(version)
    current = await repository.current_version()
    content = None if stored is None else await run_in_threadpool(stored_content, stored)
    return CalibrationEntry.from_row(row, current, content=content)


@router.post(
    "/{version}/activate",
    summary="Put a calibration in use",
    responses=responses(Unauthorized, Forbidden, NotFound, Conflict),
)
async def activate_calibration(
    version: Version, database: DatabaseDependency, session: Session, caller: MayCalibrate
) -> CalibrationSummary:
    """Rolls back to an earlier calibration, or forward to one that was fitted and not put in use.

    Every replica serves it within 5 seconds; requests under way end with the one they began with.
    """
    await _check_usable(database, version)
    repository = CalibrationRepository(session)
    row, instead_of = await repository.activate(version)
    await AuditRepository(session).add(caller.actor, "calibration.activate", [version], {"instead_of": instead_of})
    return CalibrationSummary.from_row(row, version)


async def _check_usable(database: Database, version: str) -> None:
    """In a session that ends before anything is written: a SQLite transaction that has read may not write any more."""
    async with database.sessions() as session:
        repository = CalibrationRepository(session)
        if await repository.get(version) is None:
            raise _unknown(version)
        content = await repository.content(version)
    if content is None:
        raise Conflict(f"Calibration {version} is not fitted; GET /v1/calibrations/{version} says how far it is.")
    try:
        await run_in_threadpool(Forecaster.load, content)
    except ValueError as error:
        raise Conflict(f"Calibration {version} cannot be used: {error}.") from None


def _unknown(version: str) -> NotFound:
    return NotFound(f"There is no calibration {version!r}; GET /v1/calibrations lists them.")
