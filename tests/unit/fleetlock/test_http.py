"""What one connection of the lock server may cost, in virtual time."""

import asyncio

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.server import ServerState

from kube_upgrade.fleetlock.http import HEAD_SECONDS, HEADER_LIMIT, BoundedHttp
from support.virtual_time import in_no_time

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


class Wire(asyncio.Transport):
    """A client's end: what was sent to it, and whether it was hung up on."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """An answer."""
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        """True once the server hung up."""
        return self.closed

    def close(self) -> None:
        """Hang up."""
        self.closed = True

    def pause_reading(self) -> None:
        """Nothing is sent unasked."""

    def resume_reading(self) -> None:
        """The same."""


def connect() -> tuple[BoundedHttp, Wire]:
    """A new connection to an application that reads a body and answers after 30 s."""

    async def endpoint(request: Request) -> Response:
        await request.body()
        await asyncio.sleep(30)
        return Response("done")

    app = Starlette(routes=[Route("/", endpoint, methods=["POST"])])
    config = uvicorn.Config(app, loop="asyncio", http=BoundedHttp, ws="none", lifespan="off", log_config=None)
    http, wire = BoundedHttp(config, ServerState(), {}), Wire()
    http.connection_made(wire)
    return http, wire


def test_a_connection_that_sends_no_head_is_closed() -> None:
    async def story() -> None:
        silent, slow = connect(), connect()
        slow[0].data_received(HEAD)
        await asyncio.sleep(HEAD_SECONDS - 1)
        slow[0].data_received(b"X: y\r\n")
        assert [wire.closed for _, wire in (silent, slow)] == [False, False]
        await asyncio.sleep(2)
        assert [wire.closed for _, wire in (silent, slow)] == [True, True]

    in_no_time(story)


def test_a_request_that_is_held_open_is_not_late_nor_is_the_next_behind_it() -> None:
    async def story() -> None:
        http, wire = connect()
        http.data_received(HEAD + b"Content-Length: 2\r\n\r\n{}" + HEAD)
        await asyncio.sleep(29)
        assert (wire.closed, wire.sent) == (False, b"")
        await asyncio.sleep(2)
        assert wire.sent.startswith(b"HTTP/1.1 200")
        await asyncio.sleep(HEAD_SECONDS)
        assert wire.closed

    in_no_time(story)


def test_endless_trailers_end_the_connection() -> None:
    """One long trailer, many short ones, and the extension of a chunk."""

    async def story() -> None:
        for line in (b"T: " + b"a" * 1000, b"b" * 1000, b"T: a\r\n" * 100):
            for start in (b"2\r\n{}\r\n0\r\n", b"2;x="):
                http, wire = connect()
                http.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + start)
                for _ in range(HEADER_LIMIT // len(line) + 2):
                    if not wire.closed:
                        http.data_received(line)
                assert wire.closed

    in_no_time(story)


def test_a_long_body_in_small_chunks_is_the_applications_to_bound() -> None:
    async def story() -> None:
        http, wire = connect()
        http.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(HEADER_LIMIT):
            http.data_received(b"1\r\nx\r\n")
        http.data_received(b"0\r\n\r\n")
        assert not wire.closed
        await asyncio.sleep(31)
        assert wire.sent.startswith(b"HTTP/1.1 200")

    in_no_time(story)
