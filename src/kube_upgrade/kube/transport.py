"""HTTP/1.1 to the API server below httpx2: kept-alive connections of asyncio, answers parsed in C by httptools.

httpx2 keeps everything above: URLs, headers, authentication, timeouts, errors. Only its default transport is replaced:
of a patch's CPU time in this process that took nine tenths (docs/adr/0005). It is no general transport: no proxy, no
HTTP/2, no redirect, no body that ends with the connection, none of which an API server asks of its clients.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol, cast

import httptools
import httpx2

MOST_CONNECTIONS = 64
IDLE_SECONDS = 30.0  # a connection that rested longer is not used again: a server or a firewall may have dropped it
MOST_BUFFERED = 1 << 20  # bytes of a body that nobody has taken yet; then the server has to wait


class LeanTransport(httpx2.AsyncBaseTransport):
    """At most MOST_CONNECTIONS requests at a time; others wait for their turn, as long as it takes.

    Raises httpx2's ConnectError, ConnectTimeout, ReadError, ReadTimeout and RemoteProtocolError.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._turnstile = asyncio.Semaphore(MOST_CONNECTIONS)
        self._idle: list[tuple[float, _Connection]] = []  # (monotonic seconds of the last answer, connection)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it and wait for the head of the answer; the body is read by whoever iterates over the stream."""
        patience = request.extensions.get("timeout", {})
        await self._turnstile.acquire()
        connection = None
        try:
            connection = self._rested() or await self._connect(request.url, patience.get("connect"))
            await connection.ask(_message(request, await request.aread()), patience.get("read"))
        except BaseException:
            self._leave(connection, reusable=False)
            raise
        body = _Body(connection, patience.get("read"), self._leave)
        return httpx2.Response(connection.status, headers=connection.headers, stream=body)

    async def aclose(self) -> None:
        """Close what rests. Requests that still run end by themselves."""
        while self._idle:
            self._idle.pop()[1].close()

    def _rested(self) -> "_Connection | None":
        """The connection used last; those that rested too long or broke meanwhile are given up."""
        since = time.monotonic() - IDLE_SECONDS
        while self._idle and (self._idle[0][0] < since):
            self._idle.pop(0)[1].close()
        while self._idle:
            _, connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    async def _connect(self, url: httpx2.URL, patience: float | None) -> "_Connection":
        tls = self._tls if url.scheme == "https" else None
        port = url.port or (443 if tls else 80)
        try:
            async with asyncio.timeout(patience):
                _, connection = await asyncio.get_running_loop().create_connection(
                    _Connection, url.host, port, ssl=tls, server_hostname=url.host if tls else None
                )
        except TimeoutError as error:
            raise httpx2.ConnectTimeout("") from error
        except OSError as error:
            raise httpx2.ConnectError(str(error)) from error
        return connection

    def _leave(self, connection: "_Connection | None", *, reusable: bool) -> None:
        self._turnstile.release()
        if connection is None:
            return
        if reusable and connection.open:
            self._idle.append((time.monotonic(), connection))
        else:
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection; one answer at a time. httptools calls the on_… methods, asyncio the others."""

    def __init__(self) -> None:
        self.open = False
        self._arrived: asyncio.Future[None] | None = None
        self._expect()
        self.complete = True  # nothing has been asked yet

    def _expect(self) -> None:
        """A new answer."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self._lasting = False  # True where the server keeps the connection after this answer
        self._begun = False  # the head is here
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._failure: httpx2.TransportError | None = None

    async def ask(self, message: bytes, patience: float | None) -> None:
        """Send a request; returns when the head of its answer has been read, `patience` seconds of silence at most."""
        self._expect()
        self._transport.write(message)
        while not self._begun:
            await self._more(patience)

    async def body(self, patience: float | None) -> AsyncIterator[bytes]:
        """The answer's body as it comes."""
        while True:
            while self._chunks:
                yield self._taken()
            if self.complete:
                return
            await self._more(patience)

    @property
    def spent(self) -> bool:
        """True where the answer was taken to its end and the server keeps the connection: ready for another request."""
        return self.complete and self._lasting and not self._chunks

    def close(self) -> None:
        """Whatever is under way on it is lost."""
        self.open = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for a request."""
        self._transport = cast("asyncio.Transport", transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        """Parse. Bytes that nobody asked for mean that the two sides no longer understand one another."""
        if self.complete:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._failure = httpx2.RemoteProtocolError(f"no HTTP/1.1: {error}")
            self.close()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """An answer that is not complete by now never will be."""
        self.open = False
        if not self.complete and self._failure is None:
            said = str(error) if error else "the server closed the connection"
            self._failure = httpx2.ReadError(said)
        self._wake()

    def on_message_begin(self) -> None:
        """An answer begins. A second one was never asked for, and must not be taken for the next request's."""
        if self._begun:
            raise ValueError("more than one answer")  # becomes data_received's HttpParserError

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the answer."""
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The answer's head is here."""
        self.status = self._parser.get_status_code()
        self._begun = True

    def on_body(self, chunk: bytes) -> None:
        """A piece of the body; a reader who is behind makes the server wait."""
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        if self._buffered > MOST_BUFFERED:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The whole answer is here."""
        self._lasting = self._parser.should_keep_alive()
        self.complete = True

    def _taken(self) -> bytes:
        chunk = self._chunks.popleft()
        if self._buffered > MOST_BUFFERED >= self._buffered - len(chunk) and self.open:
            self._transport.resume_reading()
        self._buffered -= len(chunk)
        return chunk

    async def _more(self, patience: float | None) -> None:
        """Wait for more of the answer. Raises ReadTimeout, ReadError, RemoteProtocolError."""
        if self._failure is not None:
            raise self._failure
        self._arrived = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(patience):
                await self._arrived
        except TimeoutError as error:
            raise httpx2.ReadTimeout("") from error
        finally:
            self._arrived = None

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)


class _Leave(Protocol):
    def __call__(self, connection: _Connection, *, reusable: bool) -> None: ...


class _Body(httpx2.AsyncByteStream):
    """An answer's body. Its connection can serve the next request once it was read to the end."""

    def __init__(self, connection: _Connection, patience: float | None, leave: _Leave) -> None:
        self._connection = connection
        self._patience = patience
        self._leave: _Leave | None = leave

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._connection.body(self._patience)

    async def aclose(self) -> None:
        """Give the connection back, once."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave(self._connection, reusable=self._connection.spent)


def _message(request: httpx2.Request, content: bytes) -> bytes:
    head = [b"%s %s HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)]
    head += [b"%s: %s\r\n" % header for header in request.headers.raw]
    return b"".join((*head, b"\r\n", content))
