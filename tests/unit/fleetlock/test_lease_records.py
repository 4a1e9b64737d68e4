"""The Kubernetes store looks at its informer's copy first, and an old copy harms nobody."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import UTC, datetime

from kube_upgrade.core.fleetlock.slots import Verdict, Wish
from kube_upgrade.fleetlock.stores.kubernetes import LeaseRecords
from kube_upgrade.fleetlock.stores.store import LockStore
from kube_upgrade.kube import paths
from support.async_memory_api import AsyncMemoryApi
from support.lock_stores import running
from support.memory_api import MemoryApi

T0 = datetime(2026, 11, 24, tzinfo=UTC)
LEASE = paths.lease("locks", "fleetlock-group-a")


class Deaf(AsyncMemoryApi):
    """A server whose watches never say a thing."""

    async def watch(
        self, path: str, params: Mapping[str, str], *, opened: Callable[[], None] | None = None
    ) -> AsyncGenerator[bytes, None]:
        if opened is not None:
            opened()
        await asyncio.Event().wait()
        yield b""


def now() -> datetime:
    """It stands still."""
    return T0


async def test_a_slot_costs_one_write_and_no_read_where_the_copy_is_new() -> None:
    api = AsyncMemoryApi(MemoryApi())
    async with running(LeaseRecords(api, "locks", {"a": 1})) as records:
        store = LockStore(records, now)
        await store.reserve("a", Wish(id="x"))
        await store.release("a", "x")
        before = len(api.requests)

        assert (await store.reserve("a", Wish(id="y"))).verdict is Verdict.TAKEN

        assert api.requests[before:] == [("update", LEASE)]


async def test_an_old_copy_loses_its_compare_and_swap_and_is_read_anew() -> None:
    """Another replica took the slot, and the watch has not told yet."""
    memory = MemoryApi()
    deaf, quick = AsyncMemoryApi(memory), AsyncMemoryApi(memory)
    async with running(LeaseRecords(deaf, "locks", {"a": 2})) as records:
        here, there = LockStore(records, now), LockStore(LeaseRecords(quick, "locks", {"a": 2}), now)
        await here.reserve("a", Wish(id="x"))
        await there.reserve("a", Wish(id="y"))

        assert (await here.reserve("a", Wish(id="z"))).verdict is Verdict.FULL


async def test_a_lease_that_somebody_deleted_is_not_remembered() -> None:
    api = AsyncMemoryApi(MemoryApi())
    async with running(LeaseRecords(api, "locks", {"a": 1})) as records:
        store = LockStore(records, now)
        await store.reserve("a", Wish(id="x"))
        await api.delete(LEASE)
        async with asyncio.timeout(10):
            while records.groups()["a"].holders:  # noqa: ASYNC110 - the watch tells
                await asyncio.sleep(0)

        assert (await store.reserve("a", Wish(id="y"))).verdict is Verdict.TAKEN


async def test_an_old_copy_is_no_reason_to_refuse() -> None:
    """Another replica freed the slot, and the watch has not told yet."""
    memory = MemoryApi()
    deaf, quick = Deaf(memory), AsyncMemoryApi(memory)
    async with running(LeaseRecords(deaf, "locks", {"a": 1})) as records:
        here, there = LockStore(records, now), LockStore(LeaseRecords(quick, "locks", {"a": 1}), now)
        await here.reserve("a", Wish(id="x"))
        await there.release("a", "x")

        assert (await here.reserve("a", Wish(id="y"))).verdict is Verdict.TAKEN
