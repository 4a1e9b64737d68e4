"""The Kubernetes store against a model, over any interleaving of two replicas' single API requests.

Clients ask, give back, lose their connection; requests of a replica that died arrive late or never. At every moment no
group has more grants than slots, and no two control-plane nodes are granted together, in whatever groups.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kube_upgrade.core.fleetlock.slots import Wish
from kube_upgrade.fleetlock.stores import Outcome
from kube_upgrade.fleetlock.stores.kubernetes import LeaseRecords
from kube_upgrade.fleetlock.stores.store import LockStore
from kube_upgrade.kube.api import NO_PARAMS
from kube_upgrade.kube.errors import KubeError
from kube_upgrade.model.lock import Holder
from support.async_memory_api import AsyncMemoryApi
from support.examples import examples
from support.memory_api import MemoryApi

T = TypeVar("T")
T0 = datetime(2026, 11, 24, tzinfo=UTC)
SLOTS = {"a": 1, "b": 2}
NODES = {"cp1": True, "cp2": True, "cp3": True, "w1": False, "w2": False}  # name to control plane
EVERYONE = [(node, group) for node in sorted(NODES) for group in sorted(SLOTS)]
DUEL = [("cp1", "a"), ("cp2", "b")]  # the few clients that meet often enough to find the rare orders
QUIET = 12  # turns of the loop after which everything runnable has run


@dataclass
class Gate:
    """Requests that were sent and not yet served; the test decides who is next."""

    pending: list[Callable[[], None]] = field(default_factory=list)

    async def pass_through(self, serve: Callable[[], object], type: type[T]) -> T:
        """Wait to be served. A request whose sender is cancelled is still served when its turn comes."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def served() -> None:
            try:
                result = msgspec.json.decode(msgspec.json.encode(serve()), type=type)
            except KubeError as error:
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(result)

        self.pending.append(served)
        return await answer


class GatedApi(AsyncMemoryApi):
    """The in-memory API behind a gate; only what the store uses."""

    def __init__(self, memory: MemoryApi, gate: Gate) -> None:
        super().__init__(memory)
        self._gate = gate

    async def get(self, path: str, type: type[T], params: Mapping[str, str] = NO_PARAMS) -> T:
        return await self._gate.pass_through(lambda: self.memory.get(path, params), type)

    async def create(self, path: str, body: object, type: type[T]) -> T:
        return await self._gate.pass_through(lambda: self.memory.create(path, body), type)

    async def replace(self, path: str, body: object, type: type[T]) -> T:
        return await self._gate.pass_through(lambda: self.memory.replace(path, body), type)


@dataclass
class World:
    """Two replicas, and what each client (node, group) believes."""

    gate: Gate
    stores: list[LockStore]
    running: dict[tuple[str, str], asyncio.Task[Outcome | Holder | None]] = field(default_factory=dict)
    granted: set[tuple[str, str]] = field(default_factory=set)

    def start(self, replica: int, node: str, group: str, act: str) -> None:
        """A client sends its next request; it makes one at a time."""
        client, store = (node, group), self.stores[replica]
        if act == "reserve":
            wish = Wish(id=node, node=node, uid=f"uid-{node}", control_plane=NODES[node])
            self.running[client] = asyncio.create_task(store.reserve(group, wish))
        else:
            self.granted.discard(client)  # from here on it promises to reboot no more
            self.running[client] = asyncio.create_task(store.release(group, node))

    def lose(self, client: tuple[str, str]) -> None:
        """The connection breaks, or the replica dies, at whatever await it has reached."""
        self.running.pop(client).cancel()

    async def settle(self) -> None:
        """Let everything run that can, and note who was granted what."""
        for _ in range(QUIET):
            await asyncio.sleep(0)
        for client, task in list(self.running.items()):
            if not task.done():
                continue
            del self.running[client]
            result = task.result()
            if not isinstance(result, Outcome):
                continue
            assert result.verdict.holds or client not in self.granted, f"{client} lost its slot"
            if result.verdict.holds:
                self.granted.add(client)

    def check(self) -> None:
        """The two rules."""
        for group, slots in SLOTS.items():
            holders = sorted(node for node, of in self.granted if of == group)
            assert len(holders) <= slots, f"{group}: {holders}"
        planes = sorted({node for node, _ in self.granted if NODES[node]})
        assert len(planes) <= 1, f"control planes out together: {planes}"


def two_replicas(api: AsyncMemoryApi) -> list[LockStore]:
    """Their clocks stand still, which is what a clock that was set back looks like."""
    return [LockStore(LeaseRecords(api, "locks", SLOTS), lambda: T0) for _ in range(2)]


async def interleave(data: st.DataObject, clients: list[tuple[str, str]]) -> World:
    """Any schedule of sends, services and losses."""
    gate, memory = Gate(), MemoryApi()
    api = GatedApi(memory, gate)
    world = World(gate=gate, stores=two_replicas(api))
    for _ in range(data.draw(st.integers(5, 80), label="steps")):
        kinds = ["start"] + ["serve"] * 5 * bool(gate.pending) + ["lose"] * bool(world.running)
        match data.draw(st.sampled_from(kinds)):
            case "start":
                node, group = data.draw(st.sampled_from(clients))
                if (node, group) not in world.running:
                    act = data.draw(st.sampled_from(["reserve", "reserve", "release"]))
                    world.start(data.draw(st.integers(0, 1)), node, group, act)
            case "serve":
                gate.pending.pop(data.draw(st.integers(0, len(gate.pending) - 1)))()
            case "lose":
                world.lose(data.draw(st.sampled_from(sorted(world.running))))
        await world.settle()
        world.check()
    return world


async def calm_down(world: World) -> None:
    """Everything in flight ends, then every client gives back: nothing may stay behind."""
    await serve_all(world)
    for node in NODES:
        for group in SLOTS:
            world.start(0, node, group, "release")
            await serve_all(world)
    for node in NODES:
        for group in SLOTS:
            world.start(1, node, group, "reserve")
            await serve_all(world)
            assert world.granted == {(node, group)}, f"{node} cannot get a slot of {group} in an idle fleet"
            world.start(0, node, group, "release")
            await serve_all(world)


async def serve_all(world: World) -> None:
    """In order, until nothing is in flight."""
    await world.settle()
    while world.gate.pending:
        world.gate.pending.pop(0)()
        await world.settle()


@pytest.mark.parametrize("clients", [EVERYONE, DUEL], ids=["everyone", "duel"])
@given(data=st.data())
@settings(max_examples=examples(50), deadline=None)
def test_no_interleaving_grants_too_much_and_nothing_leaks(clients: list[tuple[str, str]], data: st.DataObject) -> None:
    async def run() -> None:
        world = await interleave(data, clients)
        await calm_down(world)

    asyncio.run(run())


async def test_a_turn_left_behind_goes_to_one_node_even_if_its_old_owner_comes_back_in_between() -> None:
    """cp1 releases and its server dies before it ends the turn; cp2 is about to take it over; cp1 asks again."""
    gate = Gate()
    api = GatedApi(MemoryApi(), gate)
    world = World(gate=gate, stores=two_replicas(api))
    world.start(0, "cp1", "a", "reserve")
    await serve_all(world)
    world.start(0, "cp1", "a", "release")
    for _ in range(3):  # group a read and written, the turn read
        await world.settle()
        gate.pending.pop(0)()
    world.lose(("cp1", "a"))
    await world.settle()
    gate.pending.clear()

    world.start(1, "cp2", "b", "reserve")
    for _ in range(6):  # up to its write of the turn, which waits in the gate
        await world.settle()
        gate.pending.pop(0)()
    await world.settle()
    world.start(0, "cp1", "a", "reserve")
    await world.settle()
    while len(gate.pending) > 1:
        gate.pending.pop(1)()
        await world.settle()
    await serve_all(world)

    world.check()
    assert world.granted == {("cp1", "a")}
