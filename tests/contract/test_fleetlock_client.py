"""What FleetLock's client promises to `upgraded`, against servers that behave and servers that do not."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kube_upgrade.fleetlock_client import (
    MOST_RETRY_AFTER,
    FleetLock,
    Granted,
    Refused,
    read_base_url,
    read_retry_after,
    server_of,
)

ID = "35ba2101ae3f4d45b96e9c51f461bbff"
Reply = Callable[[bytes, bytes], Awaitable[bytes]]  # request head and body to raw answer


@asynccontextmanager
async def a_server(reply: Reply) -> AsyncIterator[str]:
    """A raw HTTP/1.1 server on a free port; yields its URL without a trailing slash."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await reader.readexactly(int(length.split(b":")[1]))
            writer.write(await reply(head, body))
            await writer.drain()
        except ConnectionError:
            pass  # the client gave up, as some tests want it to
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    """A raw answer that ends its connection."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def always(raw: bytes) -> Reply:
    """A server that says the same to everyone."""

    async def reply(head: bytes, body: bytes) -> bytes:
        return raw

    return reply


async def asked(reply: Reply, prefix: str = "", timeout: float = 5.0, dice: float = 0.0) -> Granted | Refused:
    """What the client makes of a server's answer to pre-reboot."""
    async with (
        a_server(reply) as url,
        FleetLock(url + prefix, "workers", ID, timeout=timeout, dice=lambda: dice) as lock,
    ):
        return await lock.pre_reboot()


@pytest.mark.parametrize("prefix", ["", "/", "/fleet_lock", "/fleet_lock/", "/a/b//"])
async def test_path_prefixes_survive_and_slashes_do_not_double(prefix: str) -> None:
    seen: list[bytes] = []

    async def reply(head: bytes, body: bytes) -> bytes:
        seen.append(head + body)
        return http(200)

    async with a_server(reply) as url, FleetLock(url + prefix, "workers", ID) as lock:
        assert await lock.pre_reboot() == Granted("success", "")
        assert await lock.steady_state() == Granted("success", "")

    base = prefix.rstrip("/")
    for raw, path in zip(seen, ("pre-reboot", "steady-state"), strict=True):
        head, _, body = raw.partition(b"\r\n\r\n")
        assert head.startswith(f"POST {base}/v1/{path} HTTP/1.1\r\n".encode())
        assert b"fleet-lock-protocol: true" in head.lower()
        assert b"content-type: application/json" in head.lower()
        assert json.loads(body) == {"client_params": {"id": ID, "group": "workers"}}


async def test_the_body_of_a_grant_is_told_where_there_is_one() -> None:
    body = b'{"kind": "no_other_node", "value": "cordoned only"}'

    assert await asked(always(http(200, body))) == Granted("no_other_node", "cordoned only")
    assert await asked(always(http(200, b"<html>fine</html>"))) == Granted("success", "")


@pytest.mark.parametrize("status", [201, 202, 204, 301, 307, 400, 404, 423, 500, 503])
async def test_nothing_but_200_is_a_grant_and_redirects_are_not_followed(status: int) -> None:
    raw = http(status, b'{"kind": "success", "value": "sure"}' if status != 204 else b"", "Location: /elsewhere")

    answer = await asked(always(raw))

    assert isinstance(answer, Refused)
    assert answer.status == status


async def test_a_refusal_carries_kind_value_and_the_pause_it_asks_for() -> None:
    raw = http(503, b'{"kind": "waiting_for_node_drain", "value": "2 pods left"}', "Retry-After: 7")

    assert await asked(always(raw)) == Refused("waiting_for_node_drain", "2 pods left", 503, 7.0)


async def test_clients_that_were_told_the_same_pause_do_not_return_all_at_once_and_none_too_soon() -> None:
    raw = http(503, b"", "Retry-After: 60")

    for dice, seconds in ((0.0, 60.0), (0.5, 67.5), (1.0, 75.0)):
        answer = await asked(always(raw), dice=dice)
        assert isinstance(answer, Refused)
        assert answer.retry_after == seconds

    own = set()
    async with a_server(always(raw)) as url:
        for _ in range(5):  # each client throws its own dice
            async with FleetLock(url, "workers", ID) as lock:
                answer = await lock.pre_reboot()
                assert isinstance(answer, Refused)
                own.add(answer.retry_after)
    assert len(own) > 1


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"kind": 3}', b'{"kind": "Not A Kind"}', b"[" * 8000])
async def test_a_refusal_without_a_usable_body_is_named_by_its_status(body: bytes) -> None:
    answer = await asked(always(http(500, body)))

    assert isinstance(answer, Refused)
    assert (answer.kind, answer.status) == ("generic_http_500", 500)


async def test_a_silent_server_is_unreachable_after_the_timeout() -> None:
    async def silence(head: bytes, body: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    answer = await asked(silence, timeout=0.2)

    assert isinstance(answer, Refused)
    assert (answer.kind, answer.status) == ("unreachable", 0)


async def test_a_closed_port_is_unreachable_and_the_message_keeps_the_path_to_itself() -> None:
    async with a_server(always(http(200))) as url:
        pass
    async with FleetLock(f"{url}/secret-prefix", "workers", ID) as lock:
        answer = await lock.pre_reboot()

    assert isinstance(answer, Refused)
    assert (answer.kind, answer.status) == ("unreachable", 0)
    assert "127.0.0.1" in answer.value
    assert "secret" not in answer.value


async def test_noise_instead_of_http_is_unreachable() -> None:
    answer = await asked(always(b"\x00\x01 nonsense\r\n\r\n"))

    assert isinstance(answer, Refused)
    assert answer.kind == "unreachable"


async def test_an_endless_body_does_not_hold_the_client_beyond_its_limit() -> None:
    answer = await asked(always(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 200_000))

    assert answer == Granted("success", "")


@pytest.mark.parametrize("url", ["", "/x", "ftp://h/", "http://", "nonsense", "http://h:port/"])
def test_a_url_that_is_not_http_is_refused_with_its_text(url: str) -> None:
    with pytest.raises(ValueError, match="fleetlock URL"):
        read_base_url(url)


NOW = datetime(2026, 11, 24, 8, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Tue, 24 Nov 2026 08:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 07:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        ("9" * 40, MOST_RETRY_AFTER),
        ("86400", MOST_RETRY_AFTER),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MOST_RETRY_AFTER),
        ("Fri, 31 Dec 9999 23:59:59 -2359", MOST_RETRY_AFTER),
        ("Thu, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("Thu, 01 Jan 2026 00:00:00 +99999999", None),
        ("٣", 3.0),
        ("²", None),
    ],
)
def test_retry_after_is_read_in_both_forms(text: str | None, seconds: float | None) -> None:
    assert read_retry_after(text, NOW) == seconds


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_an_authority_that_cannot_be_read_is_named(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)

    with pytest.raises(ValueError, match=f"fleetlock CA: {file} must be a PEM file"):
        FleetLock("https://locks.example", "workers", ID, ca=file)


@pytest.mark.parametrize(
    "url",
    ["ftp://lock:8443/SECRET", "https://lock:bad/SECRET", "https://u:SECRET@lock:bad/SECRET?q=SECRET", "lock/SECRET"],
)
def test_what_is_said_of_a_bad_url_holds_no_secret_path(url: str) -> None:
    with pytest.raises(ValueError, match="lock") as wrong:
        read_base_url(url)
    assert "SECRET" not in str(wrong.value)


def test_a_server_is_named_without_path_and_user() -> None:
    assert server_of("https://u:SECRET@locks:8443/SECRET?x#y") == "https://locks:8443"
    assert server_of("http://[::1]:80/SECRET") == "http://[::1]:80"
