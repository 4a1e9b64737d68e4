"""uvicorn's HTTP by httptools, which alone bounds neither a request's headers and trailers nor the wait for them."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kube_upgrade.fleetlock.app import BODY_SECONDS

HEADER_LIMIT = 16 * 1024  # bytes of a request's line and headers; what came with them in one read is let pass
HEAD_SECONDS = BODY_SECONDS  # from the connection, or a request's first byte, to the end of its headers


class BoundedHttp(HttpToolsProtocol):
    """One connection, which ends where more than the limit comes that is no body, or headers do not come in time."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Nothing was read yet."""
        self._loose = 0  # bytes since the last piece of a body
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count headers, trailers and what chunks say beside their content."""
        self._loose += len(data)
        super().data_received(data)
        if self._loose > HEADER_LIMIT:
            self.transport.close()

    def on_message_begin(self) -> None:
        """The next request begins."""
        self._loose = 0
        self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """What follows is the body, which the application bounds."""
        self._loose = 0
        self._head_came()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of it; what follows may be a trailer."""
        self._loose = 0
        super().on_body(body)

    def _expect_head(self) -> None:
        self._head_came()
        self._late = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _head_came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        """A head that waits behind a request that is still answered is not late: nobody reads on."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect_head()
        else:
            self.transport.close()
