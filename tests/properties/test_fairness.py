"""Nobody starves: k-th in line at one of R replicas is served after at most k * R hand-overs of its group."""

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from kube_upgrade.core.fleetlock.slots import Verdict, Wish, ahead, join, leave, release, reserve
from kube_upgrade.fleetlock.queue import PATIENCE_SECONDS, Queue
from kube_upgrade.kube.clock import stop
from kube_upgrade.model.lock import LockGroup
from support.lock_stores import in_memory_leases

T0 = datetime(2026, 11, 24, tzinfo=UTC)
REPLICAS = ("r0", "r1", "r2")


@dataclass
class Client:
    """One that waits, and how many hand-overs it may still see."""

    id: str
    patience: int


@dataclass
class Lines:
    """The group, and who waits at which replica; the rules are asked as queue.py asks them."""

    group: LockGroup
    waiting: dict[str, deque[Client]] = field(default_factory=lambda: {name: deque() for name in REPLICAS})
    served: int = 0

    def ask(self, replica: str) -> str | None:
        """A replica tries for the first of its line. Returns who was served."""
        line = self.waiting[replica]
        if not line:
            return None
        wish = Wish(id=line[0].id, replica=replica, more=len(line) > 1)
        self.group, verdict = reserve(self.group, wish, T0)
        if verdict is not Verdict.TAKEN:
            return None
        return line.popleft().id

    def hand_over(self, order: list[str]) -> None:
        """The holder releases; the replicas hear of it in this order, again and again until one has the slot."""
        self.group = release(self.group, self.group.holders[0].id)
        for client in (each for line in self.waiting.values() for each in line):
            client.patience -= 1
        for _ in REPLICAS:
            for replica in order:
                if self.ask(replica):
                    return

    def arrive(self, replica: str) -> None:
        """One more at the end of this line."""
        self.served += 1
        line = self.waiting[replica]
        line.append(Client(id=f"c{self.served}", patience=(len(line) + 1) * len(REPLICAS)))
        self.ask(replica)


@given(st.lists(st.one_of(st.sampled_from(REPLICAS), st.permutations(REPLICAS)), max_size=60))
def test_the_bound_holds_whatever_the_order_in_which_replicas_hear_of_a_free_slot(
    steps: list[str | list[str]],
) -> None:
    lines = Lines(group=reserve(LockGroup(name="a", slots=1), Wish(id="holder"), T0)[0])
    for step in steps:
        if isinstance(step, str):
            lines.arrive(step)
        elif any(lines.waiting.values()):
            lines.hand_over(list(step))
        assert all(client.patience >= 0 for line in lines.waiting.values() for client in line)
        assert len(lines.group.holders) == 1


def test_a_replica_stands_in_line_once_and_a_guest_who_does_not_wait_nowhere() -> None:
    group = reserve(LockGroup(name="a", slots=1), Wish(id="holder"), T0)[0]
    for replica in ("r1", "r2", "r1", ""):
        group, verdict = reserve(group, Wish(id=f"at {replica}", replica=replica), T0)
        assert verdict is Verdict.FULL
    assert group.waiting == ("r1", "r2")
    assert ahead(group, "r2") == ("r1",)
    assert ahead(group, "r3") == ("r1", "r2")
    assert join(group, "r1") == group
    assert leave(leave(group, "r1"), "r1").waiting == ("r2",)


def test_with_several_slots_free_several_replicas_are_served_at_once() -> None:
    group = LockGroup(name="a", slots=2, waiting=("r1", "r2", "r3"))
    assert reserve(group, Wish(id="x", replica="r3"), T0)[1] is Verdict.QUEUED
    assert reserve(group, Wish(id="x", replica="r2"), T0)[1] is Verdict.TAKEN


async def test_a_dead_replica_in_line_delays_the_others_and_stops_nobody() -> None:
    """Its place in line outlives it; a free slot is left to it for PATIENCE_SECONDS, then it is passed over."""
    place, loop = in_memory_leases(), asyncio.get_running_loop()
    async with place.replica({"a": 1}, lambda: T0) as store:
        await store.reserve("a", Wish(id="holder"))
        await store.reserve("a", Wish(id="gone", replica="dead"))
        await store.release("a", "holder")
        queue = Queue(store, "a", "alive")
        running = asyncio.create_task(queue.run())
        began = loop.time()
        outcome = await queue.take(Wish(id="x"), 5 * PATIENCE_SECONDS)
        await stop(running)

        assert outcome.verdict is Verdict.TAKEN
        assert loop.time() - began >= PATIENCE_SECONDS
        assert (await store.read("a")).waiting == ()


async def test_real_queues_of_three_replicas_take_turns() -> None:
    """Two clients at each; the holder of each moment releases at once. Nobody is served twice before all others."""
    place, served = in_memory_leases(), list[str]()
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(place.replica({"a": 1}, lambda: T0)) for _ in REPLICAS]
        queues = [Queue(store, "a", name) for store, name in zip(stores, REPLICAS, strict=True)]
        running = [asyncio.create_task(queue.run()) for queue in queues]
        await stores[0].reserve("a", Wish(id="holder"))

        async def client(number: int, id: str) -> None:
            outcome = await queues[number].take(Wish(id=id), 30)
            assert outcome.verdict is Verdict.TAKEN
            served.append(REPLICAS[number])
            await stores[number].release("a", id)
            for queue in queues:
                queue.wake()

        clients = [asyncio.create_task(client(n % 3, f"c{n}")) for n in (0, 3, 6, 1, 4, 7, 2, 5, 8)]
        while len((await stores[0].read("a")).waiting) < len(REPLICAS):  # noqa: ASYNC110 - the queues write it
            await asyncio.sleep(0.01)
        await stores[0].release("a", "holder")
        for queue in queues:
            queue.wake()
        await asyncio.gather(*clients)
        for _ in range(100):
            await asyncio.sleep(0)
        await stop(*running)

    assert [sorted(served[n : n + 3]) for n in (0, 3, 6)] == [sorted(REPLICAS)] * 3
