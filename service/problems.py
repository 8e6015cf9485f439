"""Errors as problem documents (RFC 9457): classes that carry their own status, and the handlers that render them.

An endpoint raises a ``Problem``; everything else that can go wrong (a body that does not validate, an unknown path, a
bug) is turned into the same kind of document here, so that a caller reads one shape of error only.
"""

import difflib
import http
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from service.faults import FieldError as FieldError
from service.faults import ProblemDocument as ProblemDocument
from service.suggestions import closest_field

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818 -- what RFC 9457 calls it
    """An error with an HTTP status; subclasses say which, and appear in the API's description through ``responses``."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self, detail: str, errors: Sequence[FieldError] = (), *, headers: Mapping[str, str] | None = None
    ) -> None:
        """
        Args:
            detail: what went wrong this time, in a sentence.
            errors: the fields at fault.
            headers: further headers of the answer.
        """
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def document(self, request_id: str | None = None, line: int | None = None) -> dict[str, Any]:
        """The problem document, ready for JSON."""
        return ProblemDocument(
            type=f"urn:traincast:problem:{self.slug}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            request_id=request_id,
            line=line,
            errors=self.errors,
        ).model_dump(exclude_none=True)


class BadRequest(Problem):
    """The request cannot be read at all."""

    status, slug, title = 400, "bad-request", "Bad request"


class Unauthorized(Problem):
    """The call needs an API key, and none or a wrong one was given."""

    status, slug, title = 401, "unauthorized", "Unauthorized"


class Forbidden(Problem):
    """The API key does not allow this call."""

    status, slug, title = 403, "forbidden", "Forbidden"


class NotFound(Problem):
    """There is no such thing."""

    status, slug, title = 404, "not-found", "Not found"


class Conflict(Problem):
    """The request contradicts what is there."""

    status, slug, title = 409, "conflict", "Conflict"


class RequestTimeout(Problem):
    """The body did not arrive in time."""

    status, slug, title = 408, "request-timeout", "Request timeout"


class TooLarge(Problem):
    """The body or list is larger than this call takes."""

    status, slug, title = 413, "too-large", "Too large"


class UnsupportedMediaType(Problem):
    """The body is of a type that this call does not read."""

    status, slug, title = 415, "unsupported-media-type", "Unsupported media type"


class Unprocessable(Problem):
    """The request is readable, but what it says is wrong or cannot be."""

    status, slug, title = 422, "unprocessable", "Unprocessable"


class TooManyRequests(Problem):
    """The caller has used up what it may ask for; `Retry-After` says when there is more."""

    status, slug, title = 429, "too-many-requests", "Too many requests"


class NotReady(Problem):
    """The service cannot answer yet, or not now."""

    status, slug, title = 503, "not-ready", "Not ready"


class InsufficientStorage(Problem):
    """The service has no room to store what was sent."""

    status, slug, title = 507, "insufficient-storage", "Insufficient storage"


def responses(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` argument of a route that may raise these problems."""
    schema = {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}
    return {
        problem.status: {"description": problem.title, "content": {MEDIA_TYPE: {"schema": schema}}}
        for problem in problems
    }


def field_path(location: Iterable[str | int]) -> str:
    """A validation error's location as a JSON path: ``hardware.count``, ``items[3].model``."""
    parts = [str(part) if not isinstance(part, int) else f"[{part}]" for part in location]
    return ".".join(parts).replace(".[", "[")


def add_handlers(app: FastAPI) -> None:
    """Makes the app answer every error with a problem document."""

    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> JSONResponse:
        return render(request, problem)

    async def describe() -> None:
        # The first time it takes half a second, for which other requests must not stand still.
        if app.openapi_schema is None:
            await run_in_threadpool(app.openapi)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        await describe()
        return render(request, _from_validation(request, error))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        problem = _from_http(error)
        if problem.status == http.HTTPStatus.METHOD_NOT_ALLOWED:
            await describe()
            if methods := _methods(request):
                problem.headers = {"allow": ", ".join(methods)}
        return render(request, problem)

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> JSONResponse:
        problem = Problem("Something went wrong on the server; the log says more under this request's id.")
        return render(request, problem)


def render(request: Request, problem: Problem) -> JSONResponse:
    """The answer that a problem is: its document, status and headers."""
    request_id = getattr(request.state, "request_id", None)
    headers = problem.headers | ({"x-request-id": request_id} if request_id else {})
    return JSONResponse(
        problem.document(request_id), status_code=problem.status, headers=headers, media_type=MEDIA_TYPE
    )


def _methods(request: Request) -> list[str]:
    """All methods that the API has at a path; none for a path that is not the API's.

    Each operation is a route of its own, and the first of them would name its own method alone (RFC 9110, section
    15.5.6: all are to be named).
    """
    described: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    path = request.url.path
    # A path that is described as it stands is also a name that a template would take.
    matching = (
        [described[path]]
        if path in described
        else [methods for template, methods in described.items() if compile_path(template)[0].match(path)]
    )
    found = {method.upper() for methods in matching for method in methods}
    return sorted(found | {"HEAD"} if "GET" in found else found)


def _from_http(error: HTTPException) -> Problem:
    """Starlette's and FastAPI's own errors: unknown path, wrong method, body too large."""
    phrase = http.HTTPStatus(error.status_code).phrase
    named = next((kind for kind in Problem.__subclasses__() if kind.status == error.status_code), None)
    about = {"status": error.status_code, "slug": phrase.lower().replace(" ", "-"), "title": phrase}
    kind: type[Problem] = named or type("HttpProblem", (Problem,), about)
    return kind(error.detail if error.detail != phrase else f"{phrase}.", headers=error.headers)


def _from_validation(request: Request, error: RequestValidationError) -> Problem:
    faults = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        reason = faults[0].get("ctx", {}).get("error", "syntax error")
        return BadRequest(f"The body is not valid JSON: {reason} (character {faults[0]['loc'][-1]}).")
    errors = [
        FieldError(field=_request_path(fault["loc"]), message=fault["msg"], hint=_hint(request, fault))
        for fault in faults
    ]
    first = f"{errors[0].field}: {errors[0].message}" if errors[0].field else errors[0].message
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Unprocessable(f"{first}{more}", errors)


def _request_path(location: Sequence[str | int]) -> str:
    """Paths start inside the body; parameters say where they were."""
    place, *rest = location
    return field_path(rest) if place == "body" else field_path(location)


def _hint(request: Request, fault: Mapping[str, Any]) -> str | None:
    kind, name = fault["type"], str(fault["loc"][-1])
    if says := fault.get("ctx", {}).get("hint"):
        return str(says)
    if kind == "missing":
        return f"{name} is required"
    if kind == "float_type":
        return "give a JSON number, such as 12 or 300e9, without quotes"
    if kind == "bool_type":
        return "give true or false, without quotes"
    if kind.startswith("date_"):
        return "give year, month and day as text, such as 2026-08-01"
    if kind == "int_type":
        return "give a whole JSON number, such as 12, without quotes"
    if kind == "model_attributes_type" and len(fault["loc"]) == 1:
        return "send a JSON object with the header content-type: application/json"
    if kind == "extra_forbidden":
        meant = _meant(request, fault["loc"])
        return f"did you mean {meant!r}?" if meant else "this field is unknown here; /docs lists those that are"
    return None


def _meant(request: Request, location: Sequence[str | int]) -> str | None:
    """The field that an unknown one most likely means: of the same object, else of another one of the body."""
    described = request.app.openapi()
    schemas: dict[str, Any] = described.get("components", {}).get("schemas", {})
    call = described["paths"].get(getattr(request.scope.get("route"), "path_format", ""), {})
    content = call.get(request.method.lower(), {}).get("requestBody", {}).get("content", {})
    body = _alternatives(content.get("application/json", {}).get("schema", {}), schemas)
    here = body
    for part in location[1:-1]:
        here = _inside(here, part, schemas)
    if close := difflib.get_close_matches(str(location[-1]), _properties(here), n=1):
        return close[0]
    sections = {name: _properties(_inside(body, name, schemas)) for name in _properties(body)}
    elsewhere = [f"{section}.{name}" for section, names in sections.items() for name in names]
    found = closest_field(str(location[-1]), elsewhere)
    return found if found in elsewhere else None


def _alternatives(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a part of the API's description allows, its references followed."""
    if "$ref" in schema:
        return _alternatives(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    options = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    return [found for option in options for found in _alternatives(option, schemas)] if options else [schema]


def _inside(
    objects: Iterable[Mapping[str, Any]], part: str | int, schemas: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """What these objects say of one of their fields, or these lists of their items."""
    inner = (one.get("items" if isinstance(part, int) else "properties", {}) for one in objects)
    fields = (found if isinstance(part, int) else found.get(part, {}) for found in inner)
    return [found for field in fields for found in _alternatives(field, schemas)]


def _properties(objects: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({name for one in objects for name in one.get("properties", {})})
