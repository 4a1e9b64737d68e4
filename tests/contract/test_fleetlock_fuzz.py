"""Malformed requests: 5,000 here, 100,000 in a campaign. No answer is a 5xx other than 503, and the server goes on."""

import asyncio
import json
import random
import secrets

import pytest

from kube_upgrade.core.fleetlock.protocol import BODY_LIMIT
from support.examples import MALFORMED_REQUESTS, profile
from support.lock_site import HEADER, Site, a_site
from support.lock_world import LockWorld, node_id

REQUESTS = 5000
AT_ONCE = 20
PATIENCE = 0.5  # seconds; a good request is answered in a few milliseconds

METHODS = ["POST"] * 8 + ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "post", "", "\x00"]
PATHS = [
    *["/v1/pre-reboot", "/v1/steady-state"] * 4,
    *["/v1/pre-reboot?a=b&&=%", "/v1/steady-state#x", "/v1/locks", "/v1/%70re-reboot", "//v1/pre-reboot", "/v1/../v1"],
    *["/", "*", "", "/v1/pre-reboot/", "/healthz", "/readyz", "/metrics", "/%ff%00", "/ä", "http://x/v1/locks"],
]
PROTOCOLS = ["HTTP/1.1"] * 12 + ["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/9", "http/1.1", ""]
NOISE = [
    *["Fleet-Lock-Protocol: false", "fleet-lock-protocol:", "fleet-lock-protocol: true\r\nfleet-lock-protocol: no"],
    *["Content-Type: application/xml", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked"],
    *["Expect: 100-continue", "Upgrade: websocket\r\nConnection: upgrade", "Connection: close, x", "Range: bytes=9-1"],
    *["Content-Length: -1", "Content-Length: 99999999999999999999", "Content-Length: x", "Host: a\r\nHost: b"],
    *["X-Forwarded-For: 10.0.0.1", "Cookie: a", ": nothing", "no colon", "X: \x00", " folded: yes", "X: \xff"],
    *["Authorization: Bearer \xff", "Accept-Encoding: br", "TE: trailers"],
]
VALUES: list[object] = [
    "default",
    "",
    "a" * 300,
    "a_b",
    "a\nb",
    "\u2028",
    "\ud800",
    "..",
    "a b",
    None,
    7,
    True,
    [],
    {},
    1e400,
]


def a_request(dice: random.Random) -> bytes:
    """Anything from a good request to noise."""
    if dice.random() < 0.03:
        return dice.randbytes(dice.choice([0, 1, 7, 300, 40_000]))
    body = a_body(dice)
    length = len(body) + dice.choice([0] * 20 + [-1, 1, 5, -len(body)])
    head = [f"{dice.choice(METHODS)} {dice.choice(PATHS)} {dice.choice(PROTOCOLS)}", "Host: x", "Connection: close"]
    head += [HEADER] * (dice.random() < 0.9) + [f"Content-Length: {length}"] * (dice.random() < 0.95)
    head += dice.sample(NOISE, dice.choice([0, 0, 0, 1, 2]))
    head += [f"X-{n}: {'y' * dice.choice([1, 9_000])}" for n in range(dice.choice([0] * 20 + [3, 200]))]
    end = dice.choice(["\r\n"] * 12 + ["\n", "\r"])
    raw = end.join([*head, "", ""]).encode("utf-8", "surrogateescape") + body
    return raw[: dice.randrange(len(raw))] if dice.random() < 0.05 else raw


def a_body(dice: random.Random) -> bytes:
    """JSON that fits, nearly fits, or is none."""
    kind = dice.random()
    if kind < 0.1:
        return dice.choice([b"", b"null", b"[" * 5000, b"{" * 5000, b'{"client_params":', b"\xff\xfe", b"1" * 5000])
    if kind < 0.15:
        return dice.randbytes(dice.choice([10, BODY_LIMIT, BODY_LIMIT + 1, 70_000]))
    ids = [*VALUES, node_id("w1"), node_id("w2"), "zincati", str(dice.randrange(30))]
    params: object = {"group": dice.choice([*["default"] * 9, *VALUES]), "id": dice.choice(ids), "more": VALUES}
    if dice.random() < 0.1:
        params = dice.choice(VALUES)
    text = json.dumps({"client_params": params, "x": None}, indent=dice.choice([None, 2]))
    return text.encode("utf-8", "surrogatepass")


async def answer_to(site: Site, raw: bytes) -> bytes:
    """What comes back; nothing where the server waits for more, hangs up, or the client does that first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    try:
        writer.write(raw)
        if len(raw) % 5 == 0:
            writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    except (ConnectionError, TimeoutError):
        return b""
    finally:
        writer.close()


def check(raw: bytes, answer: bytes) -> int:
    """The status, 0 where the server just hung up."""
    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    if not answer:
        return 0
    status = int(answer.split(b" ", 2)[1])
    assert status < 500 or status == 503, (raw, answer)
    assert status == 200 or 400 <= status < 600, (raw, answer)
    return status


@pytest.mark.timeout(1500)
async def test_no_request_is_answered_with_a_5xx_other_than_503() -> None:
    number, seed = MALFORMED_REQUESTS.get(profile(), REQUESTS), secrets.randbelow(2**31)
    dice, world, statuses = random.Random(seed), LockWorld(), set[int]()
    for node in ("w1", "w2"):
        await world.node(node)

    async def client(site: Site, share: int) -> None:
        for _ in range(share):
            raw = a_request(dice)
            statuses.add(check(raw, await answer_to(site, raw)))

    async with a_site(hold=0.0, world=world) as site:
        print(f"seed {seed}")  # noqa: T201 - shown where the test fails
        async with asyncio.TaskGroup() as clients:
            for _ in range(AT_ONCE):
                clients.create_task(client(site, number // AT_ONCE))
        assert await site.ask("pre-reboot", "sane") in ((200, "success"), (423, "all_slots_full"))
    assert {200, 400, 404, 405, 413, 423} <= statuses, statuses
