"""What follows from a snapshot before any rule is asked: who belongs where, who is proven, who holds a claim."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from kube_upgrade.core.rollout import windows
from kube_upgrade.core.rollout.ownership import foreign_until
from kube_upgrade.core.rollout.path import WORKER_SKEW, Path, api_servers, control_planes, find_path
from kube_upgrade.model.node import Node, NodeStatus
from kube_upgrade.model.plan import Group, nodes_allowed
from kube_upgrade.model.pod import STATIC_PODS
from kube_upgrade.model.snapshot import ClusterSnapshot, StaticPod
from kube_upgrade.model.status import MAX_CLAIMS, Claim, Duration, Hold
from kube_upgrade.model.version import KubeVersion

MUTATING = (NodeStatus.UPGRADING, NodeStatus.REBASING)  # from kubeadm's start on a node finishes what it began


@dataclass(slots=True)
class Tally:
    """Who uses a group's budget, by name and in order; grows while `decide` imagines the nodes it starts."""

    allowed: int
    claimed: dict[str, None] = field(default_factory=dict)
    out: dict[str, None] = field(default_factory=dict)  # not claimed, but cordoned, not Ready or under an order
    full: Hold | None = None  # the answer to every node that does not use the budget itself, once it was given

    def start(self, node: str) -> None:
        """Count a node that is claimed from now on."""
        self.out.pop(node, None)
        self.claimed[node] = None
        self.full = None

    def used_without(self, node: str) -> int:
        """How many other nodes are out of service or about to be."""
        return len(self.claimed) + len(self.out) - (node in self.claimed) - (node in self.out)

    def names(self) -> Iterator[str]:
        """All who use the budget."""
        return chain(self.claimed, self.out)


@dataclass(slots=True, kw_only=True)
class Fleet:
    """One snapshot, looked at once.

    While `decide` goes on, only `tallies`, `room` and `busy_control_planes` change, and the answers that are kept once
    somebody asked: `waiting`, `answers`, `held` and `chains`.
    """

    seen: ClusterSnapshot
    path: Path
    hop: KubeVersion  # where every node shall be now
    reached: int  # index of the furthest hop that has begun; -1 for none
    window_opened: datetime | None  # None where no window is open
    window_closes: datetime | None  # the same
    closes: datetime | None  # window_closes, or when the next freeze begins if that is sooner
    foreign_until: datetime | None  # another controller has to be reckoned with until then
    durations: Mapping[str, Duration]  # learned, those of this very moment included
    nodes: dict[str, Node]
    members: dict[str, tuple[Group, ...]]  # the groups that select each node
    pods: dict[str, tuple[StaticPod, ...]]  # by control-plane node
    claims: dict[str, Claim]  # those whose Node object is still there
    sizes: Counter[str] = field(default_factory=Counter)
    tallies: dict[str, Tally] = field(default_factory=dict)
    settings: dict[str, dict[str, str]] = field(default_factory=dict)  # config annotations of each group's nodes
    unsettled: dict[str, dict[str, None]] = field(default_factory=dict)  # nodes of a group, also those in others too
    failing: dict[str, list[str]] = field(default_factory=dict)
    soaking: dict[str, dict[str, datetime]] = field(default_factory=dict)  # node → end of its soak
    control_planes_behind: list[str] = field(default_factory=list)
    busy_control_planes: list[str] = field(default_factory=list)
    room: int = MAX_CLAIMS  # claims that the plan may still have
    waiting: list[tuple[Node, Group]] | None = None  # the candidates, once somebody asked
    answers: dict[str, Hold | None] = field(default_factory=dict)  # of the gates that are asked once
    held: dict[tuple[str, KubeVersion | None], Hold] = field(
        default_factory=dict
    )  # of ordinary nodes, by group, kubelet
    chains: dict[int, list[Any]] = field(default_factory=dict)  # gates that may still say something, by their tuple

    def group_of(self, node: str) -> Group | None:
        """The node's group; None where no group or more than one selects it."""
        groups = self.members[node]
        return groups[0] if len(groups) == 1 else None

    def managed(self) -> Iterator[tuple[Node, Group]]:
        """Every node that exactly one group selects."""
        for name, groups in self.members.items():
            if len(groups) == 1:
                yield self.nodes[name], groups[0]

    def starts_until(self, group: str) -> datetime | None:
        """When a node of this group that starts now must have begun, to end in time by what was learned; None where
        nothing closes or none was learned."""
        typical = self.durations.get(group)
        return self.closes - timedelta(seconds=typical.p90) if self.closes and typical else None

    @property
    def first_quarter_ends(self) -> datetime | None:
        """Until when one node of a group may begin whatever was learned: what is learned from nobody stays wrong for
        ever. None where no window is open, or a freeze cuts it short."""
        if self.window_opened is None or self.window_closes is None or self.closes != self.window_closes:
            return None
        return self.window_opened + (self.window_closes - self.window_opened) / 4

    @property
    def quiet(self) -> bool:
        """True where no claimed node is on its way any more: none is claimed, or what is has failed."""
        claimed = sum(len(tally.claimed) for tally in self.tallies.values())
        return claimed == sum(len(names) for names in self.failing.values())

    def selected(self) -> Iterator[Node]:
        """Every node that some group selects."""
        return (self.nodes[name] for name, groups in self.members.items() if groups)

    def is_control_plane(self, node: Node) -> bool:
        """True by kubeadm's label, or by what runs on the node."""
        return node.name in self.pods

    def proven(self, node: Node, hop: KubeVersion) -> bool:
        """True by evidence: kubelet at the hop, Ready, control-plane pods at the hop, and no order open."""
        return (
            node.ready
            and self.path.passed(node.kubelet, hop)
            and (not order_open(node) or self._beyond(node, hop))
            and (not self.is_control_plane(node) or self.pods_passed(node, hop))
        )

    def pods_passed(self, node: Node, hop: KubeVersion) -> bool:
        """True where all three Kubernetes components of a control-plane node are Ready and at the hop."""
        return not self.pods_lacking(node, hop) and self.unready_pod(node) is None

    def pods_lacking(self, node: Node, hop: KubeVersion) -> bool:
        """True where a Kubernetes component of a control-plane node is not shown at the hop."""
        shown = {pod.component: pod.version for pod in self.pods.get(node.name, ())}
        return not all(self.path.passed(shown.get(name), hop) for name in STATIC_PODS)

    def unready_pod(self, node: Node) -> str | None:
        """The first Kubernetes component of a control-plane node that is not Ready."""
        pods = sorted(self.pods.get(node.name, ()), key=lambda pod: pod.component)
        return next((p.component for p in pods if p.component in STATIC_PODS and not p.ready), None)

    def rolled_back(self, node: Node) -> bool:
        """True where an unclaimed node has completed its order to this hop and shows an older kubelet all the same.

        Its daemon ignores such an order. While the claim stands, evidence may still be on its way. Static pods say
        nothing of it: their watch may be late alone, and nothing that is written rests on it.
        """
        if node.name in self.claims or node.order is None or node.order.version != self.hop or order_open(node):
            return False
        return node.kubelet is not None and not self.path.passed(node.kubelet, self.hop)

    def settled(self, node: Node, hop: KubeVersion) -> bool:
        """True where a node is proven and its claim, soak included, is over. Skipped hops count as settled.

        Once a later hop has begun its version alone tells: a node that reboots into that hop, or falls ill during
        it, does not lead the whole cluster back.
        """
        claim, last = self.claims.get(node.name), hop == self.path.target
        if claim and (last or claim.version <= hop):
            return False
        if may_skip(self, node, hop):
            return True
        if claim or self.path.hops.index(hop) < self.reached:
            return self.path.passed(node.kubelet, hop)
        return self.proven(node, hop)

    def _beyond(self, node: Node, hop: KubeVersion) -> bool:
        return hop != self.path.target and node.kubelet is not None and node.kubelet > hop


def survey(seen: ClusterSnapshot, known: Fleet | None = None) -> Fleet:
    """Look at the snapshot once: the work grows with the number of nodes, not with its square.

    `known` is a look at the same snapshot with other claims.
    """
    path = known.path if known else find_path(seen)
    nodes = known.nodes if known else {node.name: node for node in seen.nodes}
    claims = {claim.node: claim for claim in seen.plan.status.claims if _same(claim, nodes.get(claim.node))}
    groups = seen.plan.groups
    closing = known.window_closes if known else windows.closes_at(seen.plan.windows, seen.now)
    fleet = Fleet(
        seen=seen,
        path=path,
        hop=path.target,
        reached=_reached(seen, path, claims),
        window_opened=known.window_opened if known else windows.opened_at(seen.plan.windows, seen.now),
        window_closes=closing,
        closes=known.closes if known else _closes(seen, closing),
        foreign_until=foreign_until(seen),
        durations=seen.plan.status.durations,
        nodes=nodes,
        members=known.members if known else _members(groups, seen.nodes),
        pods=known.pods if known else _pods(seen),
        claims=claims,
    )
    fleet.hop = _current_hop(fleet)
    fleet.sizes = Counter(group.name for _, group in fleet.managed())
    for group in groups:
        _look_at(fleet, group)
    for name, chosen in fleet.members.items():
        for group in chosen:
            _count(fleet, nodes[name], group)
    _count_strays(fleet)
    fleet.control_planes_behind = [name for name in fleet.pods if not fleet.settled(nodes[name], fleet.hop)]
    fleet.busy_control_planes = [name for name in fleet.pods if name in claims or under_way(nodes[name])]
    return fleet


def _closes(seen: ClusterSnapshot, window: datetime | None) -> datetime | None:
    freeze = windows.next_freeze(seen.plan.freezes, seen.now)
    return min((moment for moment in (window, freeze) if moment), default=None)


def _members(groups: tuple[Group, ...], nodes: tuple[Node, ...]) -> dict[str, tuple[Group, ...]]:
    """By node; asked once for all whose labels differ in nothing that a selector asks about."""
    keys = tuple({need.key for group in groups for need in group.selector.requirements})
    known: dict[tuple[str | None, ...], tuple[Group, ...]] = {}
    members = {}
    for node in nodes:
        shown = tuple([node.labels.get(key) for key in keys])
        if (chosen := known.get(shown)) is None:
            chosen = known[shown] = selecting(groups, node)
        members[node.name] = chosen
    return members


def selecting(groups: tuple[Group, ...], node: Node) -> tuple[Group, ...]:
    """The groups that select this node."""
    return tuple([group for group in groups if group.selector.matches(node.labels)])


def _look_at(fleet: Fleet, group: Group) -> None:
    fleet.tallies[group.name] = Tally(allowed=nodes_allowed(group.max_unavailable, fleet.sizes[group.name]))
    fleet.settings[group.name] = group.config.to_annotations()
    fleet.unsettled[group.name] = {}
    fleet.failing[group.name] = []
    fleet.soaking[group.name] = {}


def _count(fleet: Fleet, node: Node, group: Group) -> None:
    claim = fleet.claims.get(node.name)
    if not fleet.settled(node, fleet.hop):
        fleet.unsettled[group.name][node.name] = None
    if claim is None:
        if node.unschedulable or not node.ready or under_way(node):
            fleet.tallies[group.name].out[node.name] = None
        return
    fleet.tallies[group.name].claimed[node.name] = None
    if failed(node, claim) or stalled(fleet.seen, claim):
        fleet.failing[group.name].append(node.name)
    if claim.proven_at and fleet.seen.now < claim.proven_at + group.soak:
        fleet.soaking[group.name][node.name] = claim.proven_at + group.soak


def _count_strays(fleet: Fleet) -> None:
    """A claimed node that its group does not select any more is as much out of service as before."""
    for name, claim in fleet.claims.items():
        if claim.group in fleet.tallies and not fleet.members[name]:
            fleet.tallies[claim.group].claimed[name] = None


def order_open(node: Node) -> bool:
    """True from the order until the daemon says completed."""
    return node.order is not None and node.report.status is not NodeStatus.COMPLETED


def waiting_order(node: Node) -> bool:
    """True where a node has an order with which it has not reached kubeadm."""
    return node.order is not None and node.report.status in (NodeStatus.PENDING, None)


def under_way(node: Node) -> bool:
    """True where a daemon may be taking its node out of service."""
    return node.report.status in MUTATING or waiting_order(node)


def ordered(node: Node, claim: Claim) -> bool:
    """True where the node's order is the claim's."""
    return node.order is not None and node.order.version == claim.version


def failed(node: Node, claim: Claim) -> bool:
    """True where the daemon gave up on what was claimed."""
    return ordered(node, claim) and node.report.status is NodeStatus.ERROR


def stalled(seen: ClusterSnapshot, claim: Claim) -> bool:
    """True where a node has been at it for longer than the plan's progress deadline."""
    return (
        claim.started_at is not None
        and claim.proven_at is None
        and seen.now >= claim.started_at + seen.plan.progress_deadline
    )


def may_skip(fleet: Fleet, node: Node, hop: KubeVersion) -> bool:
    """True where a worker may leave out this hop: it stays within the skew of the next one."""
    hops = fleet.path.hops
    if not fleet.seen.plan.workers_skip_hops or fleet.is_control_plane(node) or hop == hops[-1] or not node.kubelet:
        return False
    following = hops[hops.index(hop) + 1]
    return following.minors_above(node.kubelet) <= WORKER_SKEW


def _same(claim: Claim, node: Node | None) -> bool:
    return node is not None and node.uid == claim.uid


def _pods(seen: ClusterSnapshot) -> dict[str, tuple[StaticPod, ...]]:
    found: dict[str, list[StaticPod]] = {node.name: [] for node in control_planes(seen)}
    for pod in seen.static_pods:
        if pod.node in found:
            found[pod.node].append(pod)
    return {name: tuple(pods) for name, pods in found.items()}


def _reached(seen: ClusterSnapshot, path: Path, claims: dict[str, Claim]) -> int:
    """How far the cluster has come: a hop that is claimed for, or that an API server runs, has begun."""
    servers = [version for version in api_servers(seen).values() if version]
    claimed = {claim.version for claim in claims.values()}
    begun = [i for i, hop in enumerate(path.hops) if hop in claimed or any(version >= hop for version in servers)]
    return max(begun, default=-1)


def _current_hop(fleet: Fleet) -> KubeVersion:
    """The first hop that somebody still has to make; the target when nobody has.

    Control-plane nodes count whatever selects them: API servers may be one minor apart, no more.
    """
    nodes = {node.name: node for node in fleet.selected()} | {name: fleet.nodes[name] for name in fleet.pods}
    for hop in fleet.path.hops[:-1]:
        if not all(fleet.settled(node, hop) for node in nodes.values()):
            return hop
    return fleet.path.target
