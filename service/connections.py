"""HTTP/1.1 as uvicorn speaks it over httptools, with limits on a request's head, which it leaves to a proxy."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 64 * 1024
"""Bytes of a request's line and headers, beyond which no more is read than one read of the socket brings."""
HEAD_SECONDS = 30.0
"""How long they may take to arrive: from the connection on, and from its first byte on a connection that is kept."""


class GuardedProtocol(HttpToolsProtocol):
    """A connection that cannot fill the memory with headers, nor be held open by sending none."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._in_head = True
        self._head_bytes = 0
        self._too_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._head_bytes or not self._in_head or self.transport.is_closing():
            return
        if self._head_bytes > LARGEST_HEAD:
            self.send_400_response(f"The request's line and headers are larger than {LARGEST_HEAD} bytes.")
        elif self._too_late is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        self._wait_no_more()
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def _wait_for_head(self) -> None:
        self._too_late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None
