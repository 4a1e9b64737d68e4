"""The barest client there is: HTTP/1.1 over a few TLS connections, no parsing beyond status and length.

It is what the programs are measured against, and what the simulated daemons use, so that they cost next to nothing.
"""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
CONNECTIONS = 16
RESOURCE_VERSION = re.compile(rb'"resourceVersion":"([0-9]+)"')


class Refused(Exception):
    """The server answered with another status than 2xx."""


class Bare:
    """A fixed set of kept-alive connections to one API server."""

    def __init__(self, port: int, ca: Path, certificate: Path, key: Path) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._tls.load_cert_chain(certificate, key)
        self._idle: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.LifoQueue()
        self.calls = 0

    async def __aenter__(self) -> Self:
        for _ in range(CONNECTIONS):
            self._idle.put_nowait(await self._connect())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while not self._idle.empty():
            self._idle.get_nowait()[1].close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls, limit=1 << 24)

    async def send(self, method: str, path: str, body: object = None, *, type: str = "application/json") -> bytes:
        """One request and the body of its answer. Raises Refused."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        reader, writer = await self._idle.get()
        try:
            writer.write(_head(method, path, type, len(data)) + data)
            status, answer = await _answer(reader)
        finally:
            self._idle.put_nowait((reader, writer))
        self.calls += 1
        if not 200 <= status < 300:
            raise Refused(f"{method} {path}: {status} {answer[:300]!r}")
        return answer

    async def patch(self, path: str, body: object, *, type: str = MERGE) -> bytes:
        """A merge patch."""
        return await self.send("PATCH", path, body, type=type)

    async def follow(self, path: str, since: str) -> AsyncIterator[bytes]:
        """Every event after this resourceVersion, over as many watches as it takes.

        A server under load ends the watches of readers who are behind.
        """
        while True:
            async for line in self.watch(f"{path}?watch=1&resourceVersion={since}&timeoutSeconds=3600"):
                found = RESOURCE_VERSION.search(line)
                since = found[1].decode() if found else since
                yield line

    async def watch(self, path: str) -> AsyncIterator[bytes]:
        """Every event as its JSON line, on a connection of its own."""
        reader, writer = await self._connect()
        try:
            writer.write(_head("GET", path, "", 0))
            await reader.readuntil(b"\r\n\r\n")
            rest = b""
            while size := int(await reader.readline() or b"0", 16):
                chunk = rest + await reader.readexactly(size)
                await reader.readexactly(2)
                *lines, rest = chunk.split(b"\n")
                for line in lines:
                    yield line
        finally:
            writer.close()


async def each(work: Callable[[str], Awaitable[object]], names: Iterable[str]) -> None:
    """Do it for every name, as many at once as there are connections."""
    left = iter(names)

    async def worker() -> None:
        for name in left:
            await work(name)

    await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))


def _head(method: str, path: str, type: str, length: int) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAccept: application/json\r\n"
        f"Content-Type: {type}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lowered = head.lower()
    status = int(head[9:12])
    if b"transfer-encoding: chunked" in lowered:
        return status, await _chunks(reader)
    start = lowered.index(b"content-length:") + 15
    return status, await reader.readexactly(int(lowered[start : lowered.index(b"\r\n", start)]))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)
