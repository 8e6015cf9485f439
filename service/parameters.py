"""Parameters that no operation takes: those that it does not have, for a typo must not silently change an answer, and
text with NUL characters, which PostgreSQL could not look for."""

from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute

from service.problems import FieldError, NotFound, Unprocessable
from service.suggestions import closest_field

_declared: dict[Callable[..., Any], frozenset[str] | None] = {}
"""The parameters of each endpoint that was asked something, so that they are gathered once."""


async def only_declared(request: Request) -> None:
    """Lets pass what asks for no more than the operation declares; a dependency of all of them.

    Raises:
        NotFound: The path has a NUL character, which no name has.
        Unprocessable: A query parameter is unknown here, or its value has a NUL character.
    """
    if "\0" in request.scope["path"]:
        raise NotFound("There is nothing of this name: it has a NUL character.")
    if not request.scope["query_string"]:
        return
    nul = [name for name, value in request.query_params.multi_items() if "\0" in value]
    if nul and request.scope["route"].include_in_schema:
        message = "contains a NUL character"
        raise Unprocessable(f"{nul[0]}: {message}", [FieldError(field=name, message=message) for name in nul])
    endpoint = request.scope["endpoint"]
    if endpoint not in _declared:
        _declared[endpoint] = _parameters(request.scope["route"])
    known = _declared[endpoint]
    if known is None or known.issuperset(request.query_params):
        return
    there_are = f"known here: {', '.join(sorted(known))}" if known else "there are none here"
    errors = []
    for name in dict.fromkeys(request.query_params):
        if name not in known:
            meant = closest_field(name, sorted(known))
            hint = f"did you mean {meant!r}? {there_are}" if meant in known else there_are
            errors.append(FieldError(field=name, message=f"{name!r} is no query parameter of this call", hint=hint))
    raise Unprocessable(f"{errors[0].field}: {errors[0].message}", errors)


def _parameters(route: APIRoute) -> frozenset[str] | None:
    """The names of an operation's query parameters; None where any will do, or where it sees to them itself.

    Pages hold their question in their address, which only their scripts read. Filters of lists are described apart
    from the function's own parameters, and whoever reads them refuses those that are none.
    """
    if not route.include_in_schema or "parameters" in (route.openapi_extra or {}):
        return None
    return frozenset(field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, Query))
