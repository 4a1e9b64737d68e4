"""One leader that may die after any request, in any weather: the bounds hold at every revision, and it ends.

The bounds are support/bounds.py's, checked as each write lands; they share no rule with the controller.
"""

from dataclasses import replace
from datetime import timedelta

import msgspec
from hypothesis import event, given, note
from hypothesis import strategies as st

from kube_upgrade.core.rollout.decide import decide, imagine_started
from kube_upgrade.core.rollout.fleet import survey
from kube_upgrade.core.rollout.gates import first_hold, start_hold
from kube_upgrade.core.rollout.order import candidates
from kube_upgrade.kube.wire.plan import to_plan
from kube_upgrade.kube.wire.rules import DURATION
from kube_upgrade.kube.wire.schema import PlanObject
from kube_upgrade.model.action import Decision
from kube_upgrade.model.moment import time_or_none
from kube_upgrade.model.node import NodeStatus
from kube_upgrade.model.status import PlanStatus
from support.bounds import Bounds
from support.builders import a_claim, a_node, control_planes_done, said, upgraded
from support.plan_cases import SMALLEST, changed, manifest
from support.weather import ACTS, PATIENT, Act, act, clear_up, worlds
from support.world import World, carry_out

CALM = ["step", "all step", "time"]
which, how = st.integers(0, 9), st.integers(0, 7)
# The leader and the daemons get most of the turns, else little is under way when the weather comes.
names = st.sampled_from(["lead"] * 12 + ["all step"] * 6 + ["step"] * 6 + sorted(ACTS))
acts = st.lists(st.tuples(names, which, how), min_size=20, max_size=80)
calm_acts = st.lists(st.tuples(st.sampled_from(["lead", *CALM]), which, how), min_size=20, max_size=120)


def lead(world: World, bounds: Bounds, requests: int | None = None) -> Decision:
    """One look, and what follows from it until the process dies after so many requests."""
    seen = world.snapshot()
    decision = decide(seen)
    bounds.seen_by = seen
    for number, done in enumerate(carry_out(world, seen, decision), 1):
        note(f"  {done}")
        if number == requests:
            break
    bounds.seen_by = None
    return decision


def perform(world: World, bounds: Bounds, script: list[Act]) -> None:
    for name, node, variant in script:
        note(f"{world.now:%H:%M:%S} {name} {node} {variant}")
        if name == "lead":
            lead(world, bounds, requests=variant or None)
        else:
            act(world, name, node, variant)
        world.now += timedelta(seconds=1)


def come_to_rest(world: World, bounds: Bounds, rounds: int = 600) -> Decision:
    """Let the controller and all daemons go on until nothing moves and nothing will."""
    for _ in range(rounds):
        decision = lead(world, bounds)
        moved = [said for name in sorted(world.machines) if (said := world.machines[name].step())]
        world.now += timedelta(seconds=1)
        if decision.actions or moved:
            continue
        if decision.wake_at is None:
            return decision
        world.now = max(world.now, decision.wake_at)
    raise AssertionError(f"no rest after {rounds} rounds: {world.plan.status}")


@PATIENT
@given(worlds(), acts)
def test_bounds_hold_in_any_weather_and_it_converges_when_nothing_is_held(world: World, script: list[Act]) -> None:
    bounds = Bounds(world)
    perform(world, bounds, script)
    event(f"orders before it cleared up: {min(len(bounds.orders), 3)}")
    clear_up(world)
    come_to_rest(world, bounds)
    assert world.plan.status.summary == "Complete", world.plan.status
    assert all(node.kubelet == world.plan.version and not node.unschedulable for node in world.nodes.values())


@PATIENT
@given(worlds(), calm_acts)
def test_without_bad_weather_no_node_is_taken_out_twice(world: World, script: list[Act]) -> None:
    """Once per hop at most, and never without having been claimed."""
    bounds = Bounds(world)
    perform(world, bounds, script)
    come_to_rest(world, bounds)
    assert world.plan.status.summary == "Complete"
    assert len(bounds.orders) == len(set(bounds.orders))
    assert len(world.plan.status.history) == 1


@PATIENT
@given(worlds(), acts)
def test_where_nothing_can_happen_any_more_somebody_reads_why(world: World, script: list[Act]) -> None:
    bounds = Bounds(world)
    perform(world, bounds, script)
    decision = come_to_rest(world, bounds)
    degraded = any(each.type == "Degraded" and each.status for each in decision.status.conditions)
    assert decision.status.summary == "Complete" or decision.holds or degraded, decision.status


@PATIENT
@given(worlds(), acts)
def test_at_rest_no_node_waits_without_a_word_about_it(world: World, script: list[Act]) -> None:
    """Liveness, node by node: who is behind this hop, or not Ready, has a hold of its own or failed for all to see.

    Who has made the hop waits for these. So do workers that may skip it.
    """
    bounds = Bounds(world)
    perform(world, bounds, script)
    decision = come_to_rest(world, bounds)
    degraded = any(each.type == "Degraded" and each.status for each in decision.status.conditions)
    last = world.plan.version
    hop = decision.hop or last
    waiting = {
        name: node
        for name, node in world.nodes.items()
        if any(group.selector.matches(node.labels) for group in world.plan.groups)
        and not (node.ready and node.kubelet and node.kubelet >= hop)
        and not (world.plan.workers_skip_hops and hop != last and not node.control_plane)
    }
    event(f"waiting at rest: {min(len(waiting), 3)}")
    failed = {name for name, node in waiting.items() if node.report.status is NodeStatus.ERROR and degraded}
    assert waiting.keys() - decision.holds.keys() - failed == set(), decision.status


@PATIENT
@given(worlds(), acts)
def test_a_decision_is_total_and_repeats_itself(world: World, script: list[Act]) -> None:
    bounds = Bounds(world)
    perform(world, bounds, script)
    seen = world.snapshot()
    decision = decide(seen)
    assert decide(seen) == decision
    settled = replace(seen, plan=replace(seen.plan, status=decision.status))
    assert decide(settled).status.conditions == decide(settled).status.conditions
    counts = decision.status.nodes
    assert counts.total == counts.completed + counts.in_flight + counts.failed + counts.waiting


durations = st.sampled_from(["99999999h", "8760h", "0s"]) | st.from_regex(DURATION, fullmatch=True)
moments = st.sampled_from(["9999-12-31T23:59:59.999999Z", "8999-12-31T23:59:59.999999Z"]) | st.datetimes().map(
    "{}Z".format
)


@given(durations, durations, moments, st.sampled_from(NodeStatus), st.booleans())
def test_whatever_a_plan_or_a_node_says_of_time_there_is_a_decision(
    soak: str, deadline: str, moment: str, status: NodeStatus, claimed: bool
) -> None:
    """An API server whose CRD is older lets such durations pass, and a kubelet may annotate its own Node."""
    spec = changed(SMALLEST, {"progressDeadline": deadline, "groups": {"workers": {"soak": soak}}})
    plan = to_plan(msgspec.convert(manifest("cluster", spec), PlanObject))
    at, labels = time_or_none(moment), {"node-role.kubernetes.io/worker": ""}
    busy = a_node("w-1", labels=labels, withdrawn=at, os_updates=moment, **said(status, start_before=at))
    claims = (a_claim("w-1"), a_claim("w-2")) if claimed else ()
    plan = replace(plan, status=PlanStatus(claims=claims))
    snapshot = control_planes_done(
        busy, upgraded("w-2", labels=labels), a_node("w-3", labels=labels, withdrawn=at), plan=plan
    )
    for _ in range(3):
        decision = decide(snapshot)
        snapshot = replace(snapshot, plan=replace(plan, status=decision.status), now=decision.wake_at or snapshot.now)


@PATIENT
@given(worlds(), acts, st.integers(0, 4))
def test_nodes_asked_together_get_the_answer_that_each_would_get_alone(
    world: World, script: list[Act], room: int
) -> None:
    """What is asked once for all ordinary nodes of a group is what the whole chain of gates says of each."""
    perform(world, Bounds(world), script)
    together, alone = survey(world.snapshot()), survey(world.snapshot())
    together.room = alone.room = room
    for node, group in candidates(together):
        hold = start_hold(together, node, group)
        assert hold == first_hold(alone, node, group)
        if hold is None:
            imagine_started(together, node, group)
            imagine_started(alone, node, group)
