"""Many estimates in one call: a JSON list, or NDJSON of any length, answered line by line."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

import orjson
from fastapi import Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from service.catalog.catalog import Catalog
from service.configuration import suggest_field
from service.estimates.columns import WHOLE, Path
from service.estimates.schemas import EstimateRequest
from service.estimates.service import compute_many
from service.problems import BadRequest, FieldError, Problem, Unprocessable, field_path
from service.sites.standpoint import Standpoint

Predicted = Callable[[Collection[str]], None]
StandpointsOf = Callable[[Collection[str | None]], Awaitable[Mapping[str | None, Standpoint]]]

NDJSON = "application/x-ndjson"
CHUNK = 1024
"""Lines that are computed as one table: enough to be quick, few enough to answer early and hold little."""
LONGEST_LINE = 1_000_000
"""Bytes of one line; a configuration with a config.json in it has a few thousand."""
IN_MEMORY = 8_000_000
"""Bytes of a streamed body that are held in memory; what is longer waits on disk."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What answers the requests of one batch, and how.

    Attributes:
        catalog: the reference tables.
        standpoints: gives the standpoint of each site that requests name.
        predicted: told the grades of what was predicted.
        request_id: named in problem documents.
        fields: which members to answer with.
    """

    catalog: Catalog
    standpoints: StandpointsOf
    predicted: Predicted
    request_id: str | None
    fields: Collection[Path] = WHOLE


async def answer_all(raw: Iterable[tuple[int, object]], batch: Batch) -> list[bytes]:
    """An answer for each request, in order: its estimate, or its problem document, as JSON.

    Args:
        raw: requests as parsed from JSON, each with its line; a `Problem` stands for one that could not even be parsed.
        batch: what answers them.
    """
    read = await run_in_threadpool(_read_all, raw)
    placed = await batch.standpoints({request.site for _, request in read if isinstance(request, EstimateRequest)})
    return await run_in_threadpool(_answered, read, placed, batch)


def _read_all(raw: Iterable[tuple[int, object]]) -> list[tuple[int, EstimateRequest | Problem]]:
    return [(line, request if isinstance(request, Problem) else read_request(request)) for line, request in raw]


def _answered(
    read: Sequence[tuple[int, EstimateRequest | Problem]], placed: Mapping[str | None, Standpoint], batch: Batch
) -> list[bytes]:
    def refusal(problem: Problem, place: int) -> bytes:
        return written(problem.document(batch.request_id, line=read[place][0]))

    answers = [b""] * len(read)
    by_site: dict[str | None, list[tuple[int, EstimateRequest]]] = {}
    for place, (_, request) in enumerate(read):
        if isinstance(request, Problem):
            answers[place] = refusal(request, place)
        else:
            by_site.setdefault(request.site, []).append((place, request))
    for site, asked in by_site.items():
        computed = compute_many([request for _, request in asked], batch.catalog, placed[site])
        for index, errors in computed.refused.items():
            place = asked[index][0]
            answers[place] = refusal(cannot_run(errors), place)
        for index, document in zip(computed.computed, computed.documents(batch.fields), strict=True):
            answers[asked[index][0]] = written(document)
        batch.predicted(computed.grades())
    return answers


def written(answer: Mapping[str, Any]) -> bytes:
    """An estimate, or the document of a problem, as JSON."""
    return orjson.dumps(answer, option=orjson.OPT_UTC_Z)


def read_request(raw: object) -> EstimateRequest | Problem:
    """A request from parsed JSON, or the problem with it."""
    try:
        return EstimateRequest.model_validate(raw)
    except ValidationError as error:
        return invalid(error)


def invalid(error: ValidationError) -> Problem:
    """The problem that a request does not validate, with the fields at fault."""
    errors = [
        FieldError(
            field=field_path(fault["loc"]), message=fault["msg"], hint=_hint(fault["type"], field_path(fault["loc"]))
        )
        for fault in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return cannot_run(errors)


def cannot_run(errors: Sequence[FieldError]) -> Unprocessable:
    """The problem that a configuration cannot be estimated, with the fields at fault."""
    first = f"{errors[0].field}: {errors[0].message}" if errors[0].field else errors[0].message
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Unprocessable(f"{first}{more}", errors)


async def spool(request: Request) -> tuple[IO[bytes], int]:
    """The whole body, in memory or on disk, and how many lines it has.

    Answers start when the body has ended: a client that sends everything before it reads anything would otherwise
    wait for us while we wait for it.
    """
    body = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 -- closed by whoever reads it
    lines, end = 0, b"\n"
    async for chunk in request.stream():
        lines, end = lines + chunk.count(b"\n"), chunk[-1:] or end
        await run_in_threadpool(body.write, chunk)
    body.seek(0)
    return body, lines + (end != b"\n")


async def answer_lines(body: IO[bytes], batch: Batch) -> AsyncIterator[bytes]:
    """The answers to an NDJSON body, one line each; closes the body."""
    with body:
        requests = _requests(body)
        while answers := await answer_all(islice(requests, CHUNK), batch):
            yield b"\n".join(answers) + b"\n"


def _requests(body: IO[bytes]) -> Iterator[tuple[int, object]]:
    """Each line's number and what it says, or the problem with it; blank lines are passed over, but counted."""
    number = 0
    while line := body.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            while line and not line.endswith(b"\n"):
                line = body.readline(LONGEST_LINE)
            yield number, BadRequest(f"The line is longer than {LONGEST_LINE} bytes.")
        elif line.strip():
            try:
                yield number, orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield number, BadRequest(f"The line is not valid JSON: {error}.")


def _hint(kind: str, path: str) -> str | None:
    if kind == "extra_forbidden":
        meant = suggest_field(path)
        return f"did you mean {meant!r}?" if meant else "this field is unknown here; /docs lists those that are"
    return f"{path.rpartition('.')[2]} is required" if kind == "missing" else None
