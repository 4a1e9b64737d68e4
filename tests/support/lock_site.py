"""A lock server behind a real socket, for tests that look at it as any client does."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from kube_upgrade.core.fleetlock.protocol import write_request
from kube_upgrade.fleetlock import app, assemble
from kube_upgrade.fleetlock.main import Server, Silence, http_config
from kube_upgrade.fleetlock.settings import GroupSettings, Settings, StoreKind
from kube_upgrade.kube.clock import stop
from support.lock_world import LockWorld

HEADER = "fleet-lock-protocol: true"
SECONDS = 10.0


@dataclass
class Site:
    """One running replica."""

    port: int
    stopping: asyncio.Event

    async def send(self, head: str, body: bytes = b"", *headers: str) -> tuple[int, dict[str, str], dict[str, str]]:
        """Status, headers and JSON body of the answer to one raw request."""
        reader, writer = await self.open(head, body, *headers)
        raw = await reader.read()
        writer.close()
        top, _, rest = raw.partition(b"\r\n\r\n")
        first, *lines = top.decode().split("\r\n")
        found = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return int(first.split()[1]), found, json.loads(rest)

    async def open(
        self, head: str, body: bytes = b"", *headers: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a request and leave the connection open."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [f"{head} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()
        return reader, writer

    async def ask(self, operation: str, id: str, group: str = "default") -> tuple[int, str]:
        """Status and kind of a well-formed request."""
        status, _, answer = await self.send(f"POST /v1/{operation}", write_request(group, id), HEADER)
        return status, answer["kind"]

    async def locks(self) -> dict[str, dict[str, object]]:
        """The groups of GET /v1/locks."""
        _, _, body = await self.send("GET /v1/locks")
        return msgspec.convert(body["groups"], dict[str, dict[str, object]])


@asynccontextmanager
async def a_site(hold: float = 0.2, world: LockWorld | None = None, **changes: Any) -> AsyncIterator[Site]:
    """A replica with one group of one slot, in a cluster without nodes unless a world is given."""
    plain = Settings(host="127.0.0.1", port=0, hold_seconds=hold, groups={"default": GroupSettings(slots=1)})
    settings = replace(plain, **changes)
    api = (world or LockWorld()).api if settings.store is StoreKind.KUBERNETES else None
    replica = assemble.replica(settings, name="one", api=api, announcer=Silence(), now=lambda: datetime.now(UTC))
    stopping = asyncio.Event()
    server = Server(http_config(app.build(replica, stopping, settings), settings), stopping.set)
    background = asyncio.create_task(replica.run())
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(SECONDS):
            while not server.started or replica.not_ready():  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
        yield Site(port=server.servers[0].sockets[0].getsockname()[1], stopping=stopping)
    finally:
        server.should_exit = True
        await serving
        await stop(background)
