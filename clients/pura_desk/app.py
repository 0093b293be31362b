"""The application: the page, the API under /v1, and its description, without anything from elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.responses import Response

from pura.ids import GateKind
from pura_desk import problems, routes
from pura_desk.config import Listening
from pura_desk.guard import MOST_BYTES, App, Guard
from pura_desk.imports import Imports
from pura_desk.line import Line
from pura_desk.tokens import Tokens
from pura_desk.watches import Keeper, Watches

PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/api": ("api.html", "text/html; charset=utf-8"),
    "/page/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page/api.js": ("api.js", "text/javascript; charset=utf-8"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
    **{
        f"/page/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("desk", "calls", "picture", "people", "folder", "strip", "live")
    },
}
_ABOUT = (
    "Faces are embedded and encrypted on this machine. Answers are decisions; there are no scores. "
    "Errors are problem details (RFC 9457) with stable codes."
)


def create_app(
    line: Line, tokens: Tokens, listening: Listening, gate: GateKind = GateKind.NONE, keeper: Keeper | None = None
) -> App:
    """The desk, guarded. `gate`: before its cameras; `keeper`: makes one, with the network of the extra unless told."""
    # photos stay in memory: a larger one would otherwise go through a temporary file
    MultiPartParser.spool_max_size = MOST_BYTES + 1
    imports, watches = Imports(line), Watches(line, gate, keeper)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        watches.close()
        imports.close()
        line.close()

    app = FastAPI(
        title="Pura desk", version=_version(), description=_ABOUT, docs_url=None, redoc_url=None, lifespan=life
    )
    problems.install(app)
    app.include_router(routes.api(line, imports, watches))
    _pages(app)
    return Guard(app, listening.hosts(), listening.scheme, tokens)


def _pages(app: FastAPI) -> None:
    folder = resources.files("pura_desk") / "page"
    for address, (name, kind) in PAGE.items():
        body = (folder / name).read_bytes()

        async def page(body: bytes = body, kind: str = kind) -> Response:
            return Response(body, media_type=kind)

        app.add_api_route(address, page, include_in_schema=False)

    async def meaning(code: str) -> Response:
        said = problems.meaning(code)
        if said is None:
            raise HTTPException(404)
        return Response(f"{code}: {said}\n", media_type="text/plain; charset=utf-8")

    app.add_api_route("/problems/{code}", meaning, include_in_schema=False)


def _version() -> str:
    try:
        return version("pura-match")
    except PackageNotFoundError:
        return "unknown"
