"""FleetLock over HTTP. Which bytes mean what stands in core.fleetlock.protocol; what is done, in service."""

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kube_upgrade.core.fleetlock.protocol import BODY_LIMIT, HEADER, Answer, Kind, Operation, read_request, write_answer
from kube_upgrade.fleetlock.replica import Replica
from kube_upgrade.kube.clock import stop

BODY_SECONDS = 10.0  # a client may take this long to send its few hundred bytes
CLIENT_GONE = 499  # written to nobody


def build(replica: Replica, stopping: asyncio.Event) -> Starlette:
    """The application; requests that are held open are let go when `stopping` is set."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok", "error": ""})

    async def readyz(request: Request) -> Response:
        missing = "this replica is stopping" if stopping.is_set() else replica.not_ready()
        return JSONResponse(
            {"status": "ok" if not missing else "not ready", "error": missing or ""}, 503 * bool(missing) or 200
        )

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def locks(request: Request) -> Response:
        return JSONResponse(replica.locks())

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
    return app


def _endpoint(
    operation: Operation, replica: Replica, stopping: asyncio.Event
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _body(request)
        except TimeoutError:
            return _response(Answer(kind=Kind.BAD_REQUEST, value=f"the body took longer than {BODY_SECONDS:g} s"))
        except ClientDisconnect:
            return Response(status_code=CLIENT_GONE)
        read = read_request(operation, request.headers.get(HEADER), body)
        if isinstance(read, Answer):
            return _response(read)
        if missing := replica.not_ready():
            return _response(Answer(kind=Kind.UNAVAILABLE, value=missing, retry_after=1))
        return await _unless_gone(request, asyncio.create_task(replica.service.answer(read)), stopping)

    return endpoint


async def _unless_gone(request: Request, work: asyncio.Task[Answer], stopping: asyncio.Event) -> Response:
    """The answer; the work is cancelled when its client hangs up or the server stops."""
    gone = asyncio.create_task(_disconnected(request))
    ending = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({work, gone, ending}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return _response(work.result())
        if gone.done():
            return Response(status_code=CLIENT_GONE)
        return _response(Answer(kind=Kind.UNAVAILABLE, value="this replica is stopping", retry_after=1))
    finally:
        await stop(work, gone, ending)


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
