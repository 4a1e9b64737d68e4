"""A decision as Kubernetes Events: on the node what happens to it, on the plan how far it is and why it waits."""

from collections.abc import Iterable, Iterator
from enum import StrEnum

from kube_upgrade.core.rollout.fleet import failed
from kube_upgrade.kube.paths import PLAN_GROUP, PLAN_VERSION
from kube_upgrade.kube.wire.event import Announcement, ObjectReference
from kube_upgrade.kube.wire.schema import KIND
from kube_upgrade.model.action import Decision, NodeAction, OrderNode, WithdrawOrder
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Plan
from kube_upgrade.model.snapshot import ClusterSnapshot


class OnNode(StrEnum):
    """Reasons of the Events on a node. Those on a plan are the words of its summary and the reasons of its holds."""

    ORDERED = "UpgradeOrdered"
    API_OUTAGE = "ApiOutageExpected"
    WITHDRAWN = "UpgradeWithdrawn"
    COMPLETED = "UpgradeCompleted"
    FAILED = "UpgradeFailed"


WARNINGS = frozenset({OnNode.API_OUTAGE, OnNode.FAILED})


def of_actions(seen: ClusterSnapshot, actions: Iterable[NodeAction]) -> Iterator[Announcement]:
    """What was written on nodes, to somebody who reads `kubectl describe node`."""
    if not actions:
        return
    nodes = {node.name: node for node in seen.nodes}
    members = sum(node.control_plane for node in seen.nodes)
    for action in actions:
        match action:
            case OrderNode():
                note = f"upgrade to {action.claim.version} ordered (kubeadm upgrade {action.kubeadm})"
                yield _about(nodes[action.node], OnNode.ORDERED, "Order", note)
                yield from _outage(nodes[action.node], members)
            case WithdrawOrder():
                yield _about(nodes[action.node], OnNode.WITHDRAWN, "Withdraw", action.reason)
            case _:
                pass  # settings speak for themselves


def of_status(seen: ClusterSnapshot, decision: Decision) -> Iterator[Announcement]:
    """What a status that was written says of the plan, and of nodes that ended well or failed."""
    yield from _about_plan(seen.plan, decision)
    yield from _ends(seen, decision, {node.name: node for node in seen.nodes})


def _outage(node: Node, members: int) -> Iterator[Announcement]:
    """With one or two members etcd has no quorum while one of them reboots."""
    if node.control_plane and members <= 2:
        note = f"the API will be away while {node.name}, one of {members} control planes, is upgraded"
        yield _about(node, OnNode.API_OUTAGE, "Order", note)


def _ends(seen: ClusterSnapshot, decision: Decision, nodes: dict[str, Node]) -> Iterator[Announcement]:
    kept = {claim.node: claim for claim in decision.status.claims}
    for claim in seen.plan.status.claims:
        node = nodes.get(claim.node)
        if node is None:
            continue
        if claim.node not in kept and node.at(claim.version):
            yield _about(node, OnNode.COMPLETED, "Verify", f"runs {claim.version} and is Ready")
        elif claim.node in kept and failed(node, claim):
            note = node.report.message or f"upgrade to {claim.version} failed"
            yield _about(node, OnNode.FAILED, "Verify", note)


def _about_plan(plan: Plan, decision: Decision) -> Iterator[Announcement]:
    regarding = ObjectReference(kind=KIND, name=plan.name, uid=plan.uid, api_version=f"{PLAN_GROUP}/{PLAN_VERSION}")
    summary = decision.status.summary
    if summary != plan.status.summary:
        yield Announcement(
            regarding=regarding,
            reason=summary.partition(":")[0],
            action="Rollout",
            note=summary,
            type="Warning" if summary.startswith("Error") else "Normal",
        )
    known = {(hold.reason, hold.message) for hold in plan.status.holds}
    for hold in decision.status.holds:
        if (hold.reason, hold.message) not in known:
            note = f"{hold.nodes} wait: {hold.message}"
            yield Announcement(regarding=regarding, reason=hold.reason, action="Wait", note=note)


def _about(node: Node, reason: OnNode, action: str, note: str) -> Announcement:
    """`kubectl describe node` finds a node's events by its name as uid, as the kubelet writes them."""
    return Announcement(
        regarding=ObjectReference(kind="Node", name=node.name, uid=node.name),
        reason=reason,
        action=action,
        note=note,
        type="Warning" if reason in WARNINGS else "Normal",
    )
