"""FleetLock over HTTP as any client sees it: a replica over the in-memory API, behind a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import pytest

from kube_upgrade.core.fleetlock.protocol import BODY_LIMIT, write_request
from kube_upgrade.fleetlock import app, assemble
from kube_upgrade.fleetlock.main import Server, Silence, http_config
from kube_upgrade.fleetlock.settings import GroupSettings, Settings
from kube_upgrade.kube.clock import stop
from support.async_memory_api import AsyncMemoryApi
from support.memory_api import MemoryApi

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
async def a_site(hold: float = 0.2) -> AsyncIterator[Site]:
    """A replica with one group of one slot; nobody is in the cluster."""
    settings = Settings(host="127.0.0.1", port=0, hold_seconds=hold, groups={"default": GroupSettings(slots=1)})
    replica = assemble.replica(
        settings, name="one", api=AsyncMemoryApi(MemoryApi()), announcer=Silence(), now=lambda: datetime.now(UTC)
    )
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


async def test_lock_and_release_are_idempotent() -> None:
    async with a_site() as site:
        assert await site.ask("pre-reboot", "a") == (200, "success")
        assert await site.ask("pre-reboot", "a") == (200, "success")
        assert await site.ask("pre-reboot", "b") == (423, "all_slots_full")
        assert await site.ask("steady-state", "b") == (200, "success")
        assert await site.ask("pre-reboot", "b") == (423, "all_slots_full")
        assert await site.ask("steady-state", "a") == (200, "success")
        assert await site.ask("pre-reboot", "b") == (200, "success")


@pytest.mark.parametrize(
    ("head", "body", "headers", "status", "kind"),
    [
        ("POST /v1/pre-reboot", write_request("default", "a"), (), 400, "missing_fleetlock_header"),
        ("POST /v1/pre-reboot", b"{", (HEADER,), 400, "bad_request"),
        ("POST /v1/pre-reboot", write_request("a_b", "a"), (HEADER,), 400, "bad_request"),
        ("POST /v1/pre-reboot", write_request("nobody", "a"), (HEADER,), 404, "unknown_group"),
        ("POST /v1/steady-state", write_request("nobody", "a"), (HEADER,), 404, "unknown_group"),
        ("POST /v1/pre-reboot", b" " * (BODY_LIMIT + 1), (HEADER,), 413, "body_too_large"),
        ("GET /v1/pre-reboot", b"", (HEADER,), 405, "method_not_allowed"),
        ("PUT /v1/steady-state", b"", (HEADER,), 405, "method_not_allowed"),
        ("POST /v1/locks", b"", (HEADER,), 405, "method_not_allowed"),
        ("POST /v1/pre-reboot/", write_request("default", "a"), (HEADER,), 404, "not_found"),
        ("POST /v2/pre-reboot", write_request("default", "a"), (HEADER,), 404, "not_found"),
        ("GET /", b"", (), 404, "not_found"),
    ],
)
async def test_every_refusal_is_a_4xx_with_kind_and_value(
    head: str, body: bytes, headers: tuple[str, ...], status: int, kind: str
) -> None:
    async with a_site() as site:
        code, _, answer = await site.send(head, body, *headers)

    assert (code, answer["kind"]) == (status, kind)
    assert answer["value"]


async def test_query_strings_and_content_types_do_not_matter() -> None:
    async with a_site() as site:
        for head, kind in (("POST /v1/pre-reboot?x=1&y", "text/plain"), ("POST /v1/steady-state?", "application/xml")):
            status, _, _ = await site.send(head, write_request("default", "a"), HEADER, f"Content-Type: {kind}")
            assert status == 200


async def test_a_wrong_method_is_told_the_right_one() -> None:
    async with a_site() as site:
        _, headers, _ = await site.send("DELETE /v1/pre-reboot")

    assert headers["allow"] == "POST"


async def test_a_refusal_names_the_holder_and_says_when_to_come_back() -> None:
    async with a_site() as site:
        await site.ask("pre-reboot", "the-holder")
        status, headers, answer = await site.send("POST /v1/pre-reboot", write_request("default", "b"), HEADER)

    assert status == 423
    assert int(headers["retry-after"]) > 0
    assert "th…" in answer["value"]
    assert "the-holder" not in answer["value"]


async def test_waiting_clients_are_served_first_come_first_served() -> None:
    served: list[str] = []

    async def wait(site: Site, id: str) -> None:
        assert await site.ask("pre-reboot", id) == (200, "success")
        served.append(id)
        assert await site.ask("steady-state", id) == (200, "success")

    async with a_site(hold=SECONDS) as site:
        await site.ask("pre-reboot", "holder")
        clients = []
        for number, id in enumerate("cab", start=1):
            clients.append(asyncio.create_task(wait(site, id)))
            await waiting(site, number)
        await site.ask("steady-state", "holder")
        await asyncio.gather(*clients)

    assert served == list("cab")


async def waiting(site: Site, number: int) -> None:
    """Return when so many requests wait."""
    async with asyncio.timeout(SECONDS):
        while (await site.locks())["default"]["waiting"] != number:  # noqa: ASYNC110 - seen through HTTP
            await asyncio.sleep(0.01)


async def test_a_client_that_hung_up_gets_no_slot() -> None:
    async with a_site(hold=SECONDS) as site:
        await site.ask("pre-reboot", "holder")
        _, writer = await site.open("POST /v1/pre-reboot", write_request("default", "gone"), HEADER)
        await waiting(site, 1)
        writer.close()
        await waiting(site, 0)
        await site.ask("steady-state", "holder")

        assert await site.ask("pre-reboot", "next") == (200, "success")


async def test_a_replica_that_stops_lets_held_requests_go() -> None:
    async with a_site(hold=SECONDS) as site:
        await site.ask("pre-reboot", "holder")
        asking = asyncio.create_task(site.ask("pre-reboot", "b"))
        await waiting(site, 1)
        site.stopping.set()

        async with asyncio.timeout(2.0):
            assert await asking == (503, "unavailable")


async def test_probes_and_metrics() -> None:
    async with a_site() as site:
        assert (await site.send("GET /healthz"))[2] == {"status": "ok", "error": ""}
        assert (await site.send("GET /readyz"))[0] == 200
        reader, writer = await site.open("GET /metrics")
        text = (await reader.read()).decode()
        writer.close()

    assert 'fleetlock_slots{group="default"} 1.0' in text
