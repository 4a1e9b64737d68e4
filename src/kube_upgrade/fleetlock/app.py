"""FleetLock over HTTP. Which bytes mean what stands in core.fleetlock.protocol; what is done, in service."""

import asyncio
from collections.abc import Awaitable, Callable
from hmac import compare_digest

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kube_upgrade.core.fleetlock.protocol import BODY_LIMIT, HEADER, Answer, Kind, Operation, read_request, write_answer
from kube_upgrade.core.fleetlock.protocol import Request as Asked
from kube_upgrade.fleetlock.replica import Replica
from kube_upgrade.fleetlock.settings import Settings
from kube_upgrade.kube.clock import stop

BODY_SECONDS = 10.0  # a client may take this long to send its few hundred bytes
AT_ONCE_SECONDS = 0.02  # most answers are there by then: only for the others the connection is watched
CLIENT_GONE = 499  # written to nobody


def build(replica: Replica, stopping: asyncio.Event, settings: Settings) -> ASGIApp:
    """The application; requests that are held open are let go when `stopping` is set.

    Where there is a secret path prefix, /v1 is found below it and nowhere else, and its users may see the ids.
    """

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok", "error": ""})

    async def readyz(request: Request) -> Response:
        missing = "this replica is stopping" if stopping.is_set() else replica.not_ready()
        return JSONResponse(
            {"status": "ok" if not missing else "not ready", "error": missing or ""}, 503 * bool(missing) or 200
        )

    async def metrics(request: Request) -> Response:
        replica.measure()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def locks(request: Request) -> Response:
        trusted = bool(settings.path_prefix) or _bears(request, settings.read_token)
        return JSONResponse(replica.locks(secrets=trusted))

    app = Starlette(
        routes=[
            *(Route(f"/{op.path}", _endpoint(op, replica, stopping), methods=["POST"]) for op in Operation),
            Route("/v1/locks", locks),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
        ],
        exception_handlers={HTTPException: _refused},
    )
    app.router.redirect_slashes = False
    return _Below(app, f"/{settings.path_prefix}") if settings.path_prefix else app


class _Below:
    """/v1 of the application, moved below a secret prefix. Comparing takes as long for a near miss as for a far one."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let pass what knows the prefix; /v1 itself is not there."""
        path = scope["path"].encode()
        if compare_digest(path[: len(self._prefix)], self._prefix):
            rest = path[len(self._prefix) :].decode()
            scope = {**scope, "path": rest if rest.startswith("/v1/") else "/"}
        elif path.startswith(b"/v1/"):
            scope = {**scope, "path": "/"}
        await self._app(scope, receive, send)


def _bears(request: Request, token: str) -> bool:
    """True where there is a token and the request has it."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return bool(token) and compare_digest(given.encode(), token.encode())


def _endpoint(
    operation: Operation, replica: Replica, stopping: asyncio.Event
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            read = await _read(operation, request)
        except ClientDisconnect:
            return Response(status_code=CLIENT_GONE)
        if isinstance(read, Answer):
            return _response(read)
        if missing := replica.not_ready():
            return _response(Answer(kind=Kind.UNAVAILABLE, value=missing, retry_after=1))
        source = request.client.host if request.client is not None else ""
        if operation is Operation.STEADY_STATE:  # never held open, and worth doing for a client that has gone
            return _response(await replica.service.answer(read, source))
        return await _unless_gone(request, asyncio.create_task(replica.service.answer(read, source)), stopping)

    return endpoint


async def _read(operation: Operation, request: Request) -> Asked | Answer:
    """What is asked for, or the refusal that it deserves. Raises ClientDisconnect."""
    if request.url.query:  # no FleetLock client sends one; somebody else was led here
        return Answer(kind=Kind.BAD_REQUEST, value="the URL must have no query string")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _body(request)
    except TimeoutError:
        return Answer(kind=Kind.BAD_REQUEST, value=f"the body took longer than {BODY_SECONDS:g} s")
    return read_request(operation, request.headers.get(HEADER), body)


async def _unless_gone(request: Request, work: asyncio.Task[Answer], stopping: asyncio.Event) -> Response:
    """The answer; the work is cancelled when its client hangs up or the server stops."""
    watching: list[asyncio.Task[object]] = []
    try:
        await asyncio.wait({work}, timeout=AT_ONCE_SECONDS)
        if work.done():
            return _response(work.result())
        gone, ending = asyncio.create_task(_disconnected(request)), asyncio.create_task(stopping.wait())
        watching = [gone, ending]
        await asyncio.wait({work, gone, ending}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return _response(work.result())
        if gone.done():
            return Response(status_code=CLIENT_GONE)
        return _response(Answer(kind=Kind.UNAVAILABLE, value="this replica is stopping", retry_after=1))
    finally:
        if watching or not work.done():
            await stop(work, *watching)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> bytes:
    """The body, or one byte more than the limit of it."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            return body[: BODY_LIMIT + 1]
    return body


def _response(answer: Answer) -> Response:
    headers = {} if answer.retry_after is None else {"Retry-After": str(answer.retry_after)}
    return Response(write_answer(answer), answer.status, headers, "application/json")


async def _refused(request: Request, error: Exception) -> Response:
    """404 and 405 of the router, in FleetLock's form."""
    allowed = getattr(error, "headers", None) or {}
    wrong_method = getattr(error, "status_code", 404) == 405
    kind = Kind.METHOD_NOT_ALLOWED if wrong_method else Kind.NOT_FOUND
    value = f"use {allowed.get('Allow', 'another method')}" if wrong_method else "no such path"
    answer = _response(Answer(kind=kind, value=value))
    answer.headers.update(allowed)
    return answer
