"""Serve the page to this machine alone: who may ask, what is answered, what a change must be like."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datakit.dataset.companions import is_mask
from datakit.dataset.decisions import ChangedMeanwhileError
from datakit.dataset.manifest import NOT_JSON
from datakit.errors import DatakitError, SampleError, UsageError
from datakit.review.gallery import Files
from datakit.review.session import Change, Session
from datakit.review.tagging import Asked, answer
from datakit.review.thumbnails import PICTURE_SIDE, THUMBNAIL_SIDE
from datakit.trainers.training import Batching

PAGE = Path(__file__).parent / "page"
ADDRESS = "127.0.0.1"
# A caption and a box are far below it.
_MAX_BODY = 1 << 20
# Nothing from elsewhere, no inline script, no frame around it.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Server:
    """The page of one dataset on a free port of this machine; the socket is open from the start.

    Parameters
    ----------
    session
        The dataset and what may be done with it.
    port
        To listen on; 0 takes a free one.

    Raises
    ------
    UsageError
        The port is taken or not allowed.
    """

    def __init__(self, session: Session, port: int = 0) -> None:
        # With the protocol named, asyncio turns off the delay that joins small packets: 40 ms an answer.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((ADDRESS, port))
            self._socket.listen()
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise UsageError(f"port {port} cannot be used: {error}; leave out --port to take a free one") from error
        self.port = int(self._socket.getsockname()[1])
        token = secrets.token_urlsafe(24)
        self.address = f"http://{ADDRESS}:{self.port}/{token}/"
        app = _Guard(_routes(session, token), token, self.port)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="error",
                access_log=False,
                lifespan="off",
                ws="none",
                loop="asyncio",
                http="h11",
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )

    def run(self) -> None:
        """Answer until interrupted; an interrupt then is raised as KeyboardInterrupt."""
        with self._socket:
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._server.should_exit = True


class _Guard:
    """Refuses whoever does not know the token, another origin, and another name for this machine (DNS rebinding)."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {f"{name}:{port}" for name in (ADDRESS, "localhost")}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), value.encode()) for name, value in _HEADERS.items()),
                ]
            await send(message)

        await self._app(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get("host") not in self._hosts:
            return Response("this page has another address", 403)
        foreign = headers.get("origin", next(iter(self._origins))) not in self._origins
        if foreign or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return Response("a page from elsewhere may not ask", 403)
        token = scope["path"].split("/")[1] if "/" in scope["path"] else ""
        if not secrets.compare_digest(token.encode("utf-8", "replace"), self._token):
            return Response("not found", 404)
        if scope["method"] in ("PUT", "POST"):
            if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
                return _json({"error": "send application/json"}, 415)
            if (
                "transfer-encoding" in headers
                or not headers.get("content-length", "").isdecimal()
                or int(headers["content-length"]) > _MAX_BODY
            ):
                return _json({"error": f"too long: {_MAX_BODY} bytes at most"}, 413)
        return None


def _routes(session: Session, token: str) -> Starlette:
    """Return the application; every address lies below the token."""
    api = _Api(session)
    routes = [
        Route("/api/dataset", api.dataset),
        Route("/api/thumbnail/{key}", api.thumbnail),
        Route("/api/picture/{key}", api.picture),
        Route("/api/heat/{key}", api.heat),
        Route("/api/companion/{key}/{name}", api.companion),
        Route("/api/decision/{key}", api.decision, methods=["PUT"]),
        Route("/api/tokens", api.tokens, methods=["POST"]),
        Route("/api/apply", api.apply, methods=["POST"]),
        Route("/api/apply", api.applying),
        Route("/api/changes", api.changes),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    return Starlette(
        routes=[Route(f"/{token}", _to_page), Mount(f"/{token}", routes=routes)],
        exception_handlers={DatakitError: _unusable, OSError: _unusable, ClientDisconnect: _unheard},
    )


def _to_page(request: Request) -> Response:
    return RedirectResponse(f"{request.url.path}/")


async def _unusable(request: Request, error: Exception) -> Response:
    """Say what is wrong where a picture or the dataset cannot be read."""
    return _json({"error": str(error)}, 422)


async def _unheard(request: Request, error: Exception) -> Response:
    """Answer nobody: who asked is gone."""
    return Response(status_code=400)


class _Api:
    """One method an address; what takes time runs in a thread."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def dataset(self, request: Request) -> Response:
        batching = Batching(_number(request, "batch", 1), _number(request, "gpus", 1), _number(request, "accumulate", 1))
        return _json(await run_in_threadpool(self._session.dataset, batching, bool(_number(request, "samples", 1, 0))))

    async def thumbnail(self, request: Request) -> Response:
        path, _ = self._path(request)
        return await self._picture(request, path, THUMBNAIL_SIDE, lambda: self._session.thumbnails.thumbnail(path))

    async def picture(self, request: Request) -> Response:
        path, _ = self._path(request)
        return await self._picture(request, path, PICTURE_SIDE, lambda: self._session.thumbnails.small(path, PICTURE_SIDE))

    async def heat(self, request: Request) -> Response:
        files = self._files(request)
        path = _there(files.source or files.output)
        saliency = self._session.options.saliency
        return await self._picture(
            request, path, 0, lambda: self._session.thumbnails.heat(path, saliency), "image/png", f"heat-{saliency}"
        )

    async def companion(self, request: Request) -> Response:
        name = request.path_params["name"]
        picture, beside = self._session.gallery.companion(self._files(request), name) or (None, None)
        over, path = _there(picture), _there(beside)
        make = partial(self._session.thumbnails.companion, over, path, mask=is_mask(name))
        return await self._picture(request, path, PICTURE_SIDE, make, "image/png", f"over-{name}")

    async def decision(self, request: Request) -> Response:
        try:
            change = msgspec.json.decode(await request.body(), type=Change)
        except NOT_JSON as error:
            return _json({"error": f"no change: {error}"}, 422)
        try:
            return _json(await run_in_threadpool(self._session.change, request.path_params["key"], change))
        except ChangedMeanwhileError as error:
            return _json(self._session.state(error.current), 409)
        except SampleError as error:
            return _json({"error": str(error)}, 422)
        except OSError as error:  # a full disk, a lock that is held: the page keeps the change and tries again
            return _json({"error": f"the change is not saved yet: {error}"}, 503)

    async def tokens(self, request: Request) -> Response:
        try:
            asked = msgspec.json.decode(await request.body(), type=Asked)
        except NOT_JSON as error:
            return _json({"error": f"no captions: {error}"}, 422)
        return _json(await run_in_threadpool(answer, asked))

    async def apply(self, request: Request) -> Response:
        await run_in_threadpool(self._session.start_applying)
        return _json({"running": True}, 202)

    async def applying(self, request: Request) -> Response:
        return _json(self._session.applying)

    async def changes(self, request: Request) -> Response:
        return _json(await run_in_threadpool(self._session.changes, _number(request, "since", 0, 0)))

    def _files(self, request: Request) -> Files:
        files = self._session.gallery.files(request.path_params["key"])
        if files is None:
            raise HTTPException(404)
        return files

    def _path(self, request: Request) -> tuple[Path, str]:
        side = request.query_params.get("side", "source")
        if side not in ("source", "output"):
            raise UsageError(f"side {side!r} is unknown: choose source or output")
        files = self._files(request)
        return _there(files.source if side == "source" else files.output), side

    async def _picture(
        self,
        request: Request,
        path: Path,
        side: int,
        make: Callable[[], bytes],
        kind: str = "image/jpeg",
        what: str = "",
    ) -> Response:
        tag = f'"{await run_in_threadpool(self._session.thumbnails.name, path, side)}{what}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(await run_in_threadpool(make), media_type=kind, headers=headers)


def _there(path: Path | None) -> Path:
    if path is None or not os.path.isfile(path):
        raise HTTPException(404)
    return path


def _number(request: Request, name: str, default: int, least: int = 1) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 16 and int(text) >= least):
        raise UsageError(f"{name} {text!r} is no whole number of {least} or more")
    return int(text)


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, {"Cache-Control": "no-store"}, "application/json")
