"""The pages and what they load, served with a policy under which nothing but the service's own scripts runs in them."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from service.web.pages import PAGES, render

ASSETS = Path(__file__).parent / "assets"
CHART_LIBRARY = ("plotly", "package_data")
"""The package whose plotly.js (MIT licence) draws the charts, and the folder that holds it: no internet is needed."""

HEADERS = {
    # What plotly.js draws goes through the CSSOM, so that styles need no exception. The maps in it, which no page
    # draws, try to add a style sheet when it is loaded: browsers refuse that, and say so in the console.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",
}
REVALIDATED = {"cache-control": "no-cache"}
"""Kept by browsers, and asked for again with its ETag: after an upgrade no page runs a script of the one before."""


class Assets(StaticFiles):
    """Scripts, styles and the chart library, each with an ETag."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or 304 where the browser has it."""
        response = await super().get_response(path, scope)
        response.headers.update(REVALIDATED)
        return response


def add_pages(app: FastAPI) -> None:
    """Serves the pages and their assets."""

    def page(body: str) -> Callable[[], Awaitable[Response]]:
        # A worker thread would cost more than sending what is in memory.
        async def show() -> Response:
            return HTMLResponse(body, headers=HEADERS | REVALIDATED)

        return show

    for shown in PAGES:
        app.add_api_route(shown.path, page(render(shown)), include_in_schema=False)
    app.mount("/assets", Assets(directory=ASSETS, packages=[CHART_LIBRARY]), name="assets")
