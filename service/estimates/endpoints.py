"""Estimates over HTTP: one, many, and one that was saved."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request, Response, status
from fastapi import Path as InPath
from fastapi.responses import StreamingResponse
from pydantic import Field

from service.database import Database
from service.dependencies import (
    CatalogDependency,
    ForecasterDependency,
    MetricsDependency,
    Session,
    SitesDependency,
    get_forecaster,
)
from service.engine.forecast import Forecaster
from service.estimates.batch import NDJSON, Batch, answer_all, answer_lines, cannot_run, spool, written
from service.estimates.columns import WHOLE, Path
from service.estimates.examples import EXAMPLES
from service.estimates.members import chosen_fields
from service.estimates.repository import EstimateRepository
from service.estimates.schemas import BATCH_LIMIT, Estimate, EstimateRequest, SavedEstimate, SomeOfEstimate
from service.estimates.service import Estimated
from service.estimates.together import Together
from service.metrics import Metrics
from service.problems import (
    BadRequest,
    FieldError,
    NotFound,
    NotReady,
    ProblemDocument,
    TooLarge,
    TooManyRequests,
    Unprocessable,
    UnsupportedMediaType,
    responses,
)
from service.security import COST_OF_LINE, COST_OF_SAVING, Budgets, BudgetsDependency, Caller, CallerDependency
from service.sites.service import Sites
from service.sites.standpoint import Standpoint, Written

router = APIRouter(prefix="/v1/estimates", tags=["estimates"])

_REQUEST = {"$ref": "#/components/schemas/EstimateRequest"}
_ANSWER = {
    "anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Estimate", "SomeOfEstimate", "ProblemDocument")]
}
_LINES = {
    "summary": "Two configurations, one a line",
    "value": '{"model": {"name": "bert-large"}, "hardware": {"accelerator": "T4"}}\n'
    '{"model": {"name": "bert-large"}, "hardware": {"accelerator": "A100-SXM4-80GB"}}\n',
}


@dataclass(frozen=True, slots=True)
class Desk:
    """What answers one estimate, and who asks."""

    forecaster: Forecaster
    sites: Sites
    together: Together
    database: Database
    caller: Caller
    budgets: Budgets
    metrics: Metrics
    body: bytes  # of the request


async def get_desk(request: Request) -> Desk:
    """All that an estimate needs as one dependency: seven would cost as much as all else that FastAPI does.

    Raises:
        NotReady: if no calibration is loaded.
    """
    held = request.app.state
    return Desk(
        forecaster=await get_forecaster(request),
        sites=held.sites,
        together=held.together,
        database=held.database,
        caller=request.state.caller,
        budgets=held.budgets,
        metrics=held.metrics,
        body=await request.body(),
    )


async def get_fields(
    fields: Annotated[
        list[Annotated[str, Field(max_length=1_000, pattern=r"^[ -~]*$")]] | None,
        Query(
            description="Members to answer with, comma-separated; those of `throughput`, `memory`, `goodput` and "
            "`evidence` one by one too. What only others need is not computed.",
            # As long as it may be, it is read: a request line of more than 64 KiB is not.
            max_length=20,
            examples=[["duration_hours,cost_usd,throughput.samples_per_second,memory.fits"]],
        ),
    ] = None,
) -> Collection[Path]:
    """Which members of an estimate are wanted; all by default."""
    return WHOLE if fields is None else chosen_fields(",".join(fields))


FieldsDependency = Annotated[Collection[Path], Depends(get_fields)]


@router.post(
    "",
    summary="Estimate one training run",
    response_model=Estimate | SomeOfEstimate,
    responses={
        201: {"model": Estimate, "description": "Saved: `Location` says where."},
        **responses(BadRequest, TooLarge, Unprocessable, TooManyRequests, NotReady),
    },
)
async def create_estimate(
    asked: Annotated[EstimateRequest, Body(openapi_examples=EXAMPLES)],
    desk: Annotated[Desk, Depends(get_desk)],
    fields: FieldsDependency,
) -> Response:
    """How long a run takes, and its throughput, memory, cost, energy and carbon, as medians with 80 % intervals.

    Only `model` and `hardware.accelerator` are required. What is left out is taken from the catalog by name, then
    derived, then assumed, and listed in `assumptions`. A configuration that cannot run is refused with the fields at
    fault (422); one that does not fit in memory is answered with `memory.fits` false, a warning, and `remedies`.
    `?fields=duration_hours,throughput.samples_per_second` answers with those members alone; what is saved is whole.
    """
    if asked.save and fields is not WHOLE:
        raise cannot_run(
            [FieldError(field="fields", message="what is saved is whole", hint="leave out fields or save")]
        )
    caller = desk.caller
    standpoint = await desk.sites.standpoint(
        desk.forecaster, site=asked.site, team_id=caller.team_id, team_name=caller.team_name
    )
    if asked.save:
        return await _saved(asked, await _estimated(asked, desk, standpoint, fields), desk, standpoint)
    words = (hashlib.blake2b(desk.body).digest(), fields)
    known = standpoint.written.get(words)
    if known is None:
        answer = await _estimated(asked, desk, standpoint, fields)
        known = Written(written(answer.document), answer.grade)
        standpoint.written.keep(words, known)
    else:
        desk.metrics.predicted([known.grade])
    return Response(known.json, media_type="application/json")


async def _estimated(asked: EstimateRequest, desk: Desk, standpoint: Standpoint, fields: Collection[Path]) -> Estimated:
    answer = await desk.together.estimate(asked, standpoint, fields)
    if not isinstance(answer, Estimated):
        raise cannot_run(answer)
    desk.metrics.predicted([answer.grade])
    return answer


async def _saved(asked: EstimateRequest, answer: Estimated, desk: Desk, standpoint: Standpoint) -> Response:
    desk.budgets.spend(desk.caller, COST_OF_SAVING, "saved estimates")
    # A session of its own: as a dependency, it would cost those that save nothing too.
    async with desk.database.sessions() as session:
        row = await EstimateRepository(session).add(
            asked.model_dump(mode="json", exclude_unset=True),
            answer.document,
            calibration=standpoint.forecaster.calibration_version,
            team_id=desk.caller.team_id,
        )
        await session.commit()
    saved = answer.document | {"id": row.id, "created_at": row.created_at}
    created = {"location": f"/v1/estimates/{row.id}"}
    return Response(written(saved), status.HTTP_201_CREATED, headers=created, media_type="application/json")


@router.post(
    "/batch",
    summary="Estimate many training runs",
    response_model=list[Estimate | SomeOfEstimate | ProblemDocument],
    responses={
        200: {
            "description": "One answer for each request, in order: its estimate, or its problem document.",
            "content": {NDJSON: {"schema": _ANSWER}},
        },
        **responses(BadRequest, TooLarge, UnsupportedMediaType, Unprocessable, TooManyRequests, NotReady),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "array", "items": _REQUEST, "maxItems": BATCH_LIMIT},
                    "examples": {
                        "two": {
                            "summary": "Two configurations",
                            "value": [example["value"] for example in list(EXAMPLES.values())[:2]],
                        }
                    },
                },
                NDJSON: {"schema": _REQUEST, "examples": {"two": _LINES}},
            },
        }
    },
)
async def create_estimates(
    request: Request,
    catalog: CatalogDependency,
    forecaster: ForecasterDependency,
    sites: SitesDependency,
    caller: CallerDependency,
    budgets: BudgetsDependency,
    metrics: MetricsDependency,
    fields: FieldsDependency,
) -> Response:
    """A JSON list of at most 1,000 requests, or NDJSON of any length: one request a line, one answer a line.

    A request that cannot be answered gets its problem document in its place, with its `line`; the rest go on. Blank
    lines are counted and have no answer. `save` is not heeded.
    `?fields=duration_hours,throughput.samples_per_second` answers with those members alone, which is quicker.
    """
    content = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    request_id = getattr(request.state, "request_id", None)
    standpoints = partial(sites.standpoints, forecaster, team_id=caller.team_id, team_name=caller.team_name)
    batch = Batch(catalog, standpoints, metrics.predicted, request_id, fields)
    if content == NDJSON:
        body, lines = await spool(request)
        budgets.spend(caller, lines * COST_OF_LINE, "lines in batches")
        return StreamingResponse(answer_lines(body, batch), media_type=NDJSON)
    if content != "application/json":
        raise UnsupportedMediaType(f"{content!r} is not read here: send application/json or {NDJSON}.")
    raw = await _list_of_requests(request)
    budgets.spend(caller, len(raw) * COST_OF_LINE, "lines in batches")
    answers = await answer_all(enumerate(raw, 1), batch)
    return Response(b"[" + b",".join(answers) + b"]", media_type="application/json")


@router.get("/{estimate_id}", summary="A saved estimate", responses=responses(NotFound))
async def get_estimate(
    estimate_id: Annotated[
        str,
        InPath(
            description="Id from `POST /v1/estimates` with `save`.",
            max_length=40,
            examples=["e_9f86d081884c7d659a2feaa0"],
        ),
    ],
    caller: CallerDependency,
    session: Session,
) -> SavedEstimate:
    """An estimate as it was answered when it was saved, with what was asked.

    One that was saved with a key is shown to keys of the same team only: it may point to their private measurements.
    """
    row = await EstimateRepository(session).get(estimate_id, team_id=caller.team_id)
    if row is None:
        raise NotFound(f"There is no saved estimate {estimate_id!r}.")
    return SavedEstimate.model_validate(
        row.answer | {"id": row.id, "created_at": row.created_at, "request": row.request}
    )


async def _list_of_requests(request: Request) -> list[Any]:
    try:
        raw = await request.json()
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}.") from None
    if not isinstance(raw, list):
        raise Unprocessable("The body is a JSON list of requests; one alone goes to POST /v1/estimates.")
    if len(raw) > BATCH_LIMIT:
        raise TooLarge(f"At most {BATCH_LIMIT} requests in one JSON list, here {len(raw)}; send more as {NDJSON}.")
    return raw
