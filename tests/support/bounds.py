"""The bounds of design 7 and 2.4, watched at every revision of the world. Shares no rule with the controller."""

from dataclasses import dataclass, field

from kube_upgrade.model.node import Node, NodeStatus
from kube_upgrade.model.plan import Group, Plan, nodes_allowed
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import Claim
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
    worst: int = 0
    orders: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world.watchers.append(self.check)

    def check(self, before: State, after: State) -> None:
        self._claims(before, after)
        for name, node in after.nodes.items():
            old = before.nodes.get(name)
            if node.order and (old is None or old.uid != node.uid or old.order != node.order):
                self.orders.append((name, str(node.order.version)))
                self._order(after, node)

    def _claims(self, before: State, after: State) -> None:
        old, new = before.plan.status.claims, after.plan.status.claims
        if old == new:
            return
        known = {(claim.node, claim.uid) for claim in old}
        added = [c for c in new if (c.node, c.uid) not in known and not _adopted(after, c)]
        for claim in added:
            group = next((each for each in after.plan.groups if each.name == claim.group), None)
            if group is None:
                raise Broken(f"{claim.node} is claimed for group {claim.group}, which the plan does not have")
            same = [each.node for each in new if each.group == claim.group]
            self.worst = max(self.worst, len(same))
            if len(same) > allowed(after, group):
                raise Broken(f"{', '.join(same)} are claimed in {group.name}, with a budget of {allowed(after, group)}")
            self._control_planes_first(after, claim)
        for claim in old:
            self._released(after, claim)

    def _control_planes_first(self, state: State, claim: Claim) -> None:
        there = [state.nodes[c.node] for c in state.plan.status.claims if c.node in state.nodes]
        control = [node.name for node in there if node.control_plane]
        node = state.nodes.get(claim.node)
        if node is None:
            return  # deleted since the leader looked
        if node.control_plane and len(control) > 1:
            raise Broken(f"control planes {', '.join(control)} are claimed together")

    def _released(self, state: State, claim: Claim) -> None:
        node = state.nodes.get(claim.node)
        if node is None or node.uid != claim.uid or any(each.node == claim.node for each in state.plan.status.claims):
            return
        waiting = node.order is not None and node.report.status in (NodeStatus.PENDING, None)
        if node.report.status in MUTATING or waiting:
            raise Broken(f"{claim.node} loses its claim while its order is open")

    def _order(self, state: State, node: Node) -> None:
        plan = state.plan
        claim = next((c for c in plan.status.claims if (c.node, c.uid) == (node.name, node.uid)), None)
        if claim is None or node.order is None or claim.version != node.order.version:
            raise Broken(f"{node.name} is ordered to {node.order and node.order.version} without a claim for it")
        self._kubelet_not_ahead(state, node)
        for group in groups_of(plan, node):
            names = {c.node for c in plan.status.claims if c.group == group.name and c.node in state.nodes}
            names |= {n.name for n in state.nodes.values() if group in groups_of(plan, n) and self._counts(n)}
            if len(names) > max(allowed(state, group), self._allowed_when_seen(group)):
                raise Broken(f"{node.name} starts while {sorted(names)} use {group.name}'s budget")

    def _kubelet_not_ahead(self, state: State, node: Node) -> None:
        if node.control_plane or node.order is None or self.seen_by is None:
            return
        version = node.order.version
        for pod in self.seen_by.static_pods:
            if pod.component == "kube-apiserver" and pod.node in state.nodes and pod.version and pod.version < version:
                raise Broken(f"worker {node.name} is ordered to {version} while {pod.node} serves {pod.version}")

    def _counts(self, node: Node) -> bool:
        if not out_of_service(node):
            return False
        if node.drain is not None or self.seen_by is None:
            return True
        looked = next((each for each in self.seen_by.nodes if each.name == node.name), None)
        return looked is not None and looked.uid == node.uid and out_of_service(looked)

    def _allowed_when_seen(self, group: Group) -> int:
        """A budget that shrank after the look is no over-start either."""
        if self.seen_by is None:
            return 0
        old = next((each for each in self.seen_by.plan.groups if each.name == group.name), None)
        if old is None:
            return 0
        size = sum(groups_of(self.seen_by.plan, node) == [old] for node in self.seen_by.nodes)
        return nodes_allowed(old.max_unavailable, size)


def _adopted(state: State, claim: Claim) -> bool:
    node = state.nodes.get(claim.node)
    return node is not None and node.report.status in (*MUTATING, NodeStatus.ERROR)
