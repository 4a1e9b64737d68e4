"""The copy is what the server holds, whatever happened to the connection meanwhile."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import pytest
from structlog.testing import capture_logs

from kube_upgrade.kube.errors import Gone, KubeError, ServerError, Unreachable
from kube_upgrade.kube.informer import PAGE, Informer
from kube_upgrade.kube.paths import NODES, PODS, node, pods
from kube_upgrade.kube.wire.meta import ObjectMeta
from support.async_memory_api import AsyncMemoryApi, fair_weather
from support.memory_api import MemoryApi

Said = tuple[str, str | None, str | None]  # key, old colour, new colour
PATIENCE = 5.0


class Wire(msgspec.Struct, frozen=True):
    metadata: ObjectMeta


def colour(wire: Wire) -> str:
    return wire.metadata.labels["colour"]


def a_node(name: str, colour: str) -> dict[str, object]:
    return {"metadata": {"name": name, "labels": {"colour": colour}}}


def paint(memory: MemoryApi, name: str, colour: str) -> None:
    memory.patch(node(name), {"metadata": {"labels": {"colour": colour}}})


@dataclass
class Scene:
    """An API with nodes a (red) and b (blue), and an informer of their colours."""

    memory: MemoryApi = field(default_factory=MemoryApi)
    said: "asyncio.Queue[Said]" = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.api = AsyncMemoryApi(self.memory)
        self.memory.create(NODES, a_node("a", "red"))
        self.memory.create(NODES, a_node("b", "blue"))

    @asynccontextmanager
    async def watching(self, api: AsyncMemoryApi | None = None) -> AsyncIterator[Informer[Wire, str]]:
        informer = Informer(
            api or self.api, NODES, type=Wire, value=colour, on_change=lambda *said: self.said.put_nowait(said)
        )
        task = asyncio.create_task(informer.run())
        try:
            await asyncio.wait_for(informer.synced.wait(), PATIENCE)
            yield informer
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def heard(self, count: int) -> list[Said]:
        return [await asyncio.wait_for(self.said.get(), PATIENCE) for _ in range(count)]

    def lists(self) -> int:
        return self.api.requests.count(("get", NODES))

    async def watches(self, count: int) -> None:
        """Wait until this many watches were opened."""
        await asyncio.wait_for(self.api.asked(count, "watch", NODES), PATIENCE)


async def test_what_is_there_is_reported_and_kept() -> None:
    scene = Scene()
    async with scene.watching() as informer:
        assert await scene.heard(2) == [("a", None, "red"), ("b", None, "blue")]
        assert informer.items == {"a": "red", "b": "blue"}
        assert informer.stale_since is None


async def test_changes_are_reported_with_what_was_before() -> None:
    scene = Scene()
    async with scene.watching() as informer:
        await scene.heard(2)
        paint(scene.memory, "a", "green")
        scene.memory.create(NODES, a_node("c", "grey"))
        scene.memory.delete(node("b"))
        assert await scene.heard(3) == [("a", "red", "green"), ("c", None, "grey"), ("b", "blue", None)]
        assert informer.items == {"a": "green", "c": "grey"}


async def test_a_write_that_leaves_the_value_alone_is_not_reported() -> None:
    scene = Scene()
    async with scene.watching():
        await scene.heard(2)
        scene.memory.patch(node("a"), {"metadata": {"annotations": {"unread": "1"}}})
        paint(scene.memory, "b", "green")
        assert await scene.heard(1) == [("b", "blue", "green")]


async def test_namespaced_objects_are_kept_by_namespace_and_name() -> None:
    memory = MemoryApi()
    for namespace in ("x", "y"):
        memory.create(pods(namespace), a_node("web", namespace))
    informer = Informer(AsyncMemoryApi(memory), PODS, type=Wire, value=colour)
    task = asyncio.create_task(informer.run())
    await asyncio.wait_for(informer.synced.wait(), PATIENCE)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert informer.items == {"x/web": "x", "y/web": "y"}


async def test_a_long_list_comes_in_pages() -> None:
    scene = Scene()
    for number in range(PAGE + 10):
        scene.memory.create(NODES, a_node(f"n{number}", "grey"))
    async with scene.watching() as informer:
        assert len(informer.items) == PAGE + 12
        assert scene.lists() == 2


async def test_a_page_token_that_expired_leads_to_one_long_list() -> None:
    scene = Scene()
    for number in range(PAGE + 10):
        scene.memory.create(NODES, a_node(f"n{number}", "grey"))

    def compacts_after_the_first_page(verb: str, path: str) -> None:
        if len(scene.api.requests) == 2:
            scene.memory.compact()

    scene.api.weather = compacts_after_the_first_page
    async with scene.watching() as informer:
        assert len(informer.items) == PAGE + 12
        assert scene.lists() == 3


async def test_a_watch_that_the_server_ends_goes_on_from_where_it_was() -> None:
    scene = Scene()
    async with scene.watching() as informer:
        await scene.watches(1)
        scene.api.break_watches()
        paint(scene.memory, "a", "green")
        await scene.watches(2)
        assert (await scene.heard(3))[2] == ("a", "red", "green")
        assert informer.items["a"] == "green"
        assert scene.lists() == 1


async def test_after_a_410_what_vanished_is_reported_and_no_ghost_stays() -> None:
    scene = Scene()
    async with scene.watching() as informer:
        await scene.heard(2)
        await scene.watches(1)
        scene.api.break_watches(Unreachable("connection reset"))
        scene.memory.delete(node("a"))
        paint(scene.memory, "b", "green")
        scene.memory.create(NODES, a_node("c", "grey"))
        scene.memory.compact()
        said = await scene.heard(3)
        assert said[0] == ("a", "red", None)
        assert sorted(said[1:]) == [("b", "blue", "green"), ("c", None, "grey")]
        assert informer.items == {"b": "green", "c": "grey"}


class ExpiresInTheStream(AsyncMemoryApi):
    """A server that says 410 as an ERROR event of its first watch, not as HTTP status."""

    expired = False

    async def watch(
        self, path: str, params: Mapping[str, str], *, opened: Callable[[], None] | None = None
    ) -> AsyncGenerator[bytes, None]:
        if not self.expired:
            self.expired = True
            self.memory.delete(node("a"))
            self.memory.compact()
            yield b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}'
            return
        async for line in super().watch(path, params, opened=opened):
            yield line


async def test_a_410_inside_the_stream_means_a_new_list_too() -> None:
    scene = Scene()
    async with scene.watching(ExpiresInTheStream(scene.memory)) as informer:
        assert await scene.heard(3) == [("a", None, "red"), ("b", None, "blue"), ("a", "red", None)]
        assert informer.items == {"b": "blue"}


async def test_a_namesake_made_while_nobody_looked_is_reported_as_gone_then_new() -> None:
    scene = Scene()
    async with scene.watching():
        await scene.heard(2)
        await scene.watches(1)
        scene.api.break_watches(Gone(410, "Expired", "too old"))
        scene.memory.delete(node("a"))
        scene.memory.create(NODES, a_node("a", "red"))
        scene.memory.compact()
        assert await scene.heard(2) == [("a", "red", None), ("a", None, "red")]


async def test_while_the_api_is_away_the_copy_says_since_when_it_may_be_old() -> None:
    scene = Scene()
    async with scene.watching() as informer:
        await scene.watches(1)
        contact = informer.last_contact

        def away(verb: str, path: str) -> None:
            raise Unreachable("connection refused")

        scene.api.weather = away
        scene.api.break_watches(Unreachable("connection reset"))
        await scene.watches(2)
        assert informer.stale_since == contact
        assert informer.items == {"a": "red", "b": "blue"}
        scene.api.weather = fair_weather
        paint(scene.memory, "a", "green")
        await scene.heard(3)
        assert informer.stale_since is None


@pytest.mark.parametrize("error", [Unreachable("refused"), ServerError(503, "ServiceUnavailable", "etcd")])
async def test_trouble_is_logged_once_per_kind_and_its_end_too(error: KubeError) -> None:
    scene = Scene()
    troubles = iter([error] * 3)

    def gusty(verb: str, path: str) -> None:
        if trouble := next(troubles, None):
            raise trouble

    scene.api.weather = gusty
    with capture_logs() as lines:
        async with scene.watching():
            pass
    assert [line["event"] for line in lines] == ["watch interrupted", "watching again"]
    assert lines[0]["reason"] == str(error)


async def test_an_object_that_cannot_be_read_stops_the_sync_and_is_named() -> None:
    scene = Scene()
    scene.memory.create(NODES, {"metadata": {"name": "odd", "labels": {"colour": 7}}})
    informer = Informer(scene.api, NODES, type=Wire, value=colour)
    with capture_logs() as lines:
        task = asyncio.create_task(informer.run())
        await asyncio.wait_for(scene.api.asked(2, "get", NODES), PATIENCE)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert not informer.synced.is_set()
    assert "$.metadata.labels[...]" in lines[0]["reason"]


async def test_after_an_outage_a_410_is_answered_by_a_list_without_the_outages_patience() -> None:
    """The server is back: what is missing is a list, and whoever decides on this copy is blind until it comes."""
    scene = Scene()
    troubles: Iterator[KubeError] = iter([Unreachable("refused")] * 2 + [Gone(410, "Expired", "too old")])

    def outage(verb: str, path: str) -> None:
        if trouble := next(troubles, None):
            raise trouble

    with capture_logs() as lines:
        async with scene.watching():
            await scene.watches(1)
            scene.api.weather = outage
            scene.api.break_watches(Unreachable("connection reset"))
            scene.memory.compact()
            await asyncio.wait_for(scene.api.asked(2, "get", NODES), PATIENCE)
    interrupted = [line for line in lines if line["event"] == "watch interrupted"]
    assert interrupted[-1]["reason"] == "410 Expired: too old"
    assert interrupted[-1]["retry_seconds"] <= 0.2


async def test_a_server_that_says_410_over_and_over_is_asked_less_and_less_often() -> None:
    scene = Scene()
    rests: list[float] = []

    def always_expired(verb: str, path: str) -> None:
        if verb == "watch":
            rests.append(time.monotonic())
            raise Gone(410, "Expired", "too old")

    scene.api.weather = always_expired
    async with scene.watching():
        await scene.watches(4)
    gaps = [later - earlier for earlier, later in pairwise(rests)]
    assert gaps[-1] > gaps[0]
    assert scene.lists() == len(rests)
