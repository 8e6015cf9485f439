"""What the machine under the service can do to it, as problems that say whether to try again: no database, no disk."""

import errno
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.requests import ClientDisconnect

from service.problems import BadRequest, InsufficientStorage, NotReady, Problem, render

RETRY_AFTER_SECONDS = 2
"""When a caller should try again: a database restart takes a few seconds, a lock less."""
DISK_FULL_SQLSTATES = frozenset({"53100"})
"""PostgreSQL, appendix A: disk_full."""
UNAVAILABLE_SQLSTATES = ("08", "53", "57P", "40", "55P")
"""PostgreSQL, appendix A: connection exceptions, insufficient resources, operator intervention (shut-down, starting
up), roll-backs of transactions that another one stood in the way of, objects not available."""
DISK_FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT})
UNAVAILABLE_WORDS = ("database is locked", "unable to open database", "disk i/o error", "connection", "closed")


def problem_of(error: Exception) -> Problem | None:
    """The problem that a failure of database or disk is to the caller; None if it is a bug."""
    if _is_disk_full(error):
        return InsufficientStorage(
            "The service's disk is full: nothing of this request was stored. Its operator must make room; a retry "
            "with the same Idempotency-Key is safe."
        )
    if _is_unavailable(error):
        return NotReady(
            "The database does not answer: nothing was acknowledged. Try again; a retry with the same Idempotency-Key "
            "is safe.",
            headers={"retry-after": str(RETRY_AFTER_SECONDS)},
        )
    return None


def add_failure_handlers(app: FastAPI) -> None:
    """Makes the app answer failures of database and disk with 503 and 507 instead of 500, who hangs up with 400."""

    async def on_failure(request: Request, error: Exception) -> JSONResponse:
        problem = problem_of(error)
        if problem is None:
            raise error
        return render(request, problem)

    async def on_hanging_up(request: Request, error: Exception) -> JSONResponse:
        return render(request, BadRequest("The connection ended before the body did."))

    for kind in (SQLAlchemyError, OSError):
        app.add_exception_handler(kind, on_failure)
    app.add_exception_handler(ClientDisconnect, on_hanging_up)


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in DISK_FULL_ERRORS
    if not isinstance(error, DBAPIError):
        return False
    driver: Any = error.orig
    return getattr(driver, "sqlstate", None) in DISK_FULL_SQLSTATES or "database or disk is full" in str(driver)


def _is_unavailable(error: Exception) -> bool:
    if isinstance(error, PoolTimeout | ConnectionError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    driver: Any = error.orig
    state = getattr(driver, "sqlstate", None)
    if error.connection_invalidated or (state is not None and state.startswith(UNAVAILABLE_SQLSTATES)):
        return True
    # Drivers give no state for a server that cannot be reached, nor SQLite for a file that cannot.
    said = str(driver).lower()
    return isinstance(error, OperationalError | InterfaceError) and any(word in said for word in UNAVAILABLE_WORDS)
