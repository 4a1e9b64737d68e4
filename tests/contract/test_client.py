"""How KubeApi behaves on the wire, towards good answers, refusals, silence and nonsense."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from kube_upgrade.kube.client import KubeApi, PatchKind
from kube_upgrade.kube.errors import BadAnswer, BadKubeconfig, KubeError, NotFound, TooManyRequests, Unreachable
from kube_upgrade.kube.paths import NODES, node
from support.fake_http import Exchange, FakeServer, Handler, serving

TOKEN = "token-that-nobody-may-see"


class Thing(msgspec.Struct):
    name: str


def kubeconfig(path: Path, url: str) -> Path:
    """Written as a careful writer does: whole, or not at all."""
    content = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content))
    fresh.rename(path)
    return path


@asynccontextmanager
async def connected(
    handler: Handler, folder: Path, *, timeout: float = 5.0, silence: float = 5.0
) -> AsyncIterator[tuple[KubeApi, FakeServer]]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(handler))
        config = kubeconfig(folder / "config", server.url)
        api = KubeApi.connect(config, user_agent="kube-upgrade/test", timeout=timeout, silence=silence)
        yield await stack.enter_async_context(api), server


async def a_thing(exchange: Exchange) -> None:
    await exchange.answer(200, b'{"name":"thing","unread":[1,2,3]}')


async def test_an_answer_becomes_the_type_that_was_asked_for(tmp_path: Path) -> None:
    async with connected(a_thing, tmp_path) as (api, server):
        assert await api.get(node("n1"), Thing) == Thing("thing")
        (request,) = server.requests
        assert (request.method, request.target) == ("GET", "/api/v1/nodes/n1")
        assert request.headers["user-agent"] == "kube-upgrade/test"
        assert request.headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("kind", list(PatchKind))
async def test_a_patch_says_which_kind_it_is(tmp_path: Path, kind: PatchKind) -> None:
    async with connected(a_thing, tmp_path) as (api, server):
        await api.patch(node("n1"), {"spec": Thing("x")}, Thing, kind=kind, params={"fieldManager": "me"})
        (request,) = server.requests
        assert request.headers["content-type"] == kind.value
        assert request.body == b'{"spec":{"name":"x"}}'
        assert request.target.endswith("?fieldManager=me")


async def test_a_refusal_is_typed_and_says_when_to_come_back(tmp_path: Path) -> None:
    async def busy(exchange: Exchange) -> None:
        await exchange.answer(429, b'{"reason":"TooManyRequests","message":"slow down"}', Retry_After="7")

    async with connected(busy, tmp_path) as (api, _):
        with pytest.raises(TooManyRequests) as refused:
            await api.get(NODES, Thing)
        assert refused.value.retry_after == 7.0
        assert str(refused.value) == "429 TooManyRequests: slow down"


@pytest.mark.parametrize("body", [b"<html>log in</html>", b'{"name":7}', b"", b"\xff"])
async def test_a_success_with_another_body_is_not_taken_for_one(tmp_path: Path, body: bytes) -> None:
    async def odd(exchange: Exchange) -> None:
        await exchange.answer(200, body)

    async with connected(odd, tmp_path) as (api, _):
        with pytest.raises(BadAnswer, match="/api/v1/nodes/n1: "):
            await api.get(node("n1"), Thing)


async def hangs_up(exchange: Exchange) -> None:
    """No answer at all."""


async def says_nothing(exchange: Exchange) -> None:
    await exchange.say_nothing()


async def dies_in_the_body(exchange: Exchange) -> None:
    await exchange.raw(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n{")


async def is_no_http(exchange: Exchange) -> None:
    await exchange.raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")


@pytest.mark.parametrize("handler", [hangs_up, says_nothing, dies_in_the_body, is_no_http])
async def test_every_way_of_getting_no_answer_is_unreachable(tmp_path: Path, handler: Handler) -> None:
    async with connected(handler, tmp_path, timeout=0.3) as (api, _):
        with pytest.raises(Unreachable, match="get /api/v1/nodes/n1: "):
            await api.get(node("n1"), Thing)
        with pytest.raises(Unreachable, match="watch /api/v1/nodes: "):
            await watched(api, [])


async def test_a_closed_port_is_unreachable(tmp_path: Path) -> None:
    async with serving(a_thing) as server:
        pass
    async with KubeApi.connect(kubeconfig(tmp_path / "config", server.url), user_agent="t") as api:
        with pytest.raises(Unreachable):
            await api.get(NODES, Thing)


async def watched(api: KubeApi, seen: list[bytes]) -> None:
    async with aclosing(api.watch(NODES, {"resourceVersion": "7"})) as lines:
        async for line in lines:
            seen.append(line)  # noqa: PERF401  what was seen before an error counts


async def test_a_watch_yields_whole_lines_however_they_are_cut(tmp_path: Path) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.stream(b'{"a":1}\n{"b"', b":", b"2}\n\n", b'{"c":3}', b"\n", b'{"cut off":')

    async with connected(cut, tmp_path) as (api, server):
        seen: list[bytes] = []
        await watched(api, seen)
        assert seen == [b'{"a":1}', b'{"b":2}', b'{"c":3}']
        assert server.requests[0].target == "/api/v1/nodes?resourceVersion=7&watch=1&allowWatchBookmarks=true"


async def test_a_watch_that_breaks_off_is_unreachable_after_what_it_said(tmp_path: Path) -> None:
    async def dies(exchange: Exchange) -> None:
        await exchange.stream(b'{"a":1}\n', end=False)

    async with connected(dies, tmp_path) as (api, _):
        seen: list[bytes] = []
        with pytest.raises(Unreachable):
            await watched(api, seen)
        assert seen == [b'{"a":1}']


async def test_a_watch_that_falls_silent_is_unreachable(tmp_path: Path) -> None:
    async def falls_silent(exchange: Exchange) -> None:
        await exchange.stream(b'{"a":1}\n', end=False)
        await exchange.say_nothing()

    async with connected(falls_silent, tmp_path, silence=0.2) as (api, _):
        seen: list[bytes] = []
        with pytest.raises(Unreachable, match="watch /api/v1/nodes: ReadTimeout"):
            await watched(api, seen)
        assert seen == [b'{"a":1}']


async def test_a_watch_may_be_silent_for_longer_than_a_request_may_take(tmp_path: Path) -> None:
    async def slow(exchange: Exchange) -> None:
        await exchange.stream(end=False)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(exchange.say_nothing(), 0.4)
        await exchange.raw(b'8\r\n{"a":1}\n\r\n0\r\n\r\n')

    async with connected(slow, tmp_path, timeout=0.2) as (api, _):
        seen: list[bytes] = []
        await watched(api, seen)
        assert seen == [b'{"a":1}']


async def test_a_watch_that_is_accepted_says_so_before_its_first_event(tmp_path: Path) -> None:
    async def quiet(exchange: Exchange) -> None:
        await exchange.stream(end=False)
        await exchange.say_nothing()

    opened = asyncio.Event()

    async def watch(api: KubeApi) -> None:
        async with aclosing(api.watch(NODES, {}, opened=opened.set)) as lines:
            async for _ in lines:
                pass

    async with connected(quiet, tmp_path) as (api, _):
        task = asyncio.create_task(watch(api))
        await asyncio.wait_for(opened.wait(), 5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_refused_watch_is_typed(tmp_path: Path) -> None:
    async def missing(exchange: Exchange) -> None:
        await exchange.answer(404, b"404 page not found\n")

    async with connected(missing, tmp_path) as (api, _):
        with pytest.raises(NotFound, match="404 page not found"):
            await watched(api, [])


@pytest.mark.timeout(20)
async def test_a_kubeconfig_that_names_another_server_is_followed(tmp_path: Path) -> None:
    async with connected(a_thing, tmp_path) as (api, old), serving(a_thing) as new:
        await api.get(NODES, Thing)
        kubeconfig(tmp_path / "config", new.url)
        while not new.requests:
            await api.get(NODES, Thing)
        asked = len(old.requests)
        await api.get(NODES, Thing)
        assert len(old.requests) == asked


@pytest.mark.timeout(20)
async def test_a_kubeconfig_that_is_unusable_for_a_moment_leaves_the_connection_alone(tmp_path: Path) -> None:
    async with connected(a_thing, tmp_path) as (api, _):
        await api.get(NODES, Thing)
        (tmp_path / "config").write_text("{")
        with capture_logs() as lines:
            while not lines:
                assert await api.get(NODES, Thing) == Thing("thing")
        assert lines[0]["event"] == "keeping the old credentials"


async def test_a_kubeconfig_that_never_worked_is_named(tmp_path: Path) -> None:
    async with KubeApi.connect(tmp_path / "nowhere", user_agent="t") as api:
        with pytest.raises(BadKubeconfig, match="nowhere"):
            await api.get(NODES, Thing)


async def test_the_token_is_in_no_error_and_no_log(tmp_path: Path) -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.answer(401, b'{"reason":"Unauthorized","message":"Unauthorized"}')

    async with connected(refuses, tmp_path) as (api, _):
        with capture_logs() as lines, pytest.raises(KubeError) as refused:
            await api.get(NODES, Thing)
        assert TOKEN not in f"{refused.value!r} {refused.value.__cause__!r} {vars(refused.value)} {lines} {api!r}"


async def test_calls_are_counted_by_verb_resource_and_code(tmp_path: Path) -> None:
    def counted(code: str) -> float:
        labels = {"verb": "patch", "resource": "nodes/status", "code": code}
        return REGISTRY.get_sample_value("kube_upgrade_api_calls_total", labels) or 0.0

    before = counted("200"), counted("unreachable")
    async with connected(a_thing, tmp_path) as (api, _):
        await api.patch(f"{node('n1')}/status", {}, Thing)
    async with connected(hangs_up, tmp_path) as (api, _):
        with pytest.raises(Unreachable):
            await api.patch(f"{node('n1')}/status", {}, Thing)
    assert (counted("200"), counted("unreachable")) == (before[0] + 1, before[1] + 1)
