"""/healthz, /readyz and /metrics over plain HTTP/1.1, without a web framework: idle daemons stay small."""

import asyncio
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], str | None]  # None: well; a text: what is wrong

_REQUEST_SECONDS = 5.0
_STATUS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


def nothing() -> None:
    """For programs whose metrics are always current."""


async def serve_probes(
    host: str, port: int, *, alive: Check, ready: Check, refresh: Callable[[], None] = nothing
) -> asyncio.Server:
    """Listen and answer until the server is closed. Port 0 takes a free one. Raises OSError when it cannot listen.

    `refresh` is called before the metrics are read, so that gauges cost nothing while nobody looks.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _REQUEST_SECONDS)
            writer.write(respond(head, alive=alive, ready=ready, refresh=refresh))
            await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # a probe that hung up: nothing to answer
        finally:
            writer.close()

    return await asyncio.start_server(answer, host, port)


def respond(head: bytes, *, alive: Check, ready: Check, refresh: Callable[[], None] = nothing) -> bytes:
    """The whole answer to one request head."""
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if method not in (b"GET", b"HEAD"):
        return _render(405, b"only GET and HEAD\n")
    if path == b"/metrics":
        refresh()
        return _render(200, generate_latest(), CONTENT_TYPE_LATEST)
    check = {b"/healthz": alive, b"/readyz": ready}.get(path)
    if check is None:
        return _render(404, b"try /healthz, /readyz or /metrics\n")
    wrong = check()
    return _render(503, f"{wrong}\n".encode()) if wrong else _render(200, b"ok\n")


def _render(status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> bytes:
    head = f"HTTP/1.1 {status} {_STATUS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return (head + "Connection: close\r\n\r\n").encode() + body
