"""How the tools are reached: mounted at `/mcp` of the service, or over standard input and output."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version

import httpx
from fastapi import FastAPI
from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings

from service.agents.tools import Service, toolbox
from service.client import AsyncTraincast

PATH = "/mcp"
HERE = "http://traincast"
"""Base address of calls that an application makes of itself; nothing is resolved."""


def mount(app: FastAPI) -> AbstractAsyncContextManager[None]:
    """Serves the tools at `/mcp` of the application, by streamable HTTP without sessions, so that any replica answers.

    Returns:
        What must be entered while the application runs.
    """
    server = toolbox(within(app), version("traincast"))
    served = server.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        # As open as the rest of the API, which no check of host names guards either: pages of other origins cannot send
        # JSON without asking first, and are not allowed to.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    app.router.routes.extend(served.routes)
    running: AbstractAsyncContextManager[None] = server.session_manager.run()
    return running


def within(app: FastAPI, key: str | None = None) -> Service:
    """Reaches the application's own API, without a network.

    Args:
        app: The application.
        key: API key of all calls; that of each call's own request if None.
    """

    @asynccontextmanager
    async def reached(context: Context) -> AsyncIterator[AsyncTraincast]:
        request = context.request_context.request
        client = request.client if request is not None else None
        given = (context.headers or {}).get("authorization", "")
        transport = httpx.ASGITransport(app, client=tuple(client) if client else ("127.0.0.1", 0))
        own = key or given.partition(" ")[2] or None
        async with AsyncTraincast(HERE, key=own, transport=transport) as service:
            yield service

    return reached


def at(url: str, key: str | None) -> Service:
    """Reaches a service elsewhere.

    Args:
        url: Where it is.
        key: API key of all calls.
    """

    @asynccontextmanager
    async def reached(context: Context) -> AsyncIterator[AsyncTraincast]:
        async with AsyncTraincast(url, key=key) as service:
            yield service

    return reached


async def serve_stdio(service: Service) -> None:
    """Serves the tools over standard input and output until the input ends."""
    await toolbox(service, version("traincast")).run_stdio_async()
