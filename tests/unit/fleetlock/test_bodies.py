"""How long a client may take for its body, in virtual time."""

import asyncio

import pytest
from starlette.types import Message, Scope

from kube_upgrade.core.fleetlock.protocol import BODY_LIMIT, HEADER, write_request
from kube_upgrade.fleetlock import app
from kube_upgrade.fleetlock.app import BODY_SECONDS
from support.lock_world import SETTINGS, LockWorld
from support.virtual_time import in_no_time

BODY = write_request("workers", "a-client")


@pytest.mark.parametrize(
    ("pieces", "pause", "status", "seconds"),
    [
        ([BODY], 0.0, 200, 0.0),
        ([BODY[:9], BODY[9:]], BODY_SECONDS - 1, 200, BODY_SECONDS - 1),
        ([bytes([byte]) for byte in BODY], 1.0, 400, BODY_SECONDS),  # each byte comes in time, the whole does not
        ([BODY[:9], BODY[9:]], 3600.0, 400, BODY_SECONDS),
        ([b" " * 1024] * 1000, 0.01, 413, 0.01 * BODY_LIMIT / 1024),  # nobody reads on
    ],
)
def test_a_body_is_read_for_ten_seconds_and_up_to_its_limit(
    pieces: list[bytes], pause: float, status: int, seconds: float
) -> None:
    async def story() -> None:
        sent, left, loop = list[Message](), list(pieces), asyncio.get_running_loop()

        async def receive() -> Message:
            if not left:
                await asyncio.Event().wait()
            if len(left) < len(pieces):
                await asyncio.sleep(pause)
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

        async def send(message: Message) -> None:
            sent.append(message)

        async with LockWorld().server() as replica:
            began = loop.time()
            scope: Scope = {
                "type": "http",
                "method": "POST",
                "path": "/v1/pre-reboot",
                "headers": [(HEADER.encode(), b"true")],
                "query_string": b"",
            }
            await app.build(replica, asyncio.Event(), SETTINGS)(scope, receive, send)
        assert sent[0]["status"] == status
        assert loop.time() - began == pytest.approx(seconds, abs=0.1)

    in_no_time(story)
