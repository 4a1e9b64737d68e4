"""Connections to the API server: kept, counted, given up when they broke, and never read faster than they are used."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import httpx2
import msgspec
import pytest

from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.errors import Unreachable
from kube_upgrade.kube.paths import NODES, node
from kube_upgrade.kube.transport import MOST_BUFFERED, MOST_CONNECTIONS, LeanTransport

PATIENCE = 10.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Nothing(msgspec.Struct, frozen=True):
    """Whatever was answered."""


class Server:
    """Counts connections and requests; `answer` is what each request gets."""

    def __init__(self, answer: Serve) -> None:
        self._answer = answer
        self.connections = 0
        self.requests = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone, or was sent away
        finally:
            writer.close()


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[str]:
    async with await asyncio.start_server(server, "127.0.0.1", 0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def connected(server: Server, folder: Path, *, timeout: float = PATIENCE) -> AsyncIterator[KubeApi]:
    async with (
        listening(server) as url,
        KubeApi.connect(kubeconfig(folder / f"{id(server)}.json", url), user_agent="test", timeout=timeout) as api,
    ):
        yield api


def kubeconfig(path: Path, url: str) -> Path:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [],
        "contexts": [{"name": "x", "context": {"cluster": "c"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(config))
    return path


async def fine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


async def test_one_request_after_the_other_takes_one_connection(tmp_path: Path) -> None:
    server = Server(fine)
    async with connected(server, tmp_path) as api:
        for _ in range(5):
            await api.get(node("a"), Nothing)
    assert (server.connections, server.requests) == (1, 5)


async def test_no_more_connections_are_opened_than_allowed_and_every_request_gets_its_turn(tmp_path: Path) -> None:
    server = Server(fine)
    async with connected(server, tmp_path) as api:
        await asyncio.gather(*(api.get(node("a"), Nothing) for _ in range(MOST_CONNECTIONS * 3)))
    assert server.connections <= MOST_CONNECTIONS
    assert server.requests == MOST_CONNECTIONS * 3


async def test_a_connection_that_broke_while_it_rested_is_not_used_again(tmp_path: Path) -> None:
    async def fine_then_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        raise ConnectionError

    server = Server(fine_then_gone)
    async with connected(server, tmp_path) as api, connected(Server(fine), tmp_path) as other:
        await api.get(node("a"), Nothing)
        await other.get(node("a"), Nothing)  # by its end the hang-up has arrived, too
        await api.get(node("a"), Nothing)
    assert server.connections == 2


async def test_words_that_nobody_asked_for_end_a_connection(tmp_path: Path) -> None:
    """A second answer to one request would be taken for the next request's: requests would be answered crosswise."""

    async def says_more(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + OK)

    server = Server(says_more)
    async with connected(server, tmp_path) as api:
        for _ in range(3):
            assert await api.get(node("a"), Nothing) == Nothing()
    assert server.connections == 3


async def test_a_request_that_was_cancelled_frees_its_place_and_its_connection(tmp_path: Path) -> None:
    async def first_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.requests <= MOST_CONNECTIONS:
            if server.requests == MOST_CONNECTIONS:
                all_here.set()
            await reader.read()
        writer.write(OK)

    all_here, server = asyncio.Event(), Server(first_silent)
    async with connected(server, tmp_path) as api:
        stuck = [asyncio.create_task(api.get(node("a"), Nothing)) for _ in range(MOST_CONNECTIONS)]
        await asyncio.wait_for(all_here.wait(), PATIENCE)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        await asyncio.wait_for(api.get(node("a"), Nothing), PATIENCE)


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
async def test_noise_and_half_an_answer_are_no_answer(tmp_path: Path, answer: bytes) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        raise ConnectionError

    async with connected(Server(odd), tmp_path) as api:
        with pytest.raises(Unreachable):
            await api.get(node("a"), Nothing)


async def test_a_server_that_speaks_faster_than_it_is_heard_has_to_wait(tmp_path: Path) -> None:
    """A watch of 5,000 nodes behind a busy loop must not pile up in memory; nothing of it is lost."""
    line = b'{"type":"BOOKMARK"}' + b" " * 65_000 + b"\n"
    chunk = b"%x\r\n%b\r\n" % (len(line), line)
    count = 16 * MOST_BUFFERED // len(line)

    async def pours(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(count):
            writer.write(chunk)
            try:
                await asyncio.wait_for(asyncio.shield(drained := asyncio.ensure_future(writer.drain())), 0.2)
            except TimeoutError:
                waiting.set()
                await drained
        writer.write(b"0\r\n\r\n")

    waiting = asyncio.Event()
    async with connected(Server(pours), tmp_path) as api, aclosing(api.watch(NODES, {})) as lines:
        heard = [await anext(lines)]
        await asyncio.wait_for(waiting.wait(), PATIENCE)
        heard += [line async for line in lines]
    assert len(heard) == count


async def test_a_connection_with_words_that_nobody_took_is_not_used_again(tmp_path: Path) -> None:
    """Whoever leaves just as the last bytes of a long answer came leaves a connection that nobody reads any more."""
    body = b" " * (MOST_BUFFERED + 1000)

    async def long_then_fine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        writer.write(OK if server.requests > 1 else first)

    server = Server(long_then_fine)
    client = httpx2.AsyncClient(transport=LeanTransport(ssl.create_default_context()), timeout=2.0)
    async with listening(server) as url, connected(Server(fine), tmp_path) as other, client:
        async with client.stream("GET", url):
            for _ in range(10):  # by their end the whole answer has arrived, too
                await other.get(node("a"), Nothing)
        assert (await client.get(url)).content == b"{}"
    assert server.connections == 2
