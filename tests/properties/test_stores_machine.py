"""Every store against one model, step by step: whatever is asked at whichever replica, in whatever order.

Clocks jump, replicas restart with other slots and other groups, requests are cancelled half-way, slots are given back
late. PostgreSQL and SQLite are real.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from kube_upgrade.core.fleetlock.slots import Verdict, Wish
from kube_upgrade.fleetlock.stores import Outcome
from kube_upgrade.fleetlock.stores.store import LockStore
from support.examples import STORE_STORIES, profile
from support.lock_stores import KINDS, Place, in_memory_leases, in_postgres, in_sqlite

T = TypeVar("T")
T0 = datetime(2026, 11, 24, tzinfo=UTC)
REPLICAS = st.integers(0, 2)
GROUPS = st.sampled_from(["a", "B.b"])
IDS = st.sampled_from(["cp1", "cp2", "w1", "w2"])
NEWS = 20  # turns of the loop in which a watch brings what was written
SLOTS = st.fixed_dictionaries({"a": st.integers(1, 3), "B.b": st.integers(1, 2)})


@dataclass
class Kept:
    """The model's holder."""

    since: datetime
    asks: int


class Machine(RuleBasedStateMachine):
    """Three replicas, and what they should say."""

    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.stores: list[LockStore] = []
        self.slots = {"a": 1, "B.b": 1}
        self.now = T0
        self.held: dict[tuple[str, str], Kept] = {}
        self.old: list[tuple[str, str, Kept]] = []
        self.taken: list[tuple[str, Outcome]] = []

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it to its end, and let every replica hear of it."""

        async def heard() -> T:
            result = await work
            for _ in range(NEWS):
                await asyncio.sleep(0)
            return result

        return self.runner.run(heard())

    @initialize(slots=SLOTS)
    def begin(self, slots: dict[str, int]) -> None:
        """A place where nobody holds anything; earlier examples may have used it."""
        self.do(self._open(slots))
        for group in ("a", "B.b"):
            for id in ("cp1", "cp2", "w1", "w2"):
                self.do(self.stores[0].release(group, id))

    async def _open(self, slots: dict[str, int]) -> None:
        self.slots = slots
        await self.stack.aclose()
        self.stores = [await self.stack.enter_async_context(self.place.replica(slots, self._clock)) for _ in range(3)]

    def _clock(self) -> datetime:
        return self.now

    @rule(replica=REPLICAS, group=GROUPS, id=IDS)
    def reserve(self, replica: int, group: str, id: str) -> None:
        """One slot for one id, no more than there are, one control plane at a time."""
        outcome = self.do(self.stores[replica].reserve(group, wish(id)))

        assert outcome.verdict is self._expected(group, id)
        held = self.held.get((group, id))
        if outcome.verdict is Verdict.HELD and held is not None:
            assert outcome.since == held.since
            held.asks += 1
        elif outcome.verdict is Verdict.TAKEN:
            assert outcome.since is not None
            self.held[group, id] = Kept(outcome.since, 1)
            self.taken.append((group, outcome))

    def _expected(self, group: str, id: str) -> Verdict:
        planes = {key for key in self.held if key[1].startswith("cp")}
        if id.startswith("cp") and planes - {(group, id)}:
            return Verdict.CONTROL_PLANE_BUSY
        if (group, id) in self.held:
            return Verdict.HELD
        return Verdict.FULL if self._count(group) >= self.slots[group] else Verdict.TAKEN

    def _count(self, group: str) -> int:
        return sum(of == group for of, _ in self.held)

    @rule(replica=REPLICAS, group=GROUPS, id=IDS)
    def release(self, replica: int, group: str, id: str) -> None:
        """The holder's slot is free; whoever holds nothing changes nothing."""
        gone = self.do(self.stores[replica].release(group, id))

        kept = self.held.pop((group, id), None)
        assert (gone is not None) == (kept is not None)
        if kept is not None:
            self.old.append((group, id, kept))

    @rule(replica=REPLICAS, data=st.data())
    def release_late(self, replica: int, data: st.DataObject) -> None:
        """A release that was meant for an earlier reservation frees no later one."""
        if self.old:
            group, id, kept = data.draw(st.sampled_from(self.old))
            assert self.do(self.stores[replica].release(group, id, kept.since)) is None

    @rule(replica=REPLICAS, data=st.data())
    def give_back(self, replica: int, data: st.DataObject) -> None:
        """For a client that hung up: frees the slot only where nobody asked for it since."""
        if not self.taken:
            return
        group, outcome = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
        holder = outcome.holder
        assert holder is not None
        kept = self.held.get((group, holder.id))
        mine = kept is not None and (kept.since, kept.asks) == (holder.since, holder.asks)
        gone = self.do(self.stores[replica].release(group, holder.id, holder.since, holder.asks))
        assert (gone is not None) == mine
        if mine:
            del self.held[group, holder.id]

    @rule(replica=REPLICAS, group=GROUPS, id=IDS, turns=st.integers(0, 12))
    def break_off(self, replica: int, group: str, id: str, turns: int) -> None:
        """A request is cancelled at some await: the group is as before, or as after."""
        if self._expected(group, id) is not Verdict.TAKEN:
            return
        self.do(_cancelled(lambda: self.stores[replica].reserve(group, wish(id)), turns))
        stored = self.do(self.stores[replica].read(group))
        found = stored.holder(id)
        if found is None:
            assert len(stored.holders) == self._count(group)
            return
        self.do(self.stores[replica].release(group, id))

    @rule(slots=SLOTS)
    def restart(self, slots: dict[str, int]) -> None:
        """All replicas die and come back with another number of slots: no holder is forgotten."""
        self.do(self._open(slots))

    @rule(seconds=st.integers(-86_400, 86_400))
    def jump(self, seconds: int) -> None:
        """The wall clock is set."""
        self.now += timedelta(seconds=seconds)

    @invariant()
    def as_the_model(self) -> None:
        """Every replica reads the same holders, and reservations of a group never share their moment."""
        for store in self.stores:
            for group in ("a", "B.b"):
                stored = self.do(store.read(group))
                expected = {id: kept.since for (of, id), kept in self.held.items() if of == group}
                assert {holder.id: holder.since for holder in stored.holders} == expected

    def teardown(self) -> None:
        """Close what is open."""
        self.do(self.stack.aclose())
        self.runner.close()


def wish(id: str) -> Wish:
    """What this id asks for."""
    return Wish(id=id, node=id, uid=f"uid-{id}", control_plane=id.startswith("cp"))


async def _cancelled(work: Callable[[], Coroutine[Any, Any, Outcome]], turns: int) -> None:
    """Start it, cancel it after some turns of the loop, and let everything that is under way end."""
    task = asyncio.create_task(work())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    await asyncio.sleep(0.02)  # what the store's thread has begun is not cancelled


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(1500)
def test_every_store_does_what_the_model_does(
    kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    match kind:
        case "kubernetes":
            place = in_memory_leases()
        case "sqlite":
            place = in_sqlite(tmp_path_factory.mktemp("locks"))
        case _:
            place = in_postgres(request.getfixturevalue("postgres"))
    run_state_machine_as_test(
        type("MachineHere", (Machine,), {"place": place}),
        settings=settings(
            max_examples=STORE_STORIES.get(profile(), 15),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
