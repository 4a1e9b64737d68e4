"""Whatever dies, hangs or answers no in between: the rules of one node hold, and it comes to its end.

The rules themselves are asserted by support.node_world, where they would be broken: no kubeadm without the lock, no
reboot with other people's pods, no lock given back before the node is proven well or while it is untouched.
"""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from kube_upgrade.core.node_steps.decide import decide
from kube_upgrade.model.host import Facts, HostRules, Verification
from kube_upgrade.model.node import KubeadmRole, NodeStatus
from kube_upgrade.telemetry import logs
from support.builders import NEW, NOW, OLD
from support.examples import examples
from support.node_world import NEXT, Faults, World, drive

PATIENT = settings(max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.too_slow])
few = st.integers(min_value=0, max_value=3)
outages = st.lists(
    st.tuples(st.integers(0, 400), st.integers(1, 700)).map(lambda t: (float(t[0]), float(t[0] + t[1]))), max_size=2
)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logs.configure("error")


@st.composite
def faults(draw: st.DrawFn) -> Faults:
    return Faults(
        resolve=draw(few),
        stage=draw(few),
        unsigned=draw(few),
        kubeadm=draw(few),
        cut_in_kubeadm=draw(st.integers(0, 1)),
        finalize=draw(st.integers(0, 2)),
        finalize_hangs=draw(st.integers(0, 1)),
        no_reboot=draw(st.integers(0, 1)),
        power_cuts=draw(st.integers(0, 1)),
        busy=draw(few),
        lock_away=draw(few),
        no_other_node=draw(st.booleans()),
        pods_return=draw(st.booleans()),
        api_away=draw(outages),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    control_plane = draw(st.booleans())
    world = World(
        control_plane=control_plane,
        faults=draw(faults()),
        rules=HostRules(
            attempts=20,
            reboot_within=timedelta(minutes=2),
            verify_within=timedelta(hours=3),
            verification=draw(st.sampled_from([None, Verification(keys=("/key.pub",))])),
        ),
        fuses=draw(st.lists(st.integers(1, 40), max_size=6)),
    )
    roles = [KubeadmRole.APPLY, KubeadmRole.NODE, None] if control_plane else [KubeadmRole.NODE, None]
    role = draw(st.sampled_from(roles))
    if role is KubeadmRole.NODE or not control_plane:
        world.cluster_version = NEW
    world.order(role=role)
    return world


@PATIENT
@given(worlds())
def test_every_interleaving_ends_completed_and_released(world: World) -> None:
    assert world.run(until=lambda: world.done), "\n".join([*world.log[-40:], str(world.saved)])
    assert world.proven
    event(f"crashes: {world.crashes}")


@PATIENT
@given(
    worlds(), st.lists(st.tuples(st.integers(0, 60), st.integers(61, 300_000), st.booleans()), min_size=1, max_size=3)
)
def test_a_slot_that_was_freed_behind_the_daemons_back_is_asked_for_again(
    world: World, gaps: list[tuple[int, int, bool]]
) -> None:
    """A Node object that is gone for a minute loses its slot: no first kubeadm and no reboot rests on the old yes."""
    for turns, seconds, off in gaps:
        world.run(until=lambda: world.done, turns=turns)
        world.vanish(seconds, off=off)

    assert world.run(until=lambda: world.done), "\n".join([*world.log[-40:], str(world.saved)])
    assert world.proven


@PATIENT
@given(worlds(), st.integers(0, 300), st.booleans())
def test_a_withdrawn_order_gives_the_lock_back_or_is_brought_to_its_end(world: World, at: int, late: bool) -> None:
    moment = NOW + timedelta(seconds=at)
    world.run(until=lambda: world.now >= moment, turns=500)
    touched = world.touched
    if late and world.node.order is not None:
        world.order(role=world.node.order.kubeadm, start_before=moment - timedelta(seconds=1))
    else:
        world.write(order=None)

    world.run(until=lambda: not world.holder and world.saved.lock is None, turns=1500)
    settled = world.run(until=lambda: False, turns=60) or (not world.holder and world.saved.lock is None)

    assert settled, "\n".join([*world.log[-40:], str(world.saved)])
    if touched:
        assert world.disk.booted_tree.kubernetes == str(NEW)
    elif not late:
        assert world.node.report.status in (NodeStatus.PENDING, NodeStatus.COMPLETED, None)


@PATIENT
@given(worlds())
def test_an_image_that_does_not_boot_is_never_tried_twice_and_a_healthy_node_is_released(world: World) -> None:
    world.faults.falls_back = True

    ended = world.run(until=lambda: world.node.report.status is NodeStatus.ERROR and not world.holder)

    assert ended, "\n".join([*world.log[-40:], str(world.saved)])
    boots = world.disk.boots
    world.run(until=lambda: False, turns=100)
    assert world.disk.boots == boots
    assert world.disk.booted_tree.kubernetes == str(OLD)
    assert "BadImage" in world.node.report.message


@PATIENT
@given(worlds())
def test_a_node_that_never_gets_well_keeps_its_lock(world: World) -> None:
    world.faults.never_ready = True
    world.rules = HostRules(attempts=20, reboot_within=timedelta(minutes=2), verify_within=timedelta(minutes=8))

    ended = world.run(until=lambda: world.node.report.status is NodeStatus.ERROR and world.disk.boots > 1)

    assert ended, "\n".join([*world.log[-40:], str(world.saved)])
    world.run(until=lambda: False, turns=100)
    assert world.holder


@PATIENT
@given(worlds(), st.integers(0, 400), st.booleans(), st.booleans())
def test_an_order_may_change_or_go_at_any_moment_of_a_node_that_does_not_get_well(
    world: World, turns: int, goes: bool, never_ready: bool
) -> None:
    """Its lock comes back with a node that is well, and with no other; the new order is then carried out."""
    world.faults.never_ready = never_ready
    world.rules = HostRules(attempts=3, reboot_within=timedelta(minutes=2), verify_within=timedelta(minutes=5))
    world.run(until=lambda: False, turns=turns)
    world.write(order=None)
    if not goes:
        world.cluster_version = NEXT if world.cluster_version == NEW else world.cluster_version
        role = KubeadmRole.APPLY if world.cluster_version != NEXT and world.control_plane else KubeadmRole.NODE
        world.cluster_version = world.cluster_version if role is KubeadmRole.APPLY else NEXT
        world.order(NEXT, role=role)
    world.run(until=lambda: False, turns=150)
    world.faults.never_ready = False
    world.faults.kubeadm = world.faults.stage = world.faults.resolve = world.faults.finalize = 0
    world.write(retry=NOW.isoformat(), ready=True)

    ended = world.run(until=lambda: (goes or world.done) and not world.holder and world.saved.lock is None)

    assert ended, "\n".join([*world.log[-40:], str(world.saved)])
    if not goes:
        assert world.disk.booted_tree.kubernetes == str(NEXT)


@st.composite
def idle_worlds(draw: st.DrawFn) -> World:
    """Nothing is ordered; the running tag is rebuilt now and then, and looked up every ten minutes."""
    world = World(
        control_plane=draw(st.booleans()),
        os_only=True,
        faults=draw(faults()),
        rules=HostRules(attempts=20, reboot_within=timedelta(minutes=2), verify_within=timedelta(hours=3)),
        fuses=draw(st.lists(st.integers(1, 60), max_size=6)),
    )
    world.config = replace(world.config, check_interval=timedelta(minutes=10))
    return world


@PATIENT
@given(idle_worlds())
def test_without_a_plan_every_new_image_of_the_running_tag_is_found_and_booted(world: World) -> None:
    for build in (2, 3):
        world.rebuild(build)
        assert world.run(until=lambda: world.current), "\n".join([*world.log[-40:], str(world.saved)])
    assert world.node.report.status is None
    boots = world.disk.boots
    world.run(until=lambda: False, turns=50)
    assert world.disk.boots == boots


@PATIENT
@given(idle_worlds(), st.sampled_from(["no", "past", "", "soon"]))
def test_under_a_plan_an_os_update_is_only_staged_until_it_may_take_the_lock(world: World, word: str) -> None:
    said = {"no": "no", "past": NOW.isoformat(), "": None, "soon": (NOW + timedelta(minutes=5)).isoformat()}[word]
    world.write(config={"stream": "registry.test/fcos-k8s"}, os_updates=said)
    new = world.rebuild(2)
    world.run(until=lambda: False, turns=150)
    if word != "soon":
        assert not world.holder
        assert world.disk.booted_tree.digest != new

    world.write(os_updates=(world.now + timedelta(days=30)).isoformat())
    assert world.run(until=lambda: world.current), "\n".join([*world.log[-40:], str(world.saved)])


@PATIENT
@given(idle_worlds(), st.integers(0, 400))
def test_an_os_update_stands_back_for_an_order_and_neither_is_lost(world: World, turns: int) -> None:
    """Whenever the order comes: what was begun ends, then the order, then the lock is given back."""
    world.rebuild(2)
    world.run(until=lambda: False, turns=turns)
    if not world.control_plane:
        world.cluster_version = NEW
    world.order(role=KubeadmRole.APPLY if world.control_plane else KubeadmRole.NODE)

    assert world.run(until=lambda: world.done), "\n".join([*world.log[-40:], str(world.saved)])
    assert world.disk.booted_tree.kubernetes == str(NEW)


@settings(max_examples=examples(50), deadline=None)
@given(worlds(), st.integers(0, 60))
def test_the_step_needs_no_memory(world: World, turns: int) -> None:
    """Kill the process between any two turns: the new one decides the same, except for how long evidence has held."""
    world.fuses.clear()
    for _ in range(turns):
        if world.done:
            return
        world.turn()
    before = decide(drive(world.look(world.state.facts)))
    streak, well = world.streak, world.well
    world.start()
    world.streak, world.well = streak, well

    assert decide(drive(world.look(world.state.facts))) == before


@settings(max_examples=examples(50), deadline=None)
@given(worlds(), st.integers(0, 40))
def test_with_every_fact_lost_nothing_is_broken(world: World, turns: int) -> None:
    """A disk that forgets state.json: the rules still hold, since what can be looked at is looked at."""
    world.fuses.clear()
    for _ in range(turns):
        world.turn()
    world.saved = Facts()
    world.start()

    assert world.run(until=lambda: world.done or world.holder != "", turns=500)
