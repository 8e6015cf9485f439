"""What the service says of itself: a line a happening, JSON for machines or plain for a terminal, with its request."""

import logging
import re
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from service.settings import Settings

PARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
"""A ``traceparent`` header (W3C Trace Context, section 3.2)."""
NOT_ADDED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""What every record holds, and uvicorn's messages once more with colours."""


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


class JsonLines(logging.Formatter):
    """A line of JSON: level, logger, message, the request that is being answered, time, and what the line adds."""

    def format(self, record: logging.LogRecord) -> str:
        request = current_request.get()
        line = {
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request.request_id if request else None,
            "trace_id": request.trace_id if request else None,
            "time": datetime.fromtimestamp(record.created, UTC),
        }
        line |= {name: value for name, value in vars(record).items() if name not in NOT_ADDED}
        if record.exc_info:
            line["exc_info"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack_info"] = record.stack_info
        return orjson.dumps(line, default=str).decode()


def logging_config(settings: Settings) -> dict[str, Any]:
    """What ``logging.config.dictConfig`` takes, uvicorn's own loggers included."""
    chosen = settings.log_format
    if chosen == "auto":
        chosen = "text" if sys.stderr.isatty() else "json"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": JsonLines},
            "text": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": chosen},
        },
        "root": {"level": settings.log_level.upper(), "handlers": ["stderr"]},
        "loggers": {
            "uvicorn": {"level": settings.log_level.upper()},
            "alembic": {"level": "WARNING"},  # tells of each start that found nothing to do
        },
    }
