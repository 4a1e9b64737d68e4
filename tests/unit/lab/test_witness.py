"""The judge's eyes see every revision, or say that they may have missed one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kube_upgrade.kube import paths
from kube_upgrade.kube.errors import Gone, KubeError, TooManyRequests, Unreachable
from kube_upgrade.lab.history import History
from kube_upgrade.lab.witness import Witness
from kube_upgrade.model.node import Node
from support.async_memory_api import AsyncMemoryApi
from support.histories import START
from support.memory_api import MemoryApi

PATIENCE = 10.0


class Scene:
    """One node and a witness that watches it."""

    def __init__(self) -> None:
        self.memory = MemoryApi()
        self.api = AsyncMemoryApi(self.memory)
        self.memory.create(paths.NODES, {"metadata": {"name": "w-1"}})
        self.witness = Witness(api=self.api, now=lambda: START)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Both watches stand."""
        async with self.witness.watching(), asyncio.timeout(PATIENCE):
            await self.api.asked(1, "watch", paths.NODES)
            await self.api.asked(1, "watch", paths.PLANS)
            yield

    def cordon(self, *, unschedulable: bool) -> str:
        """One more revision; its number."""
        self.memory.patch(paths.node("w-1"), {"spec": {"unschedulable": unschedulable}})
        return self.memory.version

    async def seen(self, number: str) -> History:
        """The history once it reaches this revision."""
        while not any(str(each.number) == number for each in self.witness.seen):
            await self.witness.moved.wait()
            await asyncio.sleep(0)
        return self.witness.history()


def cordons(history: History) -> list[bool]:
    return [each.subject.unschedulable for each in history.in_order() if isinstance(each.subject, Node)]


async def test_what_was_there_before_and_every_change_is_recorded() -> None:
    scene = Scene()
    async with scene.watching():
        scene.cordon(unschedulable=True)
        history = await scene.seen(scene.cordon(unschedulable=False))
    assert cordons(history) == [False, True, False]
    assert history.gaps == ()


async def broken(error: KubeError | None) -> History:
    """A watch that breaks, and changes while it is away."""
    scene = Scene()
    async with scene.watching():
        await scene.seen(scene.cordon(unschedulable=True))
        scene.api.break_watches(error)
        scene.cordon(unschedulable=False)
        return await scene.seen(scene.cordon(unschedulable=True))


async def test_a_watch_that_the_server_ends_goes_on_without_loss() -> None:
    history = await broken(None)
    assert cordons(history) == [False, True, False, True]
    assert history.gaps == ()


async def test_a_watch_that_breaks_goes_on_without_loss() -> None:
    history = await broken(Unreachable("reset"))
    assert cordons(history) == [False, True, False, True]
    assert history.gaps == ()


async def test_after_an_outage_every_revision_of_it_is_asked_for_and_nothing_is_missing() -> None:
    """A server that starts anew answers the next watch with a 410; what happened meanwhile is still in etcd."""
    scene = Scene()
    async with scene.watching():
        await scene.seen(scene.cordon(unschedulable=True))
        scene.api.break_watches(Unreachable("refused"))
        scene.cordon(unschedulable=False)
        scene.memory.delete(paths.node("w-1"))
        scene.memory.create(paths.NODES, {"metadata": {"name": "w-1"}})
        scene.memory.create(paths.NODES, {"metadata": {"name": "w-2"}})
        scene.memory.delete(paths.node("w-2"))
        scene.memory.restart()
        history = await scene.seen(scene.cordon(unschedulable=True))

    assert history.gaps == ()
    assert scene.witness.filled >= 7
    assert [(int(each.number), each.deleted) for each in history.in_order()] == [
        (2, False), (3, False), (4, False), (5, True), (6, False), (7, False), (8, True), (9, False),
    ]  # fmt: skip
    assert set(scene.witness.world.nodes) == {"w-1"}


async def test_what_etcd_has_forgotten_too_is_a_gap_and_the_watch_goes_on_from_a_new_list() -> None:
    scene = Scene()
    async with scene.watching():
        await scene.seen(scene.cordon(unschedulable=True))
        scene.api.break_watches(Unreachable("reset"))
        scene.cordon(unschedulable=False)
        number = scene.cordon(unschedulable=True)
        scene.memory.compact()
        history = await scene.seen(number)
    assert len(history.gaps) == 2, "one for each kind"
    assert all("410" in gap for gap in history.gaps)


async def test_a_server_that_is_behind_what_was_seen_is_a_gap() -> None:
    """etcd came back from a snapshot: what was seen after it never was."""
    scene = Scene()
    async with scene.watching():
        scene.cordon(unschedulable=True)
        await scene.seen(scene.cordon(unschedulable=False))
        scene.api.memory = MemoryApi()
        scene.api.memory.create(paths.NODES, {"metadata": {"name": "w-1"}})
        scene.api.break_watches(Gone(410, "Expired", "too old resource version"))
        await scene.api.asked(2, "watch", paths.NODES)
    (gap,) = scene.witness.gaps
    assert gap == f"{paths.NODES}: 410 Expired: too old resource version; the server is at 2"


async def test_where_etcd_was_put_back_another_history_begins_from_what_is_there_then() -> None:
    scene = Scene()
    async with scene.watching():
        await scene.seen(scene.cordon(unschedulable=True))
        scene.api.break_watches(Unreachable("refused"))

        async def way_back() -> None:
            scene.memory = scene.api.memory = MemoryApi()
            scene.memory.create(paths.NODES, {"metadata": {"name": "w-1"}})

        await scene.witness.put_back(way_back())
        assert set(scene.witness.world.nodes) == {"w-1"}
        history = await scene.seen(scene.cordon(unschedulable=True))
    (past,) = scene.witness.past
    assert cordons(past) == [False, True]
    assert cordons(history) == [True]
    assert [node.unschedulable for node in history.start.nodes.values()] == [False]
    assert (past.gaps, history.gaps) == ((), ())


async def test_a_deleted_node_is_recorded_as_deleted() -> None:
    scene = Scene()
    async with scene.watching():
        scene.memory.delete(paths.node("w-1"))
        history = await scene.seen(scene.memory.version)
    assert history.in_order()[-1].deleted
    assert scene.witness.world.nodes == {}


async def test_a_kind_whose_storage_is_still_set_up_is_listed_again() -> None:
    scene, refusals = Scene(), iter(range(2))

    def starting(verb: str, path: str) -> None:
        if (verb, path) == ("get", paths.PLANS) and next(refusals, None) is not None:
            raise TooManyRequests(429, "TooManyRequests", "storage is (re)initializing")

    scene.api.weather = starting
    async with scene.watching():
        history = await scene.seen(scene.cordon(unschedulable=True))
    assert cordons(history) == [False, True]
    assert history.gaps == ()
