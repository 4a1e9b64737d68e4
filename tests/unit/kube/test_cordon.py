"""A cordon remembers what was there, and only its own is undone."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from kube_upgrade.kube import paths
from kube_upgrade.kube.cordon import PATCH_TRIES, MarkedByAnother, cordon, keep_cordoned, read_node, restore
from kube_upgrade.kube.errors import Conflict, NotFound
from kube_upgrade.kube.wire.node import DRAIN
from kube_upgrade.model.lock import DrainMark
from kube_upgrade.model.node import Node
from support.async_memory_api import AsyncMemoryApi
from support.memory_api import MemoryApi

T0 = datetime(2026, 11, 24, tzinfo=UTC)
MARK = DrainMark(group="workers", id="a", since=T0)
LATER = DrainMark(group="workers", id="a", since=T0 + timedelta(seconds=1))
OTHER = DrainMark(group="others", id="a", since=T0)


async def an_api(*, unschedulable: bool = False) -> AsyncMemoryApi:
    """An API server with node w1."""
    api = AsyncMemoryApi(MemoryApi())
    await api.create(paths.NODES, {"metadata": {"name": "w1"}, "spec": {"unschedulable": unschedulable}}, msgspec.Raw)
    return api


async def spec_and_mark(api: AsyncMemoryApi) -> tuple[bool, DrainMark | None]:
    """Cordoned, and for whom."""
    node = await read_node(api, "w1")
    return node.unschedulable, node.drain


async def test_cordon_and_restore_leave_the_node_as_it_was() -> None:
    api = await an_api()

    assert isinstance(await cordon(api, "w1", MARK), Node)
    assert await spec_and_mark(api) == (True, MARK)
    assert await restore(api, "w1", MARK.same_reservation)
    assert await spec_and_mark(api) == (False, None)
    assert not await restore(api, "w1", MARK.same_reservation)


async def test_an_earlier_cordon_outlives_ours_through_a_second_reservation_too() -> None:
    api = await an_api(unschedulable=True)

    await cordon(api, "w1", MARK)
    node = await cordon(api, "w1", LATER)
    assert isinstance(node, Node)
    assert node.drain is not None
    assert (node.drain.since, node.drain.cordoned_before) == (LATER.since, True)

    await restore(api, "w1", LATER.same_reservation)
    assert await spec_and_mark(api) == (True, None)


async def test_cordoning_twice_writes_once() -> None:
    api = await an_api()
    await cordon(api, "w1", MARK)
    version = api.memory.version
    await cordon(api, "w1", MARK)

    assert api.memory.version == version


async def test_the_mark_of_another_reservation_is_neither_taken_over_nor_undone() -> None:
    api = await an_api()
    await cordon(api, "w1", OTHER)

    assert await cordon(api, "w1", MARK) == MarkedByAnother(OTHER)
    assert not await restore(api, "w1", MARK.same_reservation)
    assert await spec_and_mark(api) == (True, OTHER)


async def test_a_lifted_cordon_is_put_back_only_while_the_mark_stands() -> None:
    api = await an_api()
    await cordon(api, "w1", MARK)
    await api.patch(paths.node("w1"), {"spec": {"unschedulable": None}}, msgspec.Raw)
    assert await keep_cordoned(api, "w1", MARK)
    assert await spec_and_mark(api) == (True, MARK)

    await restore(api, "w1", MARK.same_reservation)
    assert not await keep_cordoned(api, "w1", MARK)
    assert await spec_and_mark(api) == (False, None)


async def test_an_unreadable_mark_counts_as_none() -> None:
    api = await an_api()
    await api.patch(paths.node("w1"), {"metadata": {"annotations": {DRAIN: "?"}}}, msgspec.Raw)
    await cordon(api, "w1", MARK)

    assert await spec_and_mark(api) == (True, MARK)


async def test_conflicts_are_retried_and_not_for_ever() -> None:
    api = await an_api()
    left = [PATCH_TRIES - 1]

    def busy(verb: str, path: str) -> None:
        if verb == "patch" and left[0]:
            left[0] -= 1
            raise Conflict(409, "Conflict", "the object has been modified")

    api.weather = busy
    assert isinstance(await cordon(api, "w1", MARK), Node)

    left[0] = PATCH_TRIES
    with pytest.raises(Conflict):
        await restore(api, "w1", MARK.same_reservation)


async def test_a_node_that_is_gone_needs_no_uncordon() -> None:
    api = AsyncMemoryApi(MemoryApi())

    assert not await restore(api, "gone", MARK.same_reservation)
    assert not await keep_cordoned(api, "gone", MARK)
    with pytest.raises(NotFound):
        await cordon(api, "gone", MARK)
