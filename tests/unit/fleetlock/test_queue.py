"""Who waits for a slot at one replica: nobody is forgotten, nobody waits for longer than was said."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from kube_upgrade.core.fleetlock.slots import Verdict, Wish
from kube_upgrade.fleetlock.queue import LINGER_SECONDS, MOST_REMEMBERED, REMEMBER_SECONDS, Queue
from kube_upgrade.fleetlock.stores import StoreUnavailable
from kube_upgrade.fleetlock.stores.kubernetes import LeaseRecords
from kube_upgrade.fleetlock.stores.store import LockStore
from kube_upgrade.kube.clock import stop
from kube_upgrade.model.lock import LockGroup
from support.async_memory_api import AsyncMemoryApi
from support.lock_stores import in_memory_leases
from support.memory_api import MemoryApi
from support.virtual_time import in_no_time

T0 = datetime(2026, 11, 24, tzinfo=UTC)
HOLD = 50.0  # the default of holdSeconds
POLL = 330.0  # Zincati asks every 5 minutes and up to a tenth more


def test_a_client_that_asks_every_few_minutes_is_served_by_the_first_hand_over_that_it_is_there_for() -> None:
    """Three others always wait: in its 50 s there is one hand-over, and each time it comes back they would be first."""

    async def story() -> None:
        async with in_memory_leases().replica({"a": 1}, lambda: T0) as store:
            queue = Queue(store, "a", "r")

            async def crowd(id: str) -> None:
                while True:
                    if (await queue.take(Wish(id=id), HOLD)).verdict.holds:
                        await asyncio.sleep(40)
                        await store.release("a", id)
                        queue.wake()

            async def poller() -> int:
                for asked in range(1, 20):
                    if (await queue.take(Wish(id="zincati"), HOLD)).verdict.holds:
                        return asked
                    await asyncio.sleep(POLL)
                return 20

            others = [asyncio.create_task(crowd(f"c{n}")) for n in range(4)]
            running = asyncio.create_task(queue.run())
            await asyncio.sleep(1)
            assert await poller() == 2
            await stop(*others, running)

    in_no_time(story)


@pytest.mark.parametrize(("away", "first"), [(REMEMBER_SECONDS - 1, "old"), (REMEMBER_SECONDS + 1, "new")])
def test_a_place_is_kept_for_ten_minutes(away: float, first: str) -> None:
    async def story() -> None:
        async with in_memory_leases().replica({"a": 1}, lambda: T0) as store:
            queue = Queue(store, "a", "r")
            running = asyncio.create_task(queue.run())
            await store.reserve("a", Wish(id="holder"))
            assert not (await queue.take(Wish(id="old"), 1)).verdict.holds
            await asyncio.sleep(away)
            assert (await store.read("a")).waiting == ()  # whoever is away holds nobody up

            waiting = {id: asyncio.create_task(queue.take(Wish(id=id), HOLD)) for id in ("new", "old")}
            await asyncio.sleep(LINGER_SECONDS)
            await store.release("a", "holder")
            queue.wake()
            await asyncio.wait(waiting.values(), return_when=asyncio.FIRST_COMPLETED)
            assert [id for id, task in waiting.items() if task.done()] == [first]
            await stop(*waiting.values(), running)

    in_no_time(story)


def test_of_very_many_that_went_away_the_first_are_forgotten() -> None:
    async def story() -> None:
        async with in_memory_leases().replica({"a": 1}, lambda: T0) as store:
            queue = Queue(store, "a", "r")
            running = asyncio.create_task(queue.run())
            await store.reserve("a", Wish(id="holder"))
            await asyncio.gather(*(queue.take(Wish(id=f"c{n}"), 1) for n in range(MOST_REMEMBERED + 1)))

            first, last = (asyncio.create_task(queue.take(Wish(id=f"c{n}"), HOLD)) for n in (0, MOST_REMEMBERED))
            await asyncio.sleep(1)
            await store.release("a", "holder")
            queue.wake()
            assert (await last).verdict is Verdict.TAKEN
            assert not first.done()
            await stop(first, running)

    in_no_time(story)


class Away(LeaseRecords):
    """A store that says after ten seconds that it is away."""

    async def change_group(
        self, name: str, change: Callable[[LockGroup], LockGroup], *, lag: bool = False
    ) -> tuple[LockGroup, LockGroup]:
        """No."""
        await asyncio.sleep(10)
        raise StoreUnavailable("no route")


def test_where_the_store_is_away_everybody_is_told_when_the_first_is() -> None:
    """One after the other they would wait for minutes, far beyond what their clients do."""

    async def story() -> None:
        records = Away(AsyncMemoryApi(MemoryApi()), "locks", {"a": 1})
        queue, loop = Queue(LockStore(records, lambda: T0), "a", "r"), asyncio.get_running_loop()
        running = asyncio.create_task(queue.run())

        async def client(id: str) -> float:
            with pytest.raises(StoreUnavailable, match="no route"):
                await queue.take(Wish(id=id), 5)
            return loop.time()

        ends = await asyncio.gather(*(client(f"c{n}") for n in range(20)))
        assert max(ends) < 11
        await stop(running)

    in_no_time(story)
