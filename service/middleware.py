"""What happens around every request: its id, its body's limit, its place in the metrics and the log."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from anyio import CancelScope
from anyio.lowlevel import checkpoint
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
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
}
"""What browsers are told with every answer (OWASP Secure Headers Project); TLS, and so HSTS, is the proxy's."""


def header(scope: Scope, name: bytes) -> str:
    """A header of the request, the first of that name; empty if it has none. Servers give names in lower case."""
    return next((value for given, value in scope["headers"] if given == name), b"").decode("latin-1")


def _answered_with(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """The headers of an answer with its id, and with those of `HEADERS` that it does not set itself."""
    own = [(name, value) for name, value in headers if name != b"x-request-id"]
    names = {name for name, _ in own}
    more = [(name, value) for name, value in HEADERS.items() if name not in names]
    return [*own, *more, (b"x-request-id", request_id.encode())]


class RequestContext:
    """Gives each request an id (the caller's ``X-Request-Id`` if it is sane), counts, times and logs it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = header(scope, b"x-request-id")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _answered_with(message.get("headers", ()), request_id)
            await send(message)

        token = current_request.set(RequestInLog(request_id, trace_of(header(scope, b"traceparent"))))
        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            raise
        finally:
            self.metrics.in_flight.dec()
            self._note(scope, status, time.perf_counter() - started)
            current_request.reset(token)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's template, not the path: one time series a route, whatever the ids in it.
        route = getattr(scope.get("route"), "path", "unknown")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.answered(method, route, status, seconds)
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


class HeadAsGet:
    """Answers HEAD as GET would be, without the body (RFC 9110, section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        # Another scope: by the method in its own, the server knows that no body follows.
        asked = {**scope, "method": "GET"}

        async def send_head(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
                return
            await send({"type": "http.response.body", "body": b""})
            if message.get("more_body", False):
                # Nobody waits for the rest of an export.
                rest.cancel()
                await checkpoint()

        try:
            with CancelScope() as rest:
                await self.app(asked, receive, send_head)
        finally:
            if "route" in asked:
                scope["route"] = asked["route"]


@dataclass(frozen=True)
class BodyAllowance:
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
        whole: BodyAllowance,
        stream: BodyAllowance,
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
        announced = header(scope, b"content-length")
        if not announced and not header(scope, b"transfer-encoding"):
            # Nothing follows the head (RFC 9112, section 6.3), as of most that only read.
            await self.app(scope, receive, send)
            return
        allowed = self.stream if self._is_streamed(scope) else self.whole
        received = 0
        ended = False
        coding = header(scope, b"content-encoding") or "identity"
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
        content_type = header(scope, b"content-type").partition(";")[0].strip().lower()
        return content_type in self.streamed.get(scope["path"], ())

    @staticmethod
    def _too_large(allowed: BodyAllowance) -> HTTPException:
        megabytes = allowed.size_bytes / 1e6
        return HTTPException(413, f"The body is larger than {megabytes:g} MB; send many rows as application/x-ndjson.")
