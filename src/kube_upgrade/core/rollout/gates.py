"""Why must this node wait? One function per rule, in the order in which they are asked; the first answer counts."""

# GATES at the end of this file is the chain. A gate reads the snapshot's facts from Fleet and answers in a sentence.

from collections.abc import Callable, Iterable
from functools import wraps
from itertools import islice

from kube_upgrade.core.rollout import windows
from kube_upgrade.core.rollout.fleet import Fleet, order_open, ordered, under_way, waiting_order
from kube_upgrade.core.rollout.path import WORKER_SKEW, too_far
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Group
from kube_upgrade.model.status import MAX_CLAIMS, Hold, Reason

Gate = Callable[[Fleet, Node, Group], Hold | None]

_NAMES_SHOWN = 3
_ONCE: set[Gate] = set()  # filled by the decorator below
CLAIMS_FULL = Hold(Reason.BUDGET, f"{MAX_CLAIMS} claims are open, the most one plan may have")
FOREIGN = "another controller overwrites this plan's status: stop it, one of the two must go"


def once(question: Callable[[Fleet], Hold | None]) -> Gate:
    """A gate with the same answer for every node: asked once per snapshot."""

    name = question.__name__

    @wraps(question)
    def gate(fleet: Fleet, node: Node, group: Group) -> Hold | None:
        if name not in fleet.answers:
            fleet.answers[name] = question(fleet)
        return fleet.answers[name]

    _ONCE.add(gate)
    return gate


# --- the same answer for every node -------------------------------------------------------------


@once
def plan_is_active(fleet: Fleet) -> Hold | None:
    """Only the oldest plan acts."""
    if fleet.seen.active_plan:
        return Hold(Reason.ANOTHER_PLAN_ACTIVE, f"plan {fleet.seen.active_plan} is older and active")
    return None


@once
def status_is_ours(fleet: Fleet) -> Hold | None:
    """Another controller writes this plan's status: nothing is started until it has been silent for a while."""
    return Hold(Reason.FOREIGN_CONTROLLER, FOREIGN) if fleet.foreign_until else None


@once
def plan_stands(fleet: Fleet) -> Hold | None:
    """A plan that is being deleted starts nothing."""
    return Hold(Reason.PLAN_DELETED, "the plan is being deleted") if fleet.seen.plan.deleted else None


@once
def plan_is_valid(fleet: Fleet) -> Hold | None:
    """A setting that the API server could not check was wrong."""
    problems = fleet.seen.plan.problems
    return Hold(Reason.INVALID_SETTING, "; ".join(problems)) if problems else None


@once
def plan_not_paused(fleet: Fleet) -> Hold | None:
    """spec.paused."""
    return Hold(Reason.PAUSED, "the plan is paused: spec.paused") if fleet.seen.plan.paused else None


@once
def way_is_known(fleet: Fleet) -> Hold | None:
    """No skipped minor, no downgrade that was not allowed, no unknown API server."""
    return fleet.path.problem


@once
def way_is_legal(fleet: Fleet) -> Hold | None:
    """The same without what may be back in a moment: a kubelet that restarts a static pod replaces its mirror pod."""
    problem = fleet.path.problem
    return None if problem and problem.reason is Reason.VERSION_UNKNOWN else problem


@once
def window_is_open(fleet: Fleet) -> Hold | None:
    """Nodes start only inside a window, if the plan has any."""
    plan = fleet.seen.plan
    if not plan.windows or fleet.window_closes:
        return None
    following = windows.opens_at(plan.windows, fleet.seen.now)
    when = f"the next opens at {following:%Y-%m-%d %H:%M} UTC" if following else "none ever opens"
    return Hold(Reason.OUTSIDE_WINDOW, f"no window is open; {when}")


@once
def no_freeze(fleet: Fleet) -> Hold | None:
    """No node starts in a freeze."""
    freeze = windows.freeze_at(fleet.seen.plan.freezes, fleet.seen.now)
    if freeze is None:
        return None
    why = f" ({freeze.reason})" if freeze.reason else ""
    return Hold(Reason.FREEZE, f"frozen until {freeze.until:%Y-%m-%d %H:%M %Z}{why}")


@once
def api_is_healthy(fleet: Fleet) -> Hold | None:
    """Every API server and etcd member that is not just being upgraded serves."""
    stacked = any(pod.component == "etcd" for pods in fleet.pods.values() for pod in pods)
    needed = ("kube-apiserver", "etcd") if stacked else ("kube-apiserver",)
    for name, pods in fleet.pods.items():
        claim = fleet.claims.get(name)
        if claim and ordered(fleet.nodes[name], claim):
            continue
        serving = {pod.component for pod in pods if pod.ready}
        for component in needed:
            if component not in serving:
                return Hold(Reason.API_UNHEALTHY, f"{component} on {name} is not Ready")
    return None


@once
def apply_can_be_proven(fleet: Fleet) -> Hold | None:
    """Whether `kubeadm upgrade apply` is done stands in kubeadm-config: unread, it is not known who is to apply."""
    trouble = fleet.seen.kubeadm_config_trouble
    why = f"ConfigMap kube-system/kubeadm-config can't be read: {trouble}"
    return Hold(Reason.VERSION_UNKNOWN, why) if trouble else None


@once
def kubelets_can_follow(fleet: Fleet) -> Hold | None:
    """No API server goes where a kubelet, whoever selects its node, would be too far behind: kubeadm refuses it, too.

    Once one is there the others follow: that mends nothing, but API servers may be one minor apart, no more.
    """
    servers = (pod for pods in fleet.pods.values() for pod in pods if pod.component == "kube-apiserver")
    if any(pod.version and pod.version >= fleet.hop for pod in servers):
        return None
    old = [
        f"{node.name} ({node.kubelet})"
        for node in fleet.nodes.values()
        if node.kubelet and fleet.hop.minors_above(node.kubelet) > WORKER_SKEW
    ]
    why = f"kubelets would be more than {WORKER_SKEW} minors behind {fleet.hop}: {_sample(old, len(old))}"
    return Hold(Reason.KUBELET_TOO_OLD, why) if old else None


# --- about one node -----------------------------------------------------------------------------


def window_is_long_enough(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """By what the group's nodes took so far, this one would be done before the window closes or a freeze begins.

    One at a time may begin in the first quarter of a window that no freeze cuts short, whatever was learned.
    """
    until, quarter = fleet.starts_until(group.name), fleet.first_quarter_ends
    if until is None or fleet.seen.now < until:
        return None
    others = fleet.tallies[group.name].claimed.keys() - {node.name, *fleet.failing[group.name]}
    if quarter and fleet.seen.now < quarter and not others:
        return None
    # No seconds that are left: a sentence that changes at each look would be written at each look.
    p90 = fleet.durations[group.name].p90
    why = f"nodes of {group.name} take {p90:.0f} s, longer than is left until {fleet.closes:%H:%M} UTC"
    if quarter and until < quarter:
        why += "; one at a time may begin in a window's first quarter"
    return Hold(Reason.OUTSIDE_WINDOW, why)


def group_not_paused(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """spec.groups.X.paused."""
    return Hold(Reason.PAUSED, f"group {group.name} is paused") if group.paused else None


def node_not_held(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """A person said: leave this node alone."""
    if node.hold is None:
        return None
    return Hold(Reason.NODE_HOLD, f"annotation hold says {node.hold!r}")


def no_stray_order(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """An order that nobody claimed is withdrawn before the node is claimed."""
    if node.name in fleet.claims or not (waiting_order(node) or fleet.rolled_back(node)):
        return None
    return Hold(Reason.ORDER_WITHDRAWN, "an order that no claim stands for is taken back first")


def node_needs_work(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """A node whose versions are there already is not upgraded again: it waits to be well."""
    if order_open(node) or not fleet.path.passed(node.kubelet, fleet.hop):
        return None
    if not node.ready:
        return node_is_ready(fleet, node, group)
    if fleet.is_control_plane(node) and not fleet.pods_lacking(node, fleet.hop) and (pod := fleet.unready_pod(node)):
        return Hold(Reason.API_UNHEALTHY, f"{pod} is not Ready")
    return None


def step_is_allowed(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """The node's own kubelet may make this step."""
    return too_far(fleet.seen.plan, node, fleet.hop, control_plane=fleet.is_control_plane(node))


def control_plane_first(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """One control-plane node at a time, and no worker before every control-plane node is proven."""
    if fleet.is_control_plane(node):
        busy = [name for name in fleet.busy_control_planes if name != node.name]
        return Hold(Reason.CONTROL_PLANE_FIRST, f"control-plane node {busy[0]} is being upgraded") if busy else None
    if not fleet.control_planes_behind:
        return None
    name = fleet.control_planes_behind[0]
    if fleet.group_of(name) is None:
        return unmanaged(fleet, name)
    return Hold(Reason.CONTROL_PLANE_FIRST, f"control-plane node {name} is not proven at {fleet.hop}")


def role_is_known(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """No control-plane node starts before it is known whether it is to apply. Workers never do."""
    return apply_can_be_proven(fleet, node, group) if fleet.is_control_plane(node) else None


def unmanaged(fleet: Fleet, name: str) -> Hold:
    """What is said of a control-plane node that the plan has to wait for and must not touch."""
    why = f"control-plane node {name} is not at {fleet.hop}, and not exactly one group selects it"
    return Hold(Reason.UNMANAGED_CONTROL_PLANE, why)


def quorum_remains(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """Without this node, etcd's healthy members are still a quorum; with one or two members all must be healthy."""
    if not fleet.is_control_plane(node):
        return None
    shown = {pod.node: pod.ready for pods in fleet.pods.values() for pod in pods if pod.component == "etcd"}
    if not shown:
        return None  # external etcd
    members = len(fleet.pods)  # one on each control-plane node, also where its mirror pod is gone
    needed = members // 2 + 1 if members > 2 else members - 1
    healthy = sum(ready and fleet.nodes[name].ready for name, ready in shown.items() if name != node.name)
    if healthy < needed:
        return Hold(Reason.QUORUM_AT_RISK, f"{healthy} other healthy etcd members, {needed} needed")
    return None


def dependencies_done(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """Every node of the groups that this one depends on is proven and has soaked."""
    for name in group.depends_on:
        if waiting := fleet.unsettled[name]:
            return Hold(Reason.DEPENDENCY, f"group {name} is not done: {_sample(waiting, len(waiting))}")
        if not fleet.sizes[name]:
            return Hold(Reason.DEPENDENCY, f"group {name} matches no node")
    return None


def failures_bearable(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """At maxFailures failed nodes the group starts no further one."""
    failing = fleet.failing[group.name]
    if len(failing) >= group.max_failures:
        names = _sample(failing, len(failing))
        return Hold(Reason.TOO_MANY_FAILURES, f"{names} failed; maxFailures is {group.max_failures}")
    return None


def node_is_ready(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """A node that is not Ready never starts: nothing could tell its upgrade's harm from its illness."""
    return None if node.ready else Hold(Reason.NODE_NOT_READY, "the node is not Ready")


def soak_is_over(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """A finished node stays healthy for the group's soak before the next one starts."""
    soaking = fleet.soaking[group.name]
    if not soaking:
        return None
    until = max(soaking.values())
    return Hold(Reason.SOAKING, f"{_sample(soaking, len(soaking))} must stay healthy until {until:%H:%M:%S} UTC")


def budget_allows(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """Claimed, cordoned and not-Ready nodes together stay within maxUnavailable. A cordoned node adds nothing."""
    tally, name = fleet.tallies[group.name], node.name
    outsider = name not in tally.claimed and name not in tally.out
    if outsider and tally.full:
        return tally.full
    used = tally.used_without(name)
    if used < tally.allowed:
        return None
    others = (each for each in tally.names() if each != name)
    hold = Hold(Reason.BUDGET, f"{used} of {tally.allowed} out of service: {_sample(others, used)}")
    tally.full = hold if outsider else tally.full
    return hold


def claims_have_room(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """A plan's status holds so many claims and no more: past that, nodes wait for the first to be released."""
    return None if fleet.room > 0 else CLAIMS_FULL


GATES: tuple[Gate, ...] = (
    status_is_ours,
    plan_is_active,
    plan_stands,
    plan_not_paused,
    group_not_paused,
    node_not_held,
    no_stray_order,
    plan_is_valid,
    way_is_known,
    node_needs_work,
    step_is_allowed,
    kubelets_can_follow,
    window_is_open,
    window_is_long_enough,
    no_freeze,
    api_is_healthy,
    control_plane_first,
    role_is_known,
    quorum_remains,
    dependencies_done,
    failures_bearable,
    soak_is_over,
    node_is_ready,
    budget_allows,
    claims_have_room,
)

# An OS-only update may take the lock where none of these speaks (design: 2.2).
OS_UPDATE_GATES: tuple[Gate, ...] = (
    status_is_ours,
    plan_is_active,
    plan_stands,
    plan_not_paused,
    group_not_paused,
    node_not_held,
    plan_is_valid,
    window_is_open,
    no_freeze,
)

# An order that has not reached kubeadm is taken back where one of these speaks (design: 2.2).
WITHDRAWING: tuple[Gate, ...] = (
    plan_stands,
    plan_not_paused,
    group_not_paused,
    node_not_held,
    plan_is_valid,
    way_is_legal,
    window_is_open,
    no_freeze,
)


def start_hold(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """What `first_hold` says of a start, asked once for all nodes of a group that no gate can tell from one another.

    Starting a node frees nothing: what holds one of them back holds back all that come later.
    """
    if not ordinary(fleet, node):
        return first_hold(fleet, node, group)
    alike = (group.name, node.kubelet)
    hold = fleet.held.get(alike) or first_hold(fleet, node, group)
    if hold:
        fleet.held[alike] = hold
    return hold


def ordinary(fleet: Fleet, node: Node) -> bool:
    """True for a worker about which the gates can ask no more than its group and its kubelet's version."""
    return (
        node.ready
        and not node.unschedulable
        and not under_way(node)
        and not fleet.rolled_back(node)
        and node.hold is None
        and node.name not in fleet.claims
        and not fleet.is_control_plane(node)
    )


def first_hold(fleet: Fleet, node: Node, group: Group, gates: tuple[Gate, ...] = GATES) -> Hold | None:
    """The first reason why this node may not start; None where it may."""
    if id(gates) not in fleet.chains:
        # What is asked once and says nothing needs not be asked again for each of thousands of nodes.
        fleet.chains[id(gates)] = [gate for gate in gates if gate not in _ONCE or gate(fleet, node, group)]
    chain: list[Gate] = fleet.chains[id(gates)]
    for gate in chain:
        if hold := gate(fleet, node, group):
            return hold
    return None


def _sample(names: Iterable[str], count: int) -> str:
    more = count - _NAMES_SHOWN
    return ", ".join(islice(names, _NAMES_SHOWN)) + (f" and {more} more" if more > 0 else "")
