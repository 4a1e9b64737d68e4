"""What becomes of a node whose pods will not go, whose server died, or whose Node object is gone."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import msgspec
import pytest
from prometheus_client import REGISTRY

from kube_upgrade.core.eviction import DrainPolicy, Overdue
from kube_upgrade.core.fleetlock.protocol import Kind
from kube_upgrade.fleetlock.caretaker import Caretaker
from kube_upgrade.fleetlock.drainer import Drainer
from kube_upgrade.fleetlock.settings import GroupSettings
from kube_upgrade.kube import paths
from kube_upgrade.kube.clock import stop
from kube_upgrade.kube.errors import Forbidden, NotFound, Unreachable
from kube_upgrade.kube.wire.node import DRAIN, write_drain
from kube_upgrade.model.node import Node
from support.async_memory_api import fair_weather
from support.lock_world import SECONDS, LockWorld, Said, pre_reboot, steady_state
from support.virtual_time import VirtualLoop, in_no_time

SHORT = 0.3  # seconds of a deadline


async def a_world(**budgets: str) -> LockWorld:
    """Two nodes, a pod `web` on the first."""
    world = LockWorld(budgets=budgets)
    for name in ("w1", "w2"):
        await world.node(name)
    await world.pod("web", "w1")
    return world


def policy(overdue: Overdue) -> dict[str, GroupSettings]:
    """The group's settings with a short deadline."""
    return {"workers": GroupSettings(policy=DrainPolicy(deadline=SHORT, overdue=overdue))}


async def until(true: Callable[[], bool]) -> None:
    """Return when it is true; TimeoutError after SECONDS."""
    async with asyncio.timeout(SECONDS):
        while not true():  # noqa: ASYNC110 - the state is stored
            await asyncio.sleep(0.005)


def reasons(world: LockWorld) -> list[str]:
    """The reasons of the Events so far."""
    return [said.reason for said in world.said]


def blocked() -> float | None:
    """What the metric says of this pod and budget."""
    return REGISTRY.get_sample_value("fleetlock_drain_blocked", {"node": "w1", "pod": "default/web", "pdb": "web-pdb"})


async def test_what_blocks_is_named_in_answer_event_and_metric_until_it_goes() -> None:
    world = await a_world(web="web-pdb")
    async with world.server() as replica:
        answer = await pre_reboot(replica, "w1")
        assert answer.kind is Kind.DRAIN_BLOCKED
        assert "default/web" in answer.value
        assert "web-pdb" in answer.value
        [event] = world.said
        assert (event.reason, event.regarding.name, event.type) == ("DrainBlocked", "w1", "Warning")
        assert "default/web" in event.note
        assert "web-pdb" in event.note
        assert blocked() == 1.0

        world.budgets.clear()
        await until(lambda: bool((node := world.see("w1")).drain and node.drain.drained))
        assert (await pre_reboot(replica, "w1")).kind is Kind.SUCCESS
        assert blocked() is None
        await steady_state(replica, "w1")
    assert reasons(world) == ["DrainBlocked", "LockGranted", "LockReleased"]


def test_why_the_pods_cannot_be_looked_at_is_told_to_who_waits() -> None:
    """A role that was forgotten: a client told "looking at its pods" for hours would help nobody."""

    async def story() -> None:
        world = await a_world()

        def weather(verb: str, path: str) -> None:
            if path == paths.PODS:
                raise Forbidden(403, "Forbidden", 'pods is forbidden: User "fleetlock" cannot list resource "pods"')

        world.api.weather = weather
        async with world.server(hold_seconds=10.0) as replica:
            answer = await pre_reboot(replica, "w1")
            assert answer.kind is Kind.DRAINING
            assert 'cannot list resource "pods"' in answer.value
            world.api.weather = fair_weather
            assert [(await pre_reboot(replica, "w1")).kind for _ in range(3)][-1] is Kind.SUCCESS

    in_no_time(story)


def test_a_node_that_is_not_ready_for_a_moment_is_no_reason_to_reboot_with_pods() -> None:
    """The only other worker is not Ready: the pod stays, and only a minute later there is no other node."""

    async def story() -> None:
        world = await a_world(web="web-pdb")
        await ready(world, "w2", False)
        async with world.server(hold_seconds=10.0) as replica:
            answers = [(await pre_reboot(replica, "w1")).kind for _ in range(7)]
        assert answers[:5] == [Kind.DRAINING] * 5
        assert answers[6] is Kind.NO_OTHER_NODE

    in_no_time(story)


def test_time_in_which_a_server_stood_still_is_no_time_in_which_a_node_was_away() -> None:
    """Stopped for two minutes, it knows of the nodes what it knew before: it looks for another minute."""

    async def story() -> None:
        world = await a_world(web="web-pdb")
        await ready(world, "w2", False)
        async with world.server(hold_seconds=10.0) as replica:
            assert (await pre_reboot(replica, "w1")).kind is Kind.DRAINING
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop.stand_still(120)
            assert [(await pre_reboot(replica, "w1")).kind for _ in range(5)] == [Kind.DRAINING] * 5

    in_no_time(story)


def test_a_node_that_is_ready_again_takes_the_pods_as_ever() -> None:
    async def story() -> None:
        world = await a_world(web="web-pdb")
        await ready(world, "w2", False)
        async with world.server(hold_seconds=10.0) as replica:
            assert (await pre_reboot(replica, "w1")).kind is Kind.DRAINING
            await ready(world, "w2", True)
            assert [(await pre_reboot(replica, "w1")).kind for _ in range(8)] == [Kind.DRAIN_BLOCKED] * 8

    in_no_time(story)


async def test_two_nodes_that_drain_at_once_are_no_reason_for_each_other() -> None:
    """Two slots, two workers: each pod's budget holds it until the other node is back in service."""
    world = await a_world(web="web-pdb", db="db-pdb")
    await world.pod("db", "w2")
    async with world.server(groups={"workers": GroupSettings(slots=2)}) as replica:
        for _ in range(3):
            for name in ("w1", "w2"):
                assert (await pre_reboot(replica, name)).kind is Kind.DRAIN_BLOCKED


async def ready(world: LockWorld, name: str, true: bool) -> None:
    """What the node controller writes of the node."""
    conditions = [{"type": "Ready", "status": str(true)}]
    await world.api.patch(paths.node_status(name), {"status": {"conditions": conditions}}, msgspec.Raw)


async def test_a_drain_that_is_given_up_leaves_the_node_in_service_and_its_slot_to_the_next() -> None:
    world = await a_world(web="web-pdb")
    async with world.server(groups=policy(Overdue.GIVE_UP), hold_seconds=SECONDS) as replica:
        drained = asyncio.create_task(pre_reboot(replica, "w1"))
        await until(lambda: world.see("w1").unschedulable)
        waiting = asyncio.create_task(pre_reboot(replica, "w2"))
        answer = await drained
        assert answer.kind is Kind.DRAIN_GAVE_UP
        assert answer.retry_after
        assert not world.see("w1").unschedulable
        assert world.see("w1").drain is None
        assert (await waiting).kind is Kind.SUCCESS
    assert world.memory.get(paths.pod("default", "web"))
    [note] = [said.note for said in world.said if said.reason == "DrainGaveUp"]
    assert "default/web" in note
    assert "web-pdb" in note


async def test_a_node_that_was_seen_empty_is_not_taken_back_at_a_deadline() -> None:
    """It may be rebooting on that grant; a pod that came late is only waited for."""
    world = await a_world()
    async with world.server(groups=policy(Overdue.GIVE_UP)) as replica:
        assert (await pre_reboot(replica, "w1")).kind is Kind.SUCCESS
        await world.pod("late", "w1")
        world.budgets["late"] = "late-pdb"
        await asyncio.sleep(2 * SHORT)
        for _ in range(3):
            assert (await pre_reboot(replica, "w1")).kind is Kind.DRAIN_BLOCKED
        assert world.see("w1").unschedulable
        assert (await replica.store.read("workers")).holders


async def test_giving_up_loses_against_another_replica_that_sees_the_node_empty_in_that_moment() -> None:
    """Between the decision and the uncordon the last pod goes and the other replica notes it: nothing is taken back."""
    world = await a_world(web="web-pdb")
    patches = 0

    def weather(verb: str, path: str) -> None:
        nonlocal patches
        patches += (verb, path) == ("patch", paths.node("w1"))
        if patches == 2:  # the cordon was the first, this one would be the uncordon
            patches += 1
            mark = world.see("w1").drain
            assert mark is not None
            note = {"metadata": {"annotations": {DRAIN: write_drain(replace(mark, drained=True))}}}
            world.memory.patch(paths.node("w1"), note)

    dying = world.another_api()
    dying.weather = weather
    async with world.server(api=dying, groups=policy(Overdue.GIVE_UP), hold_seconds=SECONDS) as replica:
        assert (await pre_reboot(replica, "w1")).kind is Kind.DRAIN_BLOCKED  # the last that was heard of it
        assert world.see("w1").unschedulable
        assert (await replica.store.read("workers")).holders


async def test_pods_are_deleted_at_the_deadline_where_the_group_wants_that() -> None:
    world = await a_world(web="web-pdb")
    async with world.server(groups=policy(Overdue.DELETE), hold_seconds=SECONDS) as replica:
        answer = await pre_reboot(replica, "w1")

    assert answer.kind is Kind.SUCCESS
    with pytest.raises(NotFound):
        world.memory.get(paths.pod("default", "web"))
    assert "PodsDeleted" in reasons(world)


async def test_a_pod_that_the_policy_keeps_is_kept_at_the_deadline_too_and_named() -> None:
    """`delete` passes budgets; a bare pod would be lost, and that is for a person to decide."""
    world = await a_world()
    careful = DrainPolicy(bare_pods=False, deadline=SHORT, overdue=Overdue.DELETE)
    async with world.server(groups={"workers": GroupSettings(policy=careful)}) as replica:
        await pre_reboot(replica, "w1")
        await asyncio.sleep(2 * SHORT)
        answer = await pre_reboot(replica, "w1")

    assert answer.kind is Kind.DRAIN_BLOCKED
    assert "default/web" in answer.value
    assert "the policy keeps such pods" in answer.value
    assert world.memory.get(paths.pod("default", "web"))


async def test_without_a_deadline_a_drain_waits_for_ever_and_bare_pods_wait_for_a_person() -> None:
    world = await a_world()
    careful = {"workers": GroupSettings(policy=DrainPolicy(bare_pods=False))}
    async with world.server(groups=careful) as replica:
        answer = await pre_reboot(replica, "w1")

    assert answer.kind is Kind.DRAIN_BLOCKED
    assert "no controller" in answer.value


async def test_the_deadline_goes_on_where_the_last_server_was_killed() -> None:
    """The mark says how long the drain has worked already: the next server gives up at once."""
    world = await a_world(web="web-pdb")
    async with world.server() as replica:
        await pre_reboot(replica, "w1")
    mark = world.see("w1").drain
    assert mark is not None
    await world.mark("w1", replace(mark, spent=3600))
    long = {"workers": GroupSettings(policy=DrainPolicy(deadline=3600.0, overdue=Overdue.GIVE_UP))}
    async with world.server(groups=long) as replica:
        await until(lambda: not world.see("w1").unschedulable)
        await until(lambda: "DrainGaveUp" in reasons(world))


async def test_a_slot_is_freed_after_its_node_was_gone_for_the_grace_time_and_not_before() -> None:
    world = await a_world()
    async with world.server(gone_seconds=0.5) as replica:
        await pre_reboot(replica, "w1")
        began = asyncio.get_running_loop().time()
        await world.api.delete(paths.node("w1"))
        while (await replica.store.read("workers")).holders:  # noqa: ASYNC110 - it is stored
            await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - began >= 0.5
    assert "LockFreed" in reasons(world)


async def test_a_node_that_comes_back_in_time_keeps_its_slot() -> None:
    """Someone deleted the Node object and the kubelet registered again: another uid, the same machine, which asks."""
    world = await a_world()
    async with world.server(gone_seconds=1.0) as replica:
        await pre_reboot(replica, "w1")
        await world.api.delete(paths.node("w1"))
        await world.node("w1")
        cluster = replica.cluster
        assert cluster is not None
        await until(lambda: [node.uid for node in cluster.machines.all() if node.name == "w1"] == [world.see("w1").uid])
        assert (await pre_reboot(replica, "w1")).kind is Kind.SUCCESS
        await asyncio.sleep(1.5)
        assert [holder.node for holder in (await replica.store.read("workers")).holders] == ["w1"]


async def test_a_running_server_takes_over_a_drain_that_notes_nothing_any_more() -> None:
    """It sees a mark that does not change: whoever drained is dead."""
    world = await a_world(web="web-pdb")
    async with world.server() as dead:
        await pre_reboot(dead, "w1")
        group = await dead.store.read("workers")
    announcer = Said(world.said)

    def nodes() -> list[Node]:
        return [world.see("w1"), world.see("w2")]

    drainer = Drainer(api=world.api, store=dead.store, nodes=nodes, announcer=announcer)
    caretaker = Caretaker(
        api=world.api,
        store=dead.store,
        drainer=drainer,
        announcer=announcer,
        nodes=nodes,
        groups=lambda: {"workers": group},
        policy=lambda name: DrainPolicy(),
        gone_seconds=60.0,
        take_over_seconds=0.2,
    )
    running = [asyncio.create_task(drainer.run()), asyncio.create_task(caretaker.run())]
    await until(lambda: drainer.drains("w1"))
    drainer.stop("w1")  # what it resumed at its start: now it watches as one that runs for long
    world.budgets.clear()
    caretaker.wake()
    await until(lambda: bool((node := world.see("w1")).drain and node.drain.drained))
    await stop(*running)


@pytest.mark.parametrize("writes", range(1, 8))
async def test_a_replica_that_dies_after_any_of_its_writes_leaves_work_that_another_finishes(writes: int) -> None:
    """kill -9 between any two writes, seen by who is left: lock, cordon, evict, note it drained, uncordon, release."""
    world = await a_world()
    dying = world.another_api()
    dying.weather = after_writes(writes)
    async with world.server() as alive:
        async with world.server(api=dying) as first:
            for act in (pre_reboot, steady_state):
                await in_vain(act(first, "w1"))
        async with asyncio.timeout(SECONDS):
            while (await pre_reboot(alive, "w1")).status != 200:  # noqa: ASYNC110 - as a client asks
                await asyncio.sleep(0.01)
        node = world.see("w1")
        assert node.unschedulable
        assert node.drain is not None
        with pytest.raises(NotFound):
            world.memory.get(paths.pod("default", "web"))
        assert (await steady_state(alive, "w1")).status == 200
        assert not world.see("w1").unschedulable
        assert (await pre_reboot(alive, "w2")).status == 200


@pytest.mark.parametrize("writes", range(1, 9))
async def test_a_replica_that_dies_while_it_gives_a_drain_up_loses_neither_slot_nor_node(writes: int) -> None:
    """Lock, cordon, refused evictions, uncordon, release: after any of them another server still serves everybody."""
    world = await a_world(web="web-pdb")
    dying = world.another_api()
    dying.weather = after_writes(writes)
    async with world.server(groups=policy(Overdue.GIVE_UP), api=dying, hold_seconds=1.0) as first:
        await in_vain(pre_reboot(first, "w1"))
    async with world.server(groups=policy(Overdue.GIVE_UP), hold_seconds=SECONDS) as alive:
        assert (await pre_reboot(alive, "w1")).kind is Kind.DRAIN_GAVE_UP
        assert not world.see("w1").unschedulable
        assert world.see("w1").drain is None
        assert (await alive.store.read("workers")).holders == ()
        assert (await pre_reboot(alive, "w2")).kind is Kind.SUCCESS


def after_writes(writes: int) -> Callable[[str, str], None]:
    """The connection is dead once so many writes were sent over it: nothing that follows has any effect."""
    sent = 0

    def weather(verb: str, path: str) -> None:
        nonlocal sent
        if sent >= writes:
            raise Unreachable("this process is no more")
        sent += verb not in ("get", "list", "watch")

    return weather


async def in_vain(answer: Awaitable[object]) -> None:
    """Whether the dying replica still answers does not matter."""
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await answer
