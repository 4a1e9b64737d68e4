"""What follows from a snapshot before any rule is asked: who belongs where, who is proven, who holds a claim."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from kube_upgrade.core.rollout.path import WORKER_SKEW, Path, find_path
from kube_upgrade.model.node import Node, NodeStatus
from kube_upgrade.model.plan import Group, nodes_allowed
from kube_upgrade.model.snapshot import ClusterSnapshot, StaticPod
from kube_upgrade.model.status import Claim, Hold
from kube_upgrade.model.version import KubeVersion

KUBERNETES_COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


@dataclass(slots=True)
class Tally:
    """Who uses a group's budget; grows while `decide` imagines the nodes it starts."""

    allowed: int
    claimed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # not claimed, but cordoned or not Ready

    @property
    def used(self) -> int:
        """Nodes out of service or about to be."""
        return len(self.claimed) + len(self.broken)


@dataclass(slots=True, kw_only=True)
class Fleet:
    """One snapshot, looked at once. Only `tallies` and `busy_control_planes` grow while decisions are made."""

    seen: ClusterSnapshot
    path: Path
    hop: KubeVersion  # where every node shall be now
    nodes: dict[str, Node]
    members: dict[str, tuple[Group, ...]]  # the groups that select each node
    pods: dict[str, tuple[StaticPod, ...]]  # by control-plane node
    claims: dict[str, Claim]  # those whose Node object is still there
    sizes: Counter[str] = field(default_factory=Counter)
    tallies: dict[str, Tally] = field(default_factory=dict)
    unsettled: dict[str, list[str]] = field(default_factory=dict)
    failing: dict[str, list[str]] = field(default_factory=dict)
    soaking: dict[str, dict[str, datetime]] = field(default_factory=dict)  # node → end of its soak
    control_planes_behind: list[str] = field(default_factory=list)
    busy_control_planes: list[str] = field(default_factory=list)
    answers: dict[str, Hold | None] = field(default_factory=dict)  # of the gates that are asked once

    def group_of(self, node: str) -> Group | None:
        """The node's group; None where no group or more than one selects it."""
        groups = self.members[node]
        return groups[0] if len(groups) == 1 else None

    def managed(self) -> Iterator[tuple[Node, Group]]:
        """Every node that exactly one group selects."""
        for name, groups in self.members.items():
            if len(groups) == 1:
                yield self.nodes[name], groups[0]

    def proven(self, node: Node, hop: KubeVersion) -> bool:
        """True by evidence: kubelet at the hop, Ready, control-plane pods at the hop, and no order open."""
        return (
            node.ready
            and self.path.passed(node.kubelet, hop)
            and not order_open(node)
            and (not node.control_plane or self.pods_passed(node, hop))
        )

    def pods_passed(self, node: Node, hop: KubeVersion) -> bool:
        """True where all three Kubernetes components of a control-plane node are Ready and at the hop."""
        shown = {pod.component: pod for pod in self.pods.get(node.name, ())}
        return all(
            (pod := shown.get(name)) is not None and pod.ready and self.path.passed(pod.version, hop)
            for name in KUBERNETES_COMPONENTS
        )

    def settled(self, node: Node, hop: KubeVersion) -> bool:
        """True where a node is proven and its claim, soak included, is over. Skipped hops count as settled."""
        if node.name in self.claims:
            return False
        return self.proven(node, hop) or may_skip(self.seen, self.path, node, hop)


def survey(seen: ClusterSnapshot) -> Fleet:
    """Look at the snapshot once: the work grows with the number of nodes, not with its square."""
    path = find_path(seen)
    nodes = {node.name: node for node in seen.nodes}
    groups = seen.plan.groups
    fleet = Fleet(
        seen=seen,
        path=path,
        hop=path.target,
        nodes=nodes,
        members={node.name: tuple(g for g in groups if g.selector.matches(node.labels)) for node in seen.nodes},
        pods=_pods(seen),
        claims={claim.node: claim for claim in seen.plan.status.claims if _same(claim, nodes.get(claim.node))},
    )
    fleet.hop = _current_hop(fleet)
    fleet.sizes = Counter(group.name for _, group in fleet.managed())
    for group in groups:
        _look_at(fleet, group)
    for node, group in fleet.managed():
        _count(fleet, node, group)
    fleet.control_planes_behind = [name for name in fleet.pods if not fleet.settled(nodes[name], fleet.hop)]
    fleet.busy_control_planes = [name for name in fleet.pods if name in fleet.claims]
    return fleet


def _look_at(fleet: Fleet, group: Group) -> None:
    fleet.tallies[group.name] = Tally(allowed=nodes_allowed(group.max_unavailable, fleet.sizes[group.name]))
    fleet.unsettled[group.name] = []
    fleet.failing[group.name] = []
    fleet.soaking[group.name] = {}


def _count(fleet: Fleet, node: Node, group: Group) -> None:
    tally, claim = fleet.tallies[group.name], fleet.claims.get(node.name)
    if not fleet.settled(node, fleet.hop):
        fleet.unsettled[group.name].append(node.name)
    if claim is None:
        if node.unschedulable or not node.ready:
            tally.broken.append(node.name)
        return
    tally.claimed.append(node.name)
    if failed(node):
        fleet.failing[group.name].append(node.name)
    if claim.proven_at and fleet.seen.now < claim.proven_at + group.soak:
        fleet.soaking[group.name][node.name] = claim.proven_at + group.soak


def order_open(node: Node) -> bool:
    """True from the order until the daemon says completed."""
    return node.order is not None and node.report.status is not NodeStatus.COMPLETED


def failed(node: Node) -> bool:
    """True where the daemon gave up on the order it has."""
    return node.order is not None and node.report.status is NodeStatus.ERROR


def may_skip(seen: ClusterSnapshot, path: Path, node: Node, hop: KubeVersion) -> bool:
    """True where a worker may leave out this hop: it stays within the skew of the next one."""
    if not seen.plan.workers_skip_hops or node.control_plane or hop == path.target or node.kubelet is None:
        return False
    following = path.hops[path.hops.index(hop) + 1]
    return following.minors_above(node.kubelet) <= WORKER_SKEW


def _same(claim: Claim, node: Node | None) -> bool:
    return node is not None and node.uid == claim.uid


def _pods(seen: ClusterSnapshot) -> dict[str, tuple[StaticPod, ...]]:
    found: dict[str, list[StaticPod]] = {node.name: [] for node in seen.nodes if node.control_plane}
    for pod in seen.static_pods:
        if pod.node in found:
            found[pod.node].append(pod)
    return {name: tuple(pods) for name, pods in found.items()}


def _current_hop(fleet: Fleet) -> KubeVersion:
    """The first hop that somebody still has to make; the target when nobody has."""
    nodes = [node for node, _ in fleet.managed()]
    for hop in fleet.path.hops:
        if not all(fleet.settled(node, hop) for node in nodes):
            return hop
    return fleet.path.target
