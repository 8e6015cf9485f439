"""Submitting, importing, deciding on, withdrawing, restoring and purging measurements over HTTP."""

import hashlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from fastapi.openapi.models import Example
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from service.configuration import Measurement
from service.database import Database
from service.dependencies import CatalogDependency, DatabaseDependency, ForecasterDependency, MetricsDependency
from service.measurements.repository import MeasurementRepository
from service.measurements.schemas import MeasurementEntry
from service.measurements.tables import MeasurementRow
from service.problems import (
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    InsufficientStorage,
    NotFound,
    NotReady,
    RequestTimeout,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unprocessable,
    UnsupportedMediaType,
    responses,
)
from service.security import Caller, insist, require
from service.submissions import service
from service.submissions.idempotency import AnsweredMeanwhileError, FirstAnswer, Idempotency, idempotency
from service.submissions.importing import Import
from service.submissions.repository import SubmissionRepository
from service.submissions.restore import restore
from service.submissions.schemas import Decision, ImportReport, Mode, PurgeOrder, Submitted
from service.submissions.spool import Spool
from service.submissions.vetting import Refusal
from service.teams.repository import AuditRepository

router = APIRouter(prefix="/v1/measurements", tags=["measurements"])

KEYED = (Unauthorized, Forbidden, TooManyRequests, NotReady)
STORING = (*KEYED, BadRequest, Conflict, Unprocessable, InsufficientStorage, RequestTimeout, TooLarge)
EXAMPLE: dict[str, Any] = {
    "model": {"name": "resnet-50"},
    "data": {"image_size": 224, "input": "real"},
    "hardware": {"accelerator": "V100-SXM2-16GB", "count": 8},
    "training": {"precision": "fp16", "global_batch": 2048},
    "software": {"framework": "pytorch"},
    "provenance": {"measured_on": "2024-05", "evidence": "log", "notes": "median of five runs"},
    "result": {"value": 9800, "unit": "samples_per_second"},
}
EXAMPLES: dict[str, Example] = {"one": {"summary": "A run on eight V100", "value": EXAMPLE}}

MayAdminister = Annotated[Caller, Depends(require("admin"))]
MayCurate = Annotated[Caller, Depends(require("curate"))]
MaySubmit = Annotated[Caller, Depends(require("submit"))]
MeasurementId = Annotated[str, Path(description="Its id.", max_length=40, examples=["m_007647380ee8966cd6e72996"])]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Any text that is new for each measurement; a retry with it is answered as the first time.",
        examples=["run-2026-08-01-a"],
    ),
]


@router.post(
    "",
    summary="Submit a measurement",
    status_code=201,
    response_model=Submitted,
    response_model_exclude_unset=True,
    responses={
        200: {"model": Submitted, "description": "The team had submitted the same before; `Location` says where."},
        **responses(*STORING),
    },
)
async def submit_measurement(
    request: Request,
    measured: Annotated[Measurement, Body(openapi_examples=EXAMPLES)],
    caller: MaySubmit,
    database: DatabaseDependency,
    catalog: CatalogDependency,
    forecaster: ForecasterDependency,
    metrics: MetricsDependency,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Stores what was measured; it is on disk when this is answered.

    What is faster than the hardware can be is refused with the arithmetic (422). What lies far outside the forecast is
    `quarantined` with the reason: it informs the team's own predictions, and the shared ones once a curator or another
    team's agreeing measurement vouches for it. All else is `accepted`. What is unknown may be left out.
    """
    once = idempotency(request, _team(caller), hashlib.sha256(await request.body()).digest())
    if (first := await once.first(database)) is not None:
        return _repeated(first)
    estimates = await service.saved_forecasts(database, [measured.flat()], _team(caller))
    verdict = await run_in_threadpool(service.vet_alone, measured.flat(), catalog, forecaster, estimates)
    if isinstance(verdict, Refusal):
        raise Unprocessable(verdict.detail, verdict.errors)
    metrics.submitted(verdict.deviation_log, verdict.forecast_error_log)
    rows = service.prepare([verdict], _submitter(caller))
    try:
        async with database.writing() as session:
            (place,) = await service.store(session, rows)
            row = await MeasurementRepository(session).get(place.id, team_id=caller.team_id)
            if row is None:
                raise NotReady("The measurement was purged while it was submitted.")
            if not place.duplicate:
                await AuditRepository(session).add(caller.actor, "measurement.submit", [place.id])
            more: dict[str, Any] = {"duplicate": place.duplicate}
            if place.warning is not None:
                more["warnings"] = [place.warning]
            entry = Submitted.from_row(row, caller.team_id, **more)
            answer = FirstAnswer(
                200 if place.duplicate else 201,
                f"/v1/measurements/{place.id}",
                entry.model_dump(mode="json", exclude_unset=True),
            )
            await once.remember(session, answer.status, answer.body, location=answer.location)
            await session.commit()
    except AnsweredMeanwhileError:
        return await _first(once, database)
    return _repeated(answer)


@router.post(
    "/import",
    summary="Submit many measurements",
    response_model=ImportReport,
    response_model_exclude_none=True,
    responses=responses(*STORING, UnsupportedMediaType),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "text/csv": {
                    "schema": {"type": "string"},
                    "example": "model.name,hardware.accelerator,hardware.count,training.precision,"
                    "training.global_batch,result.value,result.unit\nresnet-50,V100-SXM2-16GB,8,fp16,2048,9800,samples_per_second\n",
                },
                "application/x-ndjson": {
                    "schema": {"$ref": "#/components/schemas/Measurement"},
                    "example": json.dumps(EXAMPLE) + "\n",
                },
            },
        }
    },
)
async def import_measurements(
    request: Request,
    caller: MaySubmit,
    database: DatabaseDependency,
    catalog: CatalogDependency,
    forecaster: ForecasterDependency,
    metrics: MetricsDependency,
    mode: Annotated[
        Mode, Query(description="atomic: one refused row, and none is stored; check: a report, and none is stored.")
    ] = "best_effort",
    restoring: Annotated[
        bool,
        Query(
            alias="restore",
            description="Store rows of a complete export as they were: ids, status, team, times; scope `admin`.",
        ),
    ] = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """CSV with dotted columns or NDJSON, of any length: each row as if submitted alone, and a report of each.

    The answer comes when the last row is stored. A row that the team has submitted before is not stored again, so that
    an import that was cut off can simply be sent again. `mode=check` stores nothing: its report says what would become
    of each row.
    """
    if restoring:
        insist(caller, "admin")
        if mode == "check":
            message = "rows that are restored are stored as they were, unchecked"
            raise Unprocessable(
                f"mode=check: {message}.", [FieldError(field="query.mode", message=message, hint="leave out restore")]
            )
    most_rows = request.app.state.settings.import_rows
    spool = await Spool.of(request)
    with spool.body:
        once = idempotency(request, _team(caller), spool.digest)
        if (first := await once.first(database)) is not None:
            return _repeated(first)
        if restoring:
            return _reported(await restore(database, spool, caller.actor, most_rows))
        work = Import(database, catalog, forecaster, _submitter(caller), once, metrics, most_rows)
        try:
            return _reported(await work.run(spool, mode))
        except AnsweredMeanwhileError:
            return await _first(once, database)


@router.post(
    "/{measurement_id}/accept",
    summary="Vouch for a measurement",
    response_model_exclude_unset=True,
    responses=responses(*KEYED, NotFound, Conflict),
)
async def accept_measurement(
    measurement_id: MeasurementId, caller: MayCurate, database: DatabaseDependency, decision: Decision | None = None
) -> MeasurementEntry:
    """Lifts its quarantine (or undoes a rejection): the next calibration uses it."""
    return await _decided(database, measurement_id, "accepted", decision, caller)


@router.post(
    "/{measurement_id}/reject",
    summary="Refuse a measurement",
    response_model_exclude_unset=True,
    responses=responses(*KEYED, NotFound, Conflict),
)
async def reject_measurement(
    measurement_id: MeasurementId, caller: MayCurate, database: DatabaseDependency, decision: Decision | None = None
) -> MeasurementEntry:
    """Keeps it out of every prediction, its team's own too; it stays visible as rejected."""
    return await _decided(database, measurement_id, "rejected", decision, caller)


@router.delete(
    "/{measurement_id}",
    summary="Withdraw a measurement",
    response_model_exclude_unset=True,
    responses=responses(*KEYED, NotFound),
)
async def withdraw_measurement(
    measurement_id: MeasurementId, caller: MaySubmit, database: DatabaseDependency
) -> MeasurementEntry:
    """Takes back one of the team's own measurements. It is not erased: it stays, visible as `withdrawn`, unused."""
    async with database.writing() as session:
        row = await _visible(session, measurement_id, caller)
        if row.team_id != caller.team_id:
            raise Forbidden("Only the team that submitted a measurement can withdraw it.")
        await service.withdraw(session, row, caller.actor)
        await session.commit()
        return MeasurementEntry.from_row(row, caller.team_id)


@router.post(
    "/{measurement_id}/purge",
    summary="Erase a measurement",
    status_code=204,
    responses=responses(*KEYED, NotFound, Unprocessable),
)
async def purge_measurement(
    measurement_id: MeasurementId, order: PurgeOrder, caller: MayAdminister, database: DatabaseDependency
) -> None:
    """Erases it for good, whoever's it is, where the law demands it; the audit keeps that, when and why."""
    async with database.writing() as session:
        await service.purge(session, measurement_id, order.reason, caller.actor)
        await session.commit()
    await database.forget()


async def _decided(
    database: Database, measurement_id: str, status: str, decision: Decision | None, caller: Caller
) -> MeasurementEntry:
    async with database.writing() as session:
        row = await _visible(session, measurement_id, caller)
        reason = decision.reason if decision else None
        await service.decide(session, row, status, reason or f"{status} by a curator", caller.actor)
        await session.commit()
        return MeasurementEntry.from_row(row, caller.team_id)


async def _visible(session: Any, measurement_id: str, caller: Caller) -> MeasurementRow:
    row = await SubmissionRepository(session).lock(measurement_id)
    if row is None or (row.visibility == "team" and row.team_id != caller.team_id):
        raise NotFound(f"There is no measurement {measurement_id!r}.")
    return row


async def _first(once: Idempotency, database: Database) -> Response:
    first = await once.first(database)
    if first is None:
        raise NotReady("The first answer to this Idempotency-Key is gone; try again.")
    return _repeated(first)


def _repeated(answer: FirstAnswer) -> Response:
    headers = {"location": answer.location} if answer.location else {}
    return JSONResponse(dict(answer.body), status_code=answer.status, headers=headers)


def _reported(report: ImportReport) -> Response:
    return Response(report.model_dump_json(exclude_none=True), media_type="application/json")


def _team(caller: Caller) -> str:
    """The caller's team; every key has one."""
    return str(caller.team_id)


def _submitter(caller: Caller) -> service.Submitter:
    return service.Submitter(_team(caller), str(caller.team_name), caller.key_id)
