"""What happens around every request: its id, its body's limit, its place in the metrics and the log."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The service's Prometheus metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "traincast_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "traincast_request_seconds",
            "Seconds from a request's arrival to the end of its answer.",
            ("method", "route"),
            registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        )
        self.in_flight = Gauge("traincast_requests_in_flight", "Requests being answered.", registry=self.registry)
        self.calibration = Gauge(
            "traincast_calibration_info", "The calibration in use.", ("version",), registry=self.registry
        )


class RequestContext:
    """Gives each request an id (the caller's ``X-Request-Id`` if it is sane), counts and times it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        with self.metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, receive, send_with_id)
            except Exception:
                logger.error("request %s failed: %s %s", request_id, scope["method"], scope["path"])
                raise
            finally:
                # The route's template, not the path: one time series a route, whatever the ids in it.
                route = getattr(scope.get("route"), "path", "unknown")
                method = scope["method"] if scope["method"] in METHODS else "other"
                self.metrics.requests.labels(method, route, str(status)).inc()
                self.metrics.seconds.labels(method, route).observe(time.perf_counter() - started)


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
