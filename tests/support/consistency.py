"""Refuses snapshots that no cluster could show: a test on fantasy proves nothing.

What stays allowed is everything that weather, people and other programs can bring about: claims for nodes that are
gone, claims proven before they began (by another replica's clock), orders nobody claimed, mirror pods of deleted
nodes, control planes whose label somebody took away, versions out of order.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from kube_upgrade.model.node import KubeadmRole, Node
from kube_upgrade.model.plan import Percent, Plan
from kube_upgrade.model.pod import STATIC_PODS
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import Claim


class Impossible(AssertionError):
    """The test's input cannot exist. The text names every reason."""


def checked(seen: ClusterSnapshot) -> ClusterSnapshot:
    """The snapshot itself. Raises Impossible."""
    if faults := list(_faults(seen)):
        raise Impossible("; ".join(faults))
    return seen


def _faults(seen: ClusterSnapshot) -> Iterator[str]:
    if seen.now.tzinfo is None:
        yield "now has no zone"
    if seen.active_plan == seen.plan.name:
        yield "a plan is not older than itself"
    names = [node.name for node in seen.nodes]
    if names != sorted(names):
        yield "nodes are not sorted by name"
    yield from _doubles("node", names)
    yield from _doubles("node uid", (node.uid for node in seen.nodes))
    running = {pod.node for pod in seen.static_pods if pod.component in STATIC_PODS}
    for node in seen.nodes:
        yield from _node_faults(node, worker=not node.control_plane and node.name not in running)
        if not node.control_plane and node.name not in running:
            yield from (
                f"{pod.component} runs on worker {pod.node}" for pod in seen.static_pods if pod.node == node.name
            )
    yield from _doubles("static pod", (f"{pod.component} on {pod.node}" for pod in seen.static_pods))
    yield from _plan_faults(seen.plan)
    for claim in seen.plan.status.claims:
        yield from _claim_faults(claim)


def _node_faults(node: Node, *, worker: bool) -> Iterator[str]:
    if not node.uid or not node.resource_version:
        yield f"{node.name} has no uid or no resourceVersion"
    if node.ready_since and not node.ready:
        yield f"{node.name} is Ready since {node.ready_since} and is not Ready"
    if worker and node.report.applied:
        yield f"worker {node.name} reports `kubeadm upgrade apply`"
    if worker and node.order and node.order.kubeadm is KubeadmRole.APPLY:
        yield f"worker {node.name} was told to apply"
    yield from _zoned(node.name, node.created, node.withdrawn, node.order.start_before if node.order else None)


def _plan_faults(plan: Plan) -> Iterator[str]:
    names = [group.name for group in plan.groups]
    yield from _doubles("group", names)
    yield from _doubles("claim of node", (claim.node for claim in plan.status.claims))
    for group in plan.groups:
        if unknown := set(group.depends_on) - set(names):
            yield f"group {group.name} depends on unknown {sorted(unknown)}: the API server refuses that"
        wide = group.max_unavailable
        if (wide.value if isinstance(wide, Percent) else wide) < 1 or group.max_failures < 1:
            yield f"group {group.name} has a budget below 1: the API server refuses that"
        if group.soak < timedelta(0):
            yield f"group {group.name} soaks for a negative time"
    for freeze in plan.freezes:
        if freeze.since >= freeze.until:
            yield "a freeze ends before it begins"
    yield from _zoned("plan", plan.created)


def _claim_faults(claim: Claim) -> Iterator[str]:
    if not claim.uid:
        yield f"claim of {claim.node} has no uid"
    yield from _zoned(f"claim of {claim.node}", claim.since, claim.proven_at)


def _zoned(owner: str, *moments: datetime | None) -> Iterator[str]:
    if any(moment is not None and moment.tzinfo is None for moment in moments):
        yield f"{owner} has a moment without a zone"


def _doubles(kind: str, names: Iterable[str]) -> Iterator[str]:
    return (f"{kind} {name} is there {count} times" for name, count in Counter(names).items() if count > 1)
