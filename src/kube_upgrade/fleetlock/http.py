"""uvicorn's HTTP by httptools, which alone sets no bound to a request's headers."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_LIMIT = 16 * 1024  # bytes of a request's line and headers; what came with them in one read is let pass


class BoundedHttp(HttpToolsProtocol):
    """One connection, which ends where the headers of a request go on beyond the limit."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Nothing was read yet."""
        self._in_head, self._head = True, 0
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the headers end."""
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > HEADER_LIMIT:
            self.transport.close()

    def on_message_begin(self) -> None:
        """The next request begins."""
        self._in_head, self._head = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """What follows is the body, which the application bounds."""
        self._in_head = False
        super().on_headers_complete()
