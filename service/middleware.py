"""What happens around every request: its id, its body's limit, its place in the metrics and the log."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.logs import RequestInLog, current_request, trace_of
from service.metrics import Metrics

logger = logging.getLogger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds, and not worth a line each."""
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
"""What browsers are told with every answer (OWASP Secure Headers Project); TLS, and so HSTS, is the proxy's."""


class RequestContext:
    """Gives each request an id (the caller's ``X-Request-Id`` if it is sane), counts, times and logs it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = MutableHeaders(scope=message)
                answered["x-request-id"] = request_id
                for name, value in HEADERS.items():
                    answered.setdefault(name, value)
            await send(message)

        token = current_request.set(RequestInLog(request_id, trace_of(headers.get("traceparent", ""))))
        try:
            with self.metrics.in_flight.track_inprogress():
                await self.app(scope, receive, send_with_id)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            raise
        finally:
            self._note(scope, status, time.perf_counter() - started)
            current_request.reset(token)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's template, not the path: one time series a route, whatever the ids in it.
        route = getattr(scope.get("route"), "path", "unknown")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.requests.labels(method, route, str(status)).inc()
        self.metrics.seconds.labels(method, route).observe(seconds)
        caller = scope["state"].get("caller")
        logger.log(
            logging.DEBUG if scope["path"] in PROBES else logging.INFO,
            "%s %s %d",
            method,
            scope["path"],
            status,
            extra={
                "method": method,
                "route": route,
                "status": status,
                "seconds": round(seconds, 6),
                "key_id": caller.key_id if caller else None,
                "address": scope["client"][0] if scope.get("client") else None,
            },
        )


@dataclass(frozen=True)
class Allowance:
    """What a body may be: its largest size in bytes, and how long it may take to arrive, seconds."""

    size_bytes: int
    seconds: float


class BodyLimit:
    """Refuses bodies over a limit with 413, whether or not they say their length, slow ones with 408, and compressed
    ones with 415, for a small one may hold any number of bytes.

    ``streamed`` names the media types that a path reads row by row: bodies of those have limits of their own. No body
    may stand still for longer than ``stall_seconds``.
    """

    def __init__(
        self,
        app: ASGIApp,
        whole: Allowance,
        stream: Allowance,
        stall_seconds: float,
        streamed: Mapping[str, frozenset[str]],
    ) -> None:
        self.app = app
        self.whole = whole
        self.stream = stream
        self.stall_seconds = stall_seconds
        self.streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        allowed = self.stream if self._is_streamed(scope) else self.whole
        received = 0
        ended = False
        headers = Headers(scope=scope)
        announced, coding = headers.get("content-length", "0"), headers.get("content-encoding", "identity")
        deadline = time.monotonic() + allowed.seconds

        async def limited_receive() -> Message:
            nonlocal received, ended
            if ended:
                # What is waited for now is the client going away, which may take as long as the answer does.
                return await receive()
            if coding.lower() != "identity":
                raise HTTPException(
                    415,
                    f"A body in Content-Encoding {coding!r} is not read here: send it uncompressed.",
                    # What would have been read, RFC 9110, section 15.5.16.
                    headers={"accept-encoding": "identity"},
                )
            if announced.isdigit() and int(announced) > allowed.size_bytes:
                raise self._too_large(allowed)
            message = await self._received(receive, deadline)
            received += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if received > allowed.size_bytes:
                raise self._too_large(allowed)
            return message

        await self.app(scope, limited_receive, send)

    async def _received(self, receive: Receive, deadline: float) -> Message:
        left = deadline - time.monotonic()
        try:
            async with asyncio.timeout(min(left, self.stall_seconds)):
                return await receive()
        except TimeoutError:
            # FastAPI passes this exception of its own on while it reads a body; any other becomes a 400.
            raise HTTPException(
                408, "The body did not arrive in time; send it faster, or in parts.", headers={"connection": "close"}
            ) from None

    def _is_streamed(self, scope: Scope) -> bool:
        content_type = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
        return content_type in self.streamed.get(scope["path"], ())

    @staticmethod
    def _too_large(allowed: Allowance) -> HTTPException:
        megabytes = allowed.size_bytes / 1e6
        return HTTPException(413, f"The body is larger than {megabytes:g} MB; send many rows as application/x-ndjson.")
