"""The studio's server: one API for the page, for `likeness.studio.Client` and for curl.

It holds no model and paints nothing: it checks what is asked, keeps it, and shows what the workers make.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

import likeness
from likeness.errors import ImageError, InputError, LikenessError, ServiceError
from likeness.studio.desk import Desk
from likeness.studio.handlers import doctor, live
from likeness.studio.jobs import Conflict
from likeness.studio.library import Library, NoConsent, safe_file
from likeness.studio.methods import adapters_of, methods
from likeness.studio.routes_people import body_of
from likeness.studio.store import JobStore

if TYPE_CHECKING:
    from likeness.studio.databases import Database

__all__ = ["FRONT", "Problem", "Studio", "studio_app"]

FRONT = Path(__file__).with_name("front")
COOKIE = "likeness-token"
JSON_BYTES = 2**20
STREAMS = ("/pictures", "/frame")
"""Routes that count the bytes of their bodies themselves."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; media-src 'self' blob:; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
DESCRIPTION = """
Everything the studio's pages do. Times are seconds since 1970; ids are made by the server.

A job is submitted once for its `Idempotency-Key`, and ends once, whatever is killed meanwhile: `done`,
`failed` or `cancelled`. Where the server asks for a token, send it as `Authorization: Bearer TOKEN`.
"""


class Problem(BaseModel):
    """Every answer that is no success: one sentence, what is wrong and what to do."""

    error: str


@dataclass
class Studio:
    """What the routes share. token: asked of everybody, where there is one. hosts: names that the server
    answers to, so that no other site's page reaches it through a name of its own; None where a token guards
    it."""

    database: Database
    folder: Path
    base: str = "mini"
    device: str | None = None
    token: str | None = None
    hosts: tuple[str, ...] | None = ("127.0.0.1", "localhost", "[::1]")
    store: JobStore = field(init=False)
    library: Library = field(init=False)
    desk: Desk = field(init=False)

    def __post_init__(self) -> None:
        self.store = JobStore(self.database)
        self.library = Library(self.database, self.folder)
        self.desk = Desk(doctor, {"base": self.base})
        self._live: dict[str, Desk] = {}

    def live(self, method: str) -> Desk:
        """The process that edits frames, of one method at a time; with the base's own, or the newest."""
        if method not in self._live:
            known = {one["name"]: one for one in methods(self.library, self.base)}
            if method not in known:
                raise InputError(f"There is no method {method}.")
            own, placed = known[method]["own_adapter"], list(adapters_of(self.library, method).values())
            settings = {
                "base": self.base,
                "device": self.device,
                "method": method,
                "adapter": None if own or not placed else str(placed[-1]),
            }
            for one in self._live.values():
                one.close()
            self._live = {method: Desk(live, settings, quiet_s=60)}
        return self._live[method]

    def close(self) -> None:
        """End the processes that the server asks, and let go of the database."""
        for one in (self.desk, *self._live.values()):
            one.close()
        self.database.close()


def studio_app(studio: Studio) -> FastAPI:
    """The server of a studio."""
    from likeness.studio import routes_jobs, routes_pages, routes_people

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        studio.close()

    problems: dict[int | str, dict[str, Any]] = {
        code: {"model": Problem, "description": words}
        for code, words in (
            (400, "What was sent is not JSON."),
            (401, "A token is needed."),
            (403, "Not allowed."),
            (404, "There is no such thing."),
            (409, "It does not go with the state things are in."),
            (413, "Too large."),
            (415, "This is no picture."),
            (422, "Something in the request is wrong."),
            (503, "A process or server behind this one does not answer."),
        )
    }
    app = FastAPI(
        title="Likeness studio",
        version=likeness.__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=life,
        responses=problems,
    )
    app.state.studio = studio
    _errors(app)
    app.middleware("http")(_guard(studio))
    for routes in (routes_jobs, routes_people, routes_pages):
        app.include_router(routes.router(studio), prefix="/api")
    _front(app, studio)
    return app


def _guard(
    studio: Studio,
) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    """Who may ask what, before anything else looks at a request; and the headers of every answer."""

    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        refused = _refused(studio, request)
        if refused is not None:
            await body_of(request, JSON_BYTES)  # who is still sending would not hear the answer
        reply = refused if refused is not None else await go_on(request)
        for name, value in HEADERS.items():
            reply.headers.setdefault(name, value)
        if not request.url.path.startswith("/assets/"):
            reply.headers.setdefault("Cache-Control", "no-store")
        return reply

    return guard


def _refused(studio: Studio, request: Request) -> Response | None:
    host = request.headers.get("host", "")
    name = host.rsplit(":", 1)[0] if host.rsplit(":", 1)[-1].isdigit() else host
    if studio.hosts is not None and name not in studio.hosts:
        return _problem(403, "The studio does not answer to this name; open it as 127.0.0.1 or localhost.")
    origin = request.headers.get("origin")
    if origin is not None and origin.split("://", 1)[-1] != host:
        return _problem(403, "Pages of other sites may not ask this server.")
    if request.headers.get("sec-fetch-site", "none") == "cross-site" and request.url.path.startswith("/api"):
        return _problem(403, "Pages of other sites may not ask this server.")
    too_much = _too_much(request)
    if studio.token is None or too_much is not None:
        return too_much
    given = request.query_params.get("token") if request.method == "GET" and request.url.path == "/" else None
    if given is not None and _same(given, studio.token):
        reply = RedirectResponse("/", status_code=303)
        reply.set_cookie(COOKIE, studio.token, httponly=True, samesite="strict", path="/")
        return reply
    kind, _, sent = request.headers.get("authorization", "").partition(" ")
    held = sent if kind.lower() == "bearer" else request.cookies.get(COOKIE, "")
    if _same(held, studio.token):
        return None
    return _problem(401, "The studio asks for its token: open the address that it printed when it started.")


def _too_much(request: Request) -> Response | None:
    """A body that is no picture is small, and says how long it is."""
    if request.method in ("GET", "HEAD", "OPTIONS") or request.url.path.endswith(STREAMS):
        return None
    length = request.headers.get("content-length", "0")
    if "transfer-encoding" in request.headers or not length.isdecimal() or int(length) > JSON_BYTES:
        return _problem(413, "This may have 1 MiB at most, and has to say how long it is.")
    return None


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _problem(code: int, words: str) -> JSONResponse:
    return JSONResponse({"error": words}, status_code=code)


def _errors(app: FastAPI) -> None:
    """Errors on purpose become one sentence and a code; bugs one without a traceback."""

    @app.exception_handler(LikenessError)
    async def known(request: Request, error: LikenessError) -> JSONResponse:
        codes: tuple[tuple[type[LikenessError], int], ...] = (
            (NoConsent, 403), (Conflict, 409), (ImageError, 415), (InputError, 422), (ServiceError, 503),
        )  # fmt: skip
        return _problem(next((code for kind, code in codes if isinstance(error, kind)), 503), str(error))

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        return _problem(error.status_code, f"{error.detail}.".replace("..", "."))

    @app.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        code = 400 if first["type"] == "json_invalid" else 422
        return _problem(code, f"{where or 'The request'}: {first['msg']}.")


def _front(app: FastAPI, studio: Studio) -> None:
    """The built page. Every path that is none of the API's is the page's own."""

    @app.get("/assets/{name}", include_in_schema=False, response_model=None)
    def asset(name: str) -> Response:
        file = safe_file(FRONT / "assets", name)
        if file is None:
            return _problem(404, "There is no such file.")
        return FileResponse(file, headers={"Cache-Control": "public, max-age=31536000, immutable"})

    @app.get("/{path:path}", include_in_schema=False, response_model=None)
    def page(path: str) -> Response:
        if path.startswith("api/"):
            return _problem(404, "There is no such address; see /api/openapi.json.")
        return FileResponse(FRONT / "index.html", media_type="text/html")
