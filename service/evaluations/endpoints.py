"""Evaluations over HTTP: how good is the service on these measurements? Nothing is stored."""

import io
from typing import IO, Annotated, cast

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from service.catalog.catalog import Catalog
from service.dependencies import CatalogDependency, ForecasterDependency
from service.engine.forecast import Forecaster
from service.evaluations.files import BY_DEFAULT, MeasurementFile, UnknownColumnError, evaluate, read_measurements
from service.evaluations.schemas import Evaluation
from service.problems import (
    BadRequest,
    FieldError,
    NotReady,
    TooLarge,
    TooManyRequests,
    Unprocessable,
    UnsupportedMediaType,
    responses,
)
from service.security import COST_OF_LEARNING, COST_OF_LINE, BudgetsDependency, CallerDependency
from service.submissions.spool import CONTENTS, refuse_other_types

router = APIRouter(prefix="/v1/evaluations", tags=["evaluations"])

LARGEST_BODY = 50_000_000
"""Bytes of measurements that are evaluated at once."""
MOST_ROWS = 50_000
MOST_LEARNED = 2_000
"""Rows to learn first: learning takes time with their cube."""
FORM = "multipart/form-data"
_EXAMPLE = (
    "model.name,hardware.accelerator,hardware.count,training.precision,training.global_batch,result.value,result.unit\n"
    "resnet-50,V100-SXM2-16GB,8,fp16,2048,10500,samples_per_second\n"
)
_EXAMPLE_LINE = (
    '{"model": {"name": "resnet-50"}, "hardware": {"accelerator": "V100-SXM2-16GB", "count": 8}, '
    '"training": {"precision": "fp16", "global_batch": 2048}, '
    '"result": {"value": 10500, "unit": "samples_per_second"}}\n'
)


@router.post(
    "",
    summary="Evaluate the current calibration",
    responses=responses(BadRequest, TooLarge, UnsupportedMediaType, Unprocessable, TooManyRequests, NotReady),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "text/csv": {"schema": {"type": "string"}, "example": _EXAMPLE},
                "application/x-ndjson": {"schema": {"type": "string"}, "example": _EXAMPLE_LINE},
                FORM: {
                    "schema": {
                        "type": "object",
                        "required": ["measurements"],
                        "properties": {
                            "measurements": {"type": "string", "format": "binary", "description": "Rows to predict."},
                            "learn": {
                                "type": "string",
                                "format": "binary",
                                "description": "Rows to learn first, as if a team had submitted them.",
                            },
                        },
                    }
                },
            },
        }
    },
)
async def create_evaluation(
    request: Request,
    catalog: CatalogDependency,
    forecaster: ForecasterDependency,
    caller: CallerDependency,
    budgets: BudgetsDependency,
    by: Annotated[str, Query(description="Column to score by.", examples=["model.family"])] = BY_DEFAULT,
) -> Evaluation:
    """How well the current calibration predicts the given measurements, each from its configuration alone.

    Send CSV with dotted columns or NDJSON; as a form with files `measurements` and `learn`, the latter is learned
    first, as if a team had submitted it. Rows that cannot be scored are listed with the reason; what is no table of
    measurements, or of the other type than it is said to be, is refused.
    """
    content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    learned: MeasurementFile | None = None
    if content == FORM:
        async with request.form(max_files=2, max_fields=2) as form:
            file = await _uploaded(form.get("measurements"), "measurements", MOST_ROWS)
            if form.get("learn") is not None:
                learned = await _uploaded(form.get("learn"), "learn", MOST_LEARNED)
    elif content in CONTENTS:
        file = await _read(await _body(request), content, MOST_ROWS)
    else:
        raise UnsupportedMediaType(f"{content!r} is not read here: send {', '.join((*CONTENTS, FORM))}.")
    cost = len(file.rows) * COST_OF_LINE + (len(learned.rows) * COST_OF_LEARNING if learned else 0)
    budgets.spend(caller, cost, "rows in evaluations")
    return await run_in_threadpool(_evaluated, file, learned, by, catalog, forecaster)


def _evaluated(
    file: MeasurementFile, learned: MeasurementFile | None, by: str, catalog: Catalog, forecaster: Forecaster
) -> Evaluation:
    try:
        return evaluate(file, catalog, forecaster, by=by, learned=learned).evaluation
    except UnknownColumnError as error:
        raise Unprocessable(str(error), [FieldError(field="query.by", message=str(error))]) from None


async def _body(request: Request) -> IO[bytes]:
    body = io.BytesIO()
    async for chunk in request.stream():
        if body.tell() + len(chunk) > LARGEST_BODY:
            raise TooLarge(f"At most {LARGEST_BODY / 1e6:g} MB are evaluated at once; the command line has no limit.")
        body.write(chunk)
    body.seek(0)
    return body


async def _uploaded(part: object, name: str, most: int) -> MeasurementFile:
    if not isinstance(part, UploadFile):
        raise Unprocessable(
            f"The form has no file {name!r}.", [FieldError(field=name, message="a file of measurements is needed")]
        )
    named = (part.filename or "").lower()
    content = "application/x-ndjson" if named.endswith((".ndjson", ".jsonl")) else "text/csv"
    return await _read(cast(IO[bytes], part.file), content, most)


async def _read(body: IO[bytes], content: str, most: int) -> MeasurementFile:
    file = await run_in_threadpool(_parsed, body, content)
    if len(file.rows) > most:
        raise TooLarge(f"At most {most} rows are taken here, and there are {len(file.rows)}.")
    return file


def _parsed(body: IO[bytes], content: str) -> MeasurementFile:
    refuse_other_types(body, content)
    text = io.TextIOWrapper(body, encoding="utf-8-sig", errors="surrogateescape", newline="")
    file = read_measurements(text, content)
    text.detach()
    return file
