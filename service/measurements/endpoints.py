"""Measurements and sources over HTTP: lists, one with its residual, export."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from service.calibrations.service import source_errors
from service.cursors import BadCursorError
from service.dependencies import (
    CatalogDependency,
    DatabaseDependency,
    ForecasterDependency,
    Session,
    SourceCountsDependency,
)
from service.measurements.filters import filter_parameters, read_filters
from service.measurements.repository import Filter, MeasurementRepository, SourceRepository, SourceRows
from service.measurements.schemas import (
    MeasurementDetail,
    MeasurementEntry,
    MeasurementPage,
    Residual,
    SourceEntry,
    SourcePage,
)
from service.measurements.service import MEDIA_TYPES, Format, export, residual
from service.problems import FieldError, Forbidden, NotFound, NotReady, Unauthorized, Unprocessable, responses
from service.security import CallerDependency, insist

router = APIRouter(prefix="/v1", tags=["measurements"])

Limit = Annotated[int, Query(ge=1, le=1000, description="The most to return.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.", examples=["SDEwMC1TWE01LTgwR0I"])]


@router.get(
    "/measurements",
    summary="Find measurements",
    response_model_exclude_unset=True,
    responses=responses(Unprocessable),
    openapi_extra={"parameters": filter_parameters()},
)
async def list_measurements(
    request: Request, session: Session, caller: CallerDependency, limit: Limit = 100, cursor: Cursor = None
) -> MeasurementPage:
    """Measurements in order of arrival, of every status: shared ones, and those that the key's team keeps to itself.

    Every field of a configuration filters by its dotted name (`model.family=decoder`); a repeated parameter means any
    of its values; `hardware.count.at_least=64`, `hardware.count.at_most=512` and `model.name.contains=llama` compare.
    Some thousand rows are looked through for a page: where few pass it has less than `limit`, or none, and more may
    follow as long as there is a `next_cursor`.
    """
    filters = read_filters(request.query_params.multi_items())
    try:
        page = await MeasurementRepository(session).page(filters, team_id=caller.team_id, limit=limit, cursor=cursor)
    except BadCursorError as error:
        raise _bad_cursor(error) from None
    items = [MeasurementEntry.from_row(row, caller.team_id) for row in page.items]
    return MeasurementPage(items=items, next_cursor=page.next_cursor)


@router.get(
    "/measurements/export",
    summary="Export measurements",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The measurements, in the columns and objects that an import takes.",
            "content": {"text/csv": {"schema": {"type": "string"}}, "application/x-ndjson": {"schema": {}}},
        },
        **responses(Unprocessable, Unauthorized, Forbidden),
    },
    openapi_extra={"parameters": filter_parameters()},
)
async def export_measurements(
    request: Request,
    database: DatabaseDependency,
    caller: CallerDependency,
    form: Annotated[
        Format, Query(alias="format", description="csv (dotted columns) or ndjson (nested objects).")
    ] = "csv",
    complete: Annotated[
        bool,
        Query(
            description="Every row of every team and status, with what the service says of it (`record.*`), for "
            "`import?restore=true`; scope `admin`."
        ),
    ] = False,
) -> StreamingResponse:
    """All measurements that pass the filters (those of the list; accepted ones unless `status` says otherwise)."""
    filters = read_filters(request.query_params.multi_items())
    if complete:
        insist(caller, "admin")
    elif all(wanted.field != "status" for wanted in filters):
        filters.append(Filter("status", ("accepted",)))
    return StreamingResponse(
        export(database, filters, form, team_id=caller.team_id, complete=complete),
        media_type=MEDIA_TYPES[form],
        headers={"content-disposition": f'attachment; filename="measurements.{form}"'},
    )


@router.get(
    "/measurements/{measurement_id}",
    summary="One measurement with its residual",
    response_model_exclude_unset=True,
    responses=responses(NotFound, NotReady),
)
async def get_measurement(
    measurement_id: Annotated[str, Path(description="Its id.", max_length=40, examples=["m_007647380ee8966cd6e72996"])],
    session: Session,
    caller: CallerDependency,
    catalog: CatalogDependency,
    forecaster: ForecasterDependency,
) -> MeasurementDetail:
    """A measurement with its source, and beside what the current calibration predicts for it."""
    row = await MeasurementRepository(session).get(measurement_id, team_id=caller.team_id)
    if row is None:
        raise NotFound(f"There is no measurement {measurement_id!r}.")
    source = await SourceRepository(session).get(row.source) if row.source else None
    made = await run_in_threadpool(residual, row, catalog, forecaster)
    compared = isinstance(made, Residual)
    return MeasurementDetail.from_row(
        row,
        caller.team_id,
        source=SourceEntry.from_row(source, source_errors(forecaster).get(source.name)) if source else None,
        residual=made if compared else None,
        residual_reason=None if compared else made,
    )


@router.get("/sources", summary="Where measurements come from", responses=responses(Unprocessable, NotReady))
async def list_sources(
    session: Session,
    counts: SourceCountsDependency,
    forecaster: ForecasterDependency,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> SourcePage:
    """Sources by name: title, reference, licence, how many measurements, and how well they are predicted unseen.

    New measurements count at once; that one was withdrawn, or its quarantine lifted, within seconds, or a minute where
    there are a million.
    """
    # Counted over a connection of its own, before this session has one: who held one and waited for another could be
    # all that the pool has.
    rows, errors = await counts.rows(), source_errors(forecaster)
    try:
        found, following = await SourceRepository(session).page(limit=limit, cursor=cursor)
    except BadCursorError as error:
        raise _bad_cursor(error) from None
    return SourcePage(
        items=[
            SourceEntry.from_row(
                source,
                errors.get(source.name),
                shipped=rows.get(SourceRows(source.name, True), 0),
                submitted=rows.get(SourceRows(source.name, False), 0),
            )
            for source in found
        ],
        next_cursor=following,
    )


def _bad_cursor(error: BadCursorError) -> Unprocessable:
    return Unprocessable(str(error), [FieldError(field="cursor", message=str(error), hint="Start without one.")])
