"""`traincast mcp`."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.words import Key, fail


def mcp(
    url: Annotated[
        str | None,
        typer.Option(
            help="Where the service is; without it, answers come from the database of the settings.",
            envvar="TRAINCAST_URL",
            show_envvar=True,
        ),
    ] = None,
    key: Key = None,
) -> None:
    """Serve the operations as tools of an agent (Model Context Protocol) over standard input and output.

    Needs the extra `mcp`. A service offers the same at `/mcp` if TRAINCAST_MCP is true. Submitting takes a key.

    Examples:

    - `traincast mcp --url http://localhost:8000 --key KEY`
    - `traincast mcp`
    """
    import asyncio

    try:
        from service.agents import serving
    except ImportError as error:
        fail(f"traincast mcp needs the extra mcp: pip install 'traincast[mcp]' ({error})")

    async def run() -> None:
        if url is not None:
            await serving.serve_stdio(serving.at(url, key))
            return
        from service.app import create_app

        app = create_app()
        async with app.router.lifespan_context(app):
            await serving.serve_stdio(serving.within(app, key))

    asyncio.run(run())
