"""What the lock server answers, and what it leaves alone, over an in-memory API server."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from kube_upgrade.core.fleetlock.protocol import Kind
from kube_upgrade.core.fleetlock.slots import Verdict, Wish
from kube_upgrade.fleetlock.caretaker import SETTLE_SECONDS
from kube_upgrade.fleetlock.cluster import STALE_SECONDS
from kube_upgrade.fleetlock.queue import Queue
from kube_upgrade.fleetlock.settings import GroupSettings
from kube_upgrade.kube import paths
from kube_upgrade.kube.errors import Unreachable
from kube_upgrade.kube.wire.node import DRAIN, write_drain
from support.lock_world import SECONDS, LockWorld, node_id, pre_reboot, steady_state


async def test_a_node_that_another_lock_server_drained_is_busy_and_keeps_its_mark() -> None:
    """Two servers with other groups and namespaces: neither takes over, nor undoes, what the other did."""
    world = LockWorld()
    await world.node("w1")
    await world.node("w2")
    one = world.server(namespace="a", groups={"one": GroupSettings()})
    two = world.server(namespace="b", groups={"two": GroupSettings()})
    async with one as first, two as second:
        assert (await pre_reboot(first, "w1", "one")).status == 200
        mark = world.see("w1").drain

        answer = await pre_reboot(second, "w1", "two")

        assert answer.kind is Kind.NODE_BUSY
        assert "one" in answer.value
        assert (await second.store.read("two")).holders == ()
        await steady_state(second, "w1", "two")
        assert world.see("w1").drain == mark
        assert world.see("w1").unschedulable


async def test_a_release_that_stalls_leaves_the_cordon_of_the_next_reservation() -> None:
    """Between its look at the lock and its look at the node, the slot was freed and given to the same machine anew."""
    world = LockWorld()
    await world.node("w1")
    slow = world.another_api()

    def weather(verb: str, path: str) -> None:
        mark = world.see("w1").drain
        if mark is not None and (verb, path) == ("get", paths.node("w1")):
            slow.weather = fair
            note = {DRAIN: write_drain(replace(mark, since=mark.since + timedelta(seconds=1)))}
            world.memory.patch(paths.node("w1"), {"metadata": {"annotations": note}})

    async with world.server(api=slow) as replica:
        assert (await pre_reboot(replica, "w1")).status == 200
        fair, slow.weather = slow.weather, weather
        await steady_state(replica, "w1")
        assert slow.weather is fair
        assert "LockReleased" not in [said.reason for said in world.said]  # no cordon was lifted by it


async def test_a_second_lock_server_with_the_same_groups_leaves_the_firsts_nodes_alone() -> None:
    """Both have a group `workers`; the second finds no reservation for the mark, and it is none of its business."""
    world = LockWorld()
    await world.node("w1")
    await world.node("w2")
    async with world.server(namespace="a") as first, world.server(namespace="b") as second:
        assert (await pre_reboot(first, "w1")).status == 200
        mark = world.see("w1").drain

        assert (await pre_reboot(second, "w1")).kind is Kind.NODE_BUSY
        assert (await steady_state(second, "w1")).status == 200
        assert (await pre_reboot(second, "w2")).status == 200
        await asyncio.sleep(2 * SETTLE_SECONDS)  # its look-out has had news twice

        assert world.see("w1").drain == mark
        assert world.see("w1").unschedulable
        assert (await steady_state(first, "w1")).status == 200
        assert not world.see("w1").unschedulable


async def test_a_copied_machine_id_does_not_release_the_slot_of_the_other_machine() -> None:
    """The copy boots and says, as clients do, that it is back: the first may be in the middle of its upgrade."""
    world = LockWorld()
    await world.node("w1")
    async with world.server() as replica:
        assert (await pre_reboot(replica, "w1")).status == 200
        await world.node("w2", machine="w1")
        cluster = replica.cluster
        assert cluster is not None
        async with asyncio.timeout(SECONDS):
            while len(cluster.machines.find(node_id("w1"))) < 2:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.001)

        answer = await steady_state(replica, "w1")

        assert (answer.status, answer.kind) == (409, Kind.DUPLICATE_ID)
        assert "w1, w2" in answer.value
        assert world.see("w1").unschedulable
        assert (await replica.store.read("workers")).holder(node_id("w1")) is not None
        await world.api.delete(paths.node("w2"))
        async with asyncio.timeout(SECONDS):
            while (await steady_state(replica, "w1")).status != 200:  # noqa: ASYNC110 - as a client asks
                await asyncio.sleep(0.001)
        assert not world.see("w1").unschedulable


@pytest.mark.parametrize(
    ("own", "source", "known"),
    [
        ("10.0.0.2", "10.0.0.2", True),
        ("10.0.0.2", "::ffff:10.0.0.2", True),  # as a socket that listens on :: shows it
        ("10.0.0.2", "10.0.0.20", False),
        ("fd00::2", "fd00:0:0::2", True),
        ("fd00::2", "fd00::3", False),
        ("w1.example", "10.0.0.2", False),
        ("10.0.0.2", "", False),
    ],
)
async def test_an_address_is_the_nodes_however_it_is_written(own: str, source: str, known: bool) -> None:
    world = LockWorld()
    await world.node("w1", address=own)
    async with world.server() as replica:
        cluster = replica.cluster
        assert cluster is not None
        assert cluster.has_address(world.see("w1"), source) == known


async def test_nothing_is_granted_on_a_node_cache_that_is_too_old() -> None:
    """The watch is broken: a node that joined since would be granted without a drain, and without the exclusion."""
    world = LockWorld()
    async with world.server() as replica:

        def weather(verb: str, path: str) -> None:
            if verb in ("watch", "list") or path == paths.NODES:
                raise Unreachable("no route")

        world.api.weather = weather
        world.api.break_watches(Unreachable("reset"))
        cluster = replica.cluster
        assert cluster is not None
        async with asyncio.timeout(SECONDS):
            while (since := cluster.stale_since()) is None:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.001)

        assert cluster.not_ready(at=since + STALE_SECONDS - 1) is None
        missing = cluster.not_ready(at=since + STALE_SECONDS + 1)

    assert missing is not None
    assert "nodes" in missing


async def test_a_slot_that_was_granted_at_another_replica_is_not_given_back_for_a_client_that_left_this_one() -> None:
    """The client hangs up here in the moment it is served, and asks there: the slot is its own."""
    world = LockWorld()
    wish = Wish(id="a")
    async with world.server() as here, world.server() as there:
        queue = Queue(here.store, "workers")
        taken = await here.store.reserve("workers", wish)
        again = await there.store.reserve("workers", wish)
        assert (taken.verdict, again.verdict) == (Verdict.TAKEN, Verdict.HELD)

        await queue.give_back(taken)

        assert (await there.store.read("workers")).holder("a") is not None


async def test_a_slot_taken_for_a_client_that_left_is_given_back() -> None:
    world = LockWorld()
    async with world.server() as here:
        taken = await here.store.reserve("workers", Wish(id="a"))

        await Queue(here.store, "workers").give_back(taken)

        assert (await here.store.read("workers")).holder("a") is None


@pytest.mark.parametrize("name", ["w1", "zincati"])
async def test_what_everyone_may_read_does_not_suffice_to_release(name: str) -> None:
    """Neither the list of holders nor the refusal of another client has the id."""
    world = LockWorld()
    await world.node("w1")
    async with world.server() as replica:
        assert (await pre_reboot(replica, name)).status == 200
        refusal = await pre_reboot(replica, "other")

        shown = msgspec.json.encode(replica.locks(secrets=False)).decode()

        assert node_id(name) not in shown + refusal.value
        assert refusal.kind is Kind.ALL_SLOTS_FULL
        assert node_id(name) in msgspec.json.encode(replica.locks(secrets=True)).decode()


async def test_a_holder_is_shown_with_what_it_wants_its_slot_for() -> None:
    world = LockWorld()
    await world.node("w1", order="v1.37.2")
    await world.node("w2")
    async with world.server(groups={"workers": GroupSettings(slots=2)}) as replica:
        for name in ("w1", "w2"):
            assert (await pre_reboot(replica, name)).status == 200
        holders = replica.locks(secrets=False)["groups"]["workers"]["holders"]

    assert [(one["who"], one["reason"]) for one in holders] == [("w1", "upgrade to v1.37.2"), ("w2", "reboot")]
