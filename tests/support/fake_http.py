"""A small real HTTP/1.1 server on loopback that answers as a test tells it: for what no well-behaved server does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Exchange:
    """The way to answer one request, byte by byte if need be. Returning from the handler hangs up."""

    def __init__(self, request: Request, writer: asyncio.StreamWriter, hang_up: asyncio.Event) -> None:
        self.request = request
        self._writer = writer
        self._hang_up = hang_up

    async def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer. Header names: underscores become dashes."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{lines}\r\n"
        await self.raw(head.encode() + body)

    async def stream(self, *chunks: bytes, end: bool = True) -> None:
        """A chunked answer; without `end` the last chunk is missing, as when a server dies."""
        await self.raw(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        for chunk in chunks:
            await self.raw(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if end:
            await self.raw(b"0\r\n\r\n")

    async def raw(self, data: bytes) -> None:
        """These bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def say_nothing(self) -> None:
        """Keep the connection open until the test is over."""
        await self._hang_up.wait()


Handler = Callable[[Exchange], Awaitable[None]]


@dataclass(slots=True)
class FakeServer:
    """Where it listens, and what it was asked."""

    url: str
    requests: list[Request] = field(default_factory=list)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[FakeServer]:
    """Serve on a free port while the block runs."""
    over = asyncio.Event()
    running: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            running.add(task)
        try:
            request = await _read(reader)
            server.requests.append(request)
            await handler(Exchange(request, writer, over))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    server = FakeServer(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    try:
        yield server
    finally:
        over.set()
        listener.close()
        await asyncio.gather(*running, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Request:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)
