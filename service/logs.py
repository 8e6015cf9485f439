"""What the service says of itself: a line a happening, JSON for machines or plain for a terminal, with its request."""

import logging
import re
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from service.settings import Settings

PARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
"""A ``traceparent`` header (W3C Trace Context, section 3.2)."""


@dataclass(frozen=True, slots=True)
class RequestInLog:
    """What each line that is written for a request says of it."""

    request_id: str
    trace_id: str | None


current_request: ContextVar[RequestInLog | None] = ContextVar("current_request", default=None)
"""The request that is being answered, wherever in its answer a line is written."""


def trace_of(traceparent: str) -> str | None:
    """The trace that a ``traceparent`` header names; None if it is not one, or names none."""
    found = PARENT.fullmatch(traceparent)
    return found["trace"] if found and set(found["trace"]) != {"0"} else None


class RequestFilter(logging.Filter):
    """Adds the request that is being answered to a line."""

    def filter(self, record: logging.LogRecord) -> bool:
        request = current_request.get()
        record.request_id = request.request_id if request else None
        record.trace_id = request.trace_id if request else None
        return True


def logging_config(settings: Settings) -> dict[str, Any]:
    """What ``logging.config.dictConfig`` takes, uvicorn's own loggers included."""
    chosen = settings.log_format
    if chosen == "auto":
        chosen = "text" if sys.stderr.isatty() else "json"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request": {"()": RequestFilter}},
        "formatters": {
            "json": {
                "()": "pythonjsonlogger.orjson.OrjsonFormatter",
                "fmt": "%(levelname)s %(name)s %(message)s %(request_id)s %(trace_id)s",
                "rename_fields": {"levelname": "level", "name": "logger"},
                "timestamp": "time",
            },
            "text": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": chosen, "filters": ["request"]},
        },
        "root": {"level": settings.log_level.upper(), "handlers": ["stderr"]},
        "loggers": {
            "uvicorn": {"level": settings.log_level.upper()},
            "alembic": {"level": "WARNING"},  # tells of each start that found nothing to do
        },
    }
