"""Serves the rater's page on the loopback address, under a secret token, with the Host header checked."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_cli.errors import EveError, OutputError, UsageError
from eve_cli.evaluation.report.templates import render, resource
from eve_cli.rating.session import Conflict, RatingSession
from eve_cli.rating.study import MEDIA

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

ADDRESS = "127.0.0.1"
HOSTS = ("127.0.0.1", "localhost")
LARGEST_BODY = 16_384
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


def page() -> tuple[str, str]:
    """The page with its style and script inlined, and the Content-Security-Policy that allows these and our videos."""
    style, script = (resource("eve_cli.rating", f"page.{kind}") for kind in ("css", "js"))
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; media-src 'self'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return render("eve_cli.rating", "page.html", style=style, script=script), policy


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class AccessControl:
    """ASGI middleware: checks host, origin and token of each request and adds security headers to each response."""

    def __init__(self, app: ASGIApp, token: str, policy: str) -> None:
        self._app, self._token = app, token
        self._headers = [(k.encode(), v.encode()) for k, v in {**HEADERS, "content-security-policy": policy}.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        status = self._refusal(scope) if scope["type"] == "http" else 404
        if status:
            from starlette.responses import PlainTextResponse

            await PlainTextResponse("Not here.", status)(scope, receive, guarded)
        else:
            root = f"/{self._token}"
            await self._app({**scope, "path": scope["path"][len(root) :] or "/", "root_path": ""}, receive, guarded)

    def _refusal(self, scope: Scope) -> int:
        """The status of a refusal, or 0; a foreign Host header means DNS rebinding."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get(b"host", "").rpartition(":")[0] not in HOSTS:
            return 421
        origin = headers.get(b"origin")
        if origin is not None and origin != f"http://{headers[b'host']}":
            return 403
        first, slash, _ = scope["path"].removeprefix("/").partition("/")
        return 0 if slash and secrets.compare_digest(first.encode(), self._token.encode()) else 404


def application(folder: Path, token: str) -> ASGIApp:
    """The page, the rater's requests and the videos of a study, all under /token/."""
    html, policy = page()
    return AccessControl(_routes(RatingSession(folder), folder / MEDIA, html), token, policy)


def _routes(session: RatingSession, media: Path, html: str) -> Starlette:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
    from starlette.routing import Route

    def show(_: Request) -> Response:
        return HTMLResponse(html)

    def about(_: Request) -> Response:
        return JSONResponse(session.about())

    def video(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in session.plan.media or not (media / name).is_file():  # a name of the plan is never a path
            raise HTTPException(404)
        return FileResponse(media / name, media_type="video/mp4")

    def post(act: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            body = await _body(request)
            try:
                return JSONResponse(await run_in_threadpool(act, body))
            except Conflict as error:
                return JSONResponse({"error": str(error), "state": await run_in_threadpool(session.state, body)}, 409)
            except UsageError as error:
                return JSONResponse({"error": str(error)}, 422)
            except EveError as error:
                return JSONResponse({"error": str(error)}, 500)

        return endpoint

    async def _body(request: Request) -> dict[str, Any]:
        if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            raise HTTPException(415)
        content = b""
        async for part in request.stream():
            content += part
            if len(content) > LARGEST_BODY:
                raise HTTPException(413)
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise HTTPException(400)
        return value

    acts = {"start": session.start, "answer": session.answer, "broken": session.broken, "undo": session.undo}
    return Starlette(
        routes=[
            Route("/", show),
            Route("/about", about),
            Route("/" + MEDIA + "/{name}", video),
            *(Route(f"/{name}", post(act), methods=["POST"]) for name, act in acts.items()),
        ]
    )


class Server:
    """Serves a study on the loopback address; `url` is known before `run` and contains the token."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        try:
            import uvicorn
        except ModuleNotFoundError as error:
            raise UsageError("The rater's page needs starlette and uvicorn: pip install 'eve-cli[rate]'.") from error
        token = secrets.token_urlsafe(24)
        app = application(folder, token)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((ADDRESS, port))
            self._socket.listen(128)  # from here on requests are queued
        except OSError as error:
            self._socket.close()
            raise OutputError(f"Port {port} is in use; --port 0 chooses a free one.") from error
        self.url = f"http://{ADDRESS}:{self._socket.getsockname()[1]}/{token}/"
        quiet = {"access_log": False, "server_header": False, "date_header": False, "log_config": None}
        self._server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", proxy_headers=False, **quiet))

    def run(self) -> None:
        """Serves until stopped."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Stops `run`, from another thread."""
        self._server.should_exit = True
