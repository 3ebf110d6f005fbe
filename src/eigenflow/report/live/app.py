"""The server's routes: the page, what it is made of, its events, and the state for programs. Nothing can be written."""

import gzip
from functools import cache
from typing import Any

import jinja2
import plotly
from plotly.offline import get_plotlyjs
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from eigenflow.report.live.board import Board
from eigenflow.report.live.guard import Access, Guard
from eigenflow.report.live.stream import BEATS_S, EventStream

__all__ = ["make_app"]

# What does not change while the server runs; the page asks for it with its version.
KEPT = {"cache-control": "private, max-age=86400"}
NOT_KEPT = {"cache-control": "no-store"}


def make_app(board: Board, access: Access, *, beats_s: float = BEATS_S) -> Guard:
    """Make the ASGI app.

    Args:
        board: What viewers see.
        access: Who may look.
        beats_s: Seconds between signs of life.
    """
    pages = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader("eigenflow.report.live", "templates"),
                jinja2.PackageLoader("eigenflow.report", "templates"),
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = pages.get_template("live.html.j2").render(plotly_version=plotly.__version__)
    # Style and script have no values in them; in CSS and JavaScript HTML's escapes would do harm.
    style = pages.get_template("live.css").render()
    assert pages.loader is not None
    script, _, _ = pages.loader.get_source(pages, "live.js")

    async def show_page(request: Request) -> Response:
        return Response(page, media_type="text/html", headers=NOT_KEPT)

    async def show_style(request: Request) -> Response:
        return Response(style, media_type="text/css", headers=NOT_KEPT)

    async def show_script(request: Request) -> Response:
        return Response(script, media_type="text/javascript", headers=NOT_KEPT)

    async def show_plotly(request: Request) -> Response:
        takes = "gzip" in request.headers.get("accept-encoding", "")
        headers = {**KEPT, "vary": "accept-encoding"} | ({"content-encoding": "gzip"} if takes else {})
        return Response(_plotly(packed=takes), media_type="text/javascript", headers=headers)

    async def show_state(request: Request) -> Response:
        return JSONResponse(board.state, headers=NOT_KEPT)

    events = EventStream(board, beats_s)
    routes = [
        Route("/", show_page),
        Route("/live.css", show_style),
        Route("/live.js", show_script),
        Route("/plotly.js", show_plotly),
        Route("/state.json", show_state),
        Route("/events", events, methods=["GET", "HEAD"]),
    ]
    app: Any = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return Guard(app, access)


@cache
def _plotly(*, packed: bool) -> bytes:
    script = get_plotlyjs().encode()
    return gzip.compress(script, 6, mtime=0) if packed else script
