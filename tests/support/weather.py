"""Everything that may happen to a cluster while it is upgraded, as small named acts to be strung together.

An act is (name, which, how): `which` picks a node, `how` a variant, both modulo what there is.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from kube_upgrade.model.moment import time_or_none
from kube_upgrade.model.node import Node, NodeStatus, Order, Report
from kube_upgrade.model.node_config import LONGEST
from kube_upgrade.model.plan import Freeze, Group, Percent, Plan
from kube_upgrade.model.status import PlanStatus
from support.builders import CONTROL_PLANES, NEW, OLD, a_group, a_node, a_plan, having, v
from support.examples import examples
from support.world import World, rebuilt, turn

Act = tuple[str, int, int]
# A whole rollout per example.
PATIENT = settings(max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.too_slow])
VERSIONS = (NEW, v("v1.37.3"), v("v1.37.1"))
BUDGETS = (1, 2, Percent(50), 3)


def _step(world: World, node: Node, how: int) -> None:
    for _ in range(1 + how % 4):
        if world.machines[node.name].step() is None:
            return


def _all_step(world: World, node: Node, how: int) -> None:
    for name in sorted(world.machines):
        world.machines[name].step()


def _sick(world: World, node: Node, how: int) -> None:
    world.patch(node.name, ready=False)


def _well(world: World, node: Node, how: int) -> None:
    if not world.machines[node.name].away:
        world.patch(node.name, ready=True)


def _cordon(world: World, node: Node, how: int) -> None:
    world.patch(node.name, unschedulable=how % 2 == 0)


def _hold(world: World, node: Node, how: int) -> None:
    world.patch(node.name, hold="a person" if how % 2 else None)


def _break_kubeadm(world: World, node: Node, how: int) -> None:
    world.machines[node.name].kubeadm_fails += 1


def _retry(world: World, node: Node, how: int) -> None:
    if node.report.status is NodeStatus.ERROR and node.order:
        world.machines[node.name].retry()


def _reborn(world: World, node: Node, how: int) -> None:
    """A worker is deleted; with odd `how` it is created anew under its name."""
    if node.control_plane or len(world.nodes) < 3:
        return
    world.delete_node(node.name)
    if how % 2:
        world.add_node(rebuilt(node, f"{node.name}-{world.state.revision}"))


def _join(world: World, node: Node, how: int) -> None:
    name = f"w-new{len(world.states)}"
    if len(world.nodes) < 10:
        oldest = min(each.kubelet for each in world.nodes.values() if each.kubelet)
        world.add_node(a_node(name, kubelet=oldest, labels={"pool": "ab"[how % 2]}))


def _relabel(world: World, node: Node, how: int) -> None:
    if not node.control_plane:
        world.patch(node.name, labels={"pool": "abn"[how % 3]})


def _foreign_order(world: World, node: Node, how: int) -> None:
    """Upstream's controller orders without asking."""
    if node.order is None:
        world.patch(node.name, order=Order(version=world.plan.version), report=Report(status=NodeStatus.PENDING))


def _static_pods(world: World, node: Node, how: int) -> None:
    if node.control_plane and not world.machines[node.name].away:
        world.show_pods(node.name, ready=how % 3 != 0)


def _rolled_back(world: World, node: Node, how: int) -> None:
    """A person boots the image before; on a control plane that may bring the manifests of then."""
    ended = node.report.status is NodeStatus.COMPLETED and not world.machines[node.name].away
    if ended and node.kubelet and node.kubelet > OLD:
        world.patch(node.name, kubelet=OLD)
        if node.control_plane and how % 2:
            world.show_pods(node.name, version=OLD, ready=True)


def _withdrawn(world: World, node: Node, how: int) -> None:
    """A kubelet may write what it likes on its own Node: the furthest moment that is read, and the last there is."""
    text = ("8999-12-31T00:00:00Z", "9999-12-31T23:59:59.999999Z")[how % 2]
    world.patch(node.name, withdrawn=time_or_none(text))


def _pause(world: World, node: Node, how: int) -> None:
    world.edit_plan(paused=how % 2 == 0)


def _version(world: World, node: Node, how: int) -> None:
    world.edit_plan(version=VERSIONS[how % len(VERSIONS)])


def _budget(world: World, node: Node, how: int) -> None:
    groups = list(world.plan.groups)
    place = how % len(groups)
    groups[place] = replace(groups[place], max_unavailable=BUDGETS[how // 2 % len(BUDGETS)])
    world.edit_plan(groups=tuple(groups))


def _group(world: World, node: Node, how: int) -> None:
    """The last group goes, or comes back, or is paused."""
    groups = tuple(group for group in world.plan.groups if group.name != "b")
    b = a_group("b", selector=having("pool", "b"), paused=how % 3 == 2)
    world.edit_plan(groups=(*groups, b) if how % 3 else groups)


def _freeze(world: World, node: Node, how: int) -> None:
    freeze = Freeze(since=world.now, until=world.now + timedelta(minutes=1 + how))
    world.edit_plan(freezes=(freeze,) if how % 2 else ())


def _wiped(world: World, node: Node, how: int) -> None:
    """Another controller, or a person, writes a status without our fields."""
    if how % 4 == 0:
        world.edit_plan(status=PlanStatus())


def _time(world: World, node: Node, how: int) -> None:
    world.now += timedelta(seconds=1 + 30 * how)


ACTS: dict[str, Callable[[World, Node, int], None]] = {
    "step": _step,
    "all step": _all_step,
    "sick": _sick,
    "well": _well,
    "cordon": _cordon,
    "hold": _hold,
    "break kubeadm": _break_kubeadm,
    "retry": _retry,
    "reborn": _reborn,
    "join": _join,
    "relabel": _relabel,
    "foreign order": _foreign_order,
    "static pods": _static_pods,
    "rolled back": _rolled_back,
    "withdrawn": _withdrawn,
    "pause": _pause,
    "version": _version,
    "budget": _budget,
    "group": _group,
    "freeze": _freeze,
    "wiped": _wiped,
    "time": _time,
}


def act(world: World, name: str, which: int, how: int) -> None:
    """Let it happen."""
    names = sorted(world.nodes)
    ACTS[name](world, world.nodes[names[which % len(names)]], how)


def clear_up(world: World) -> None:
    """All trouble ends: what people and hardware can mend is mended, nothing is held any more."""
    for name, node in sorted(world.nodes.items()):
        if not node.control_plane and node.labels.get("pool") not in ("a", "b"):
            world.patch(name, labels={"pool": "a"})
    groups = {group.name: replace(group, paused=False, depends_on=()) for group in world.plan.groups}
    groups.setdefault("b", a_group("b", selector=having("pool", "b")))
    groups = {name: group for name, group in groups.items() if any(map(group.selector.matches, _labels(world)))}
    going = [machine.target for machine in world.machines.values()]
    there = [node.kubelet for node in world.nodes.values()]
    newest = max(version for version in (world.plan.version, *going, *there) if version)
    world.edit_plan(paused=False, freezes=(), groups=tuple(groups.values()), version=max(newest, NEW))
    for name, node in sorted(world.nodes.items()):
        machine = world.machines[name]
        machine.kubeadm_fails = 0
        drain = replace(node.drain, cordoned_before=False) if node.drain else None
        world.patch(name, hold=None, ready=not machine.away, unschedulable=drain is not None, drain=drain)
        if node.control_plane and not machine.away:
            world.show_pods(name, ready=True)
        if node.report.status is NodeStatus.ERROR and node.order:
            machine.retry()


def _labels(world: World) -> list[Mapping[str, str]]:
    return [node.labels for node in world.nodes.values()]


budgets = st.sampled_from(BUDGETS)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """One to three control planes, up to five workers in two groups, one or two minors to go, partly gone already."""
    soak = draw(st.sampled_from([timedelta(0)] * 4 + [timedelta(seconds=45)] * 3 + [LONGEST]))
    deadline = draw(st.sampled_from([timedelta(minutes=45)] * 3 + [LONGEST]))
    names = [f"cp-{i}" for i in range(1, 1 + draw(st.sampled_from([1, 2, 3])))]
    groups: list[Group] = [a_group("control-plane", selector=CONTROL_PLANES, soak=soak, max_unavailable=draw(budgets))]
    for name in "ab":
        depends = draw(st.sampled_from([(), (), ("control-plane",), ("a",)])) if name == "b" else ()
        groups.append(
            a_group(
                name,
                selector=having("pool", name),
                max_unavailable=draw(budgets),
                max_failures=draw(st.sampled_from([1, 1, 2])),
                depends_on=depends,
                soak=soak,
            )
        )
    far = draw(st.booleans())
    plan: Plan = a_plan(
        *groups,
        via=(v("v1.36.4"),) if far else (),
        workers_skip_hops=far and draw(st.booleans()),
        progress_deadline=deadline,
    )
    kubelet = v("v1.35.1") if far else v("v1.36.3")
    nodes = [a_node(name, kubelet=kubelet) for name in names]
    pools = ["a", *draw(st.lists(st.sampled_from("aab"), max_size=4))]
    nodes += [a_node(f"w-{i}", kubelet=kubelet, labels={"pool": pool}) for i, pool in enumerate(pools, 1)]
    if "b" not in pools:
        plan = replace(plan, groups=tuple(groups[:-1]))
    world = World(plan, nodes)
    for _ in range(draw(st.integers(0, 30))):  # somewhere on its way
        turn(world)
        for name in sorted(world.machines):
            world.machines[name].step()
        world.now += timedelta(seconds=1)
    return world
