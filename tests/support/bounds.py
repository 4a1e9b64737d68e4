"""The bounds of design 7 and 2.4, watched at every revision of the world. Shares no rule with the controller."""

from dataclasses import dataclass, field

from kube_upgrade.model.node import Node, NodeStatus
from kube_upgrade.model.plan import Group, Plan, nodes_allowed
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import Claim
from kube_upgrade.model.version import KubeVersion
from support.world import State, World

MUTATING = (NodeStatus.UPGRADING, NodeStatus.REBASING)


class Broken(AssertionError):
    """A bound that did not hold, and where."""


def groups_of(plan: Plan, node: Node) -> list[Group]:
    return [group for group in plan.groups if group.selector.matches(node.labels)]


def allowed(state: State, group: Group) -> int:
    size = sum(groups_of(state.plan, node) == [group] for node in state.nodes.values())
    return nodes_allowed(group.max_unavailable, size)


def out_of_service(node: Node) -> bool:
    return node.unschedulable or not node.ready


@dataclass
class Bounds:
    """Attach to a world; `seen_by` says what the leader saw that is writing right now.

    A node that fell ill, or that a person cordoned, after that look is no over-start (design: 2.4). What a daemon took
    out of service (its drain mark tells) counts whenever it happened.
    """

    world: World
    seen_by: ClusterSnapshot | None = None
    orders: list[tuple[str, str]] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)  # last ordered by another controller, which asks nobody

    def __post_init__(self) -> None:
        self.world.watchers.append(self.check)

    def check(self, before: State, after: State) -> None:
        self._claims(before, after)
        for name, node in after.nodes.items():
            old = before.nodes.get(name)
            if node.order:
                (self.foreign.add if node.order.kubeadm is None else self.foreign.discard)(name)
            if self.seen_by and old and old.order and not node.order and old.report.status in MUTATING:
                raise Broken(f"{name} loses its order while it is being changed")
            if self.seen_by and node.order and (old is None or old.order != node.order):
                self.orders.append((name, str(node.order.version)))
                self._order(after, node, self.seen_by)

    def _claims(self, before: State, after: State) -> None:
        old, new = before.plan.status.claims, after.plan.status.claims
        if old == new or self.seen_by is None:
            return
        known = {(claim.node, claim.uid) for claim in old}
        added = [c for c in new if (c.node, c.uid) not in known and not _adopted(self.seen_by, c)]
        for claim in added:
            group = next((each for each in after.plan.groups if each.name == claim.group), None)
            if group is None:
                raise Broken(f"{claim.node} is claimed for group {claim.group}, which the plan does not have")
            same = [each.node for each in new if each.group == claim.group]
            if len(same) > (budget := max(allowed(after, group), _allowed_when(self.seen_by, group))):
                raise Broken(f"{', '.join(same)} are claimed in {group.name}, with a budget of {budget}")
            self._one_control_plane(after, claim)
        for claim in old:
            self._released(after, claim)

    def _one_control_plane(self, state: State, claim: Claim) -> None:
        there = [state.nodes[c.node] for c in state.plan.status.claims if c.node in state.nodes]
        control = [node.name for node in there if node.control_plane]
        node = state.nodes.get(claim.node)
        if node is None:
            return  # deleted since the leader looked
        if node.control_plane and len(control) > 1:
            raise Broken(f"control planes {', '.join(control)} are claimed together")

    def _released(self, state: State, claim: Claim) -> None:
        node = state.nodes.get(claim.node)
        if (
            node is None
            or node.uid != claim.uid
            or node.name in self.foreign
            or any(each.node == claim.node for each in state.plan.status.claims)
        ):
            return
        waiting = node.order is not None and node.report.status in (NodeStatus.PENDING, None)
        if node.report.status in MUTATING or waiting:
            raise Broken(f"{claim.node} loses its claim while its order is open")

    def _order(self, state: State, node: Node, looked: ClusterSnapshot) -> None:
        plan = state.plan
        claim = next((c for c in plan.status.claims if (c.node, c.uid) == (node.name, node.uid)), None)
        if claim is None or node.order is None or claim.version != node.order.version:
            raise Broken(f"{node.name} is ordered to {node.order and node.order.version} without a claim for it")
        if not node.control_plane:
            _not_ahead_of_the_api(state, node.name, node.order.version, looked)
        group = next((each for each in plan.groups if each.name == claim.group), None)
        if group is None:
            return  # removed since the leader looked
        names = {c.node for c in plan.status.claims if c.group == group.name and c.node in state.nodes}
        names |= {each.name for each in state.nodes.values() if self._counts(state, each, group, looked)}
        if len(names) > max(allowed(state, group), _allowed_when(looked, group)):
            raise Broken(f"{node.name} starts while {sorted(names)} use {group.name}'s budget")

    def _counts(self, state: State, node: Node, group: Group, looked: ClusterSnapshot) -> bool:
        """A node of the group that is out of service, and was or by our doing, when the leader looked."""
        before = next((each for each in looked.nodes if (each.name, each.uid) == (node.name, node.uid)), None)
        if before is None or not out_of_service(node) or group.name not in _names(state.plan, node):
            return False
        ours = node.drain is not None and node.name not in self.foreign
        return group.name in _names(looked.plan, before) and (out_of_service(before) or ours)


def _names(plan: Plan, node: Node) -> list[str]:
    return [group.name for group in groups_of(plan, node)]


def _not_ahead_of_the_api(state: State, worker: str, version: KubeVersion, looked: ClusterSnapshot) -> None:
    """No kubelet is newer than any API server that the leader saw (version skew policy)."""
    for pod in looked.static_pods:
        if pod.component == "kube-apiserver" and pod.node in state.nodes and pod.version and pod.version < version:
            raise Broken(f"worker {worker} is ordered to {version} while {pod.node} serves {pod.version}")


def _allowed_when(looked: ClusterSnapshot, group: Group) -> int:
    """A budget that shrank after the look is no over-start either."""
    old = next((each for each in looked.plan.groups if each.name == group.name), None)
    if old is None:
        return 0
    size = sum(groups_of(looked.plan, node) == [old] for node in looked.nodes)
    return nodes_allowed(old.max_unavailable, size)


def _adopted(looked: ClusterSnapshot, claim: Claim) -> bool:
    """What the leader saw under way, or failed, without a claim: reality may be beyond the budget."""
    node = next((each for each in looked.nodes if each.name == claim.node), None)
    return node is not None and node.report.status in (*MUTATING, NodeStatus.ERROR)
