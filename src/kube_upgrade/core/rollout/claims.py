"""What becomes of the claims that stand: order, wait, give up, prove, soak, release (design: 2.4, ADR 2)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kube_upgrade.core.rollout import windows
from kube_upgrade.core.rollout.fleet import Fleet, failed
from kube_upgrade.core.rollout.gates import WITHDRAWING, api_is_healthy, first_hold, node_is_ready, quorum_remains
from kube_upgrade.model.action import Action, OrderNode, WithdrawOrder
from kube_upgrade.model.node import KubeadmRole, Node, NodeStatus
from kube_upgrade.model.plan import Group
from kube_upgrade.model.status import Claim, Hold, Reason
from kube_upgrade.model.version import KubeVersion

TICK = timedelta(microseconds=1)
MUTATING = (NodeStatus.UPGRADING, NodeStatus.REBASING)  # from kubeadm's start on a node finishes what it began


@dataclass(frozen=True, slots=True)
class Tended:
    """A claim after one look: None once it is over."""

    claim: Claim | None
    action: Action | None = None
    hold: Hold | None = None


def tend(fleet: Fleet, claim: Claim) -> Tended:
    """One step for one claim. A claim whose Node object is gone is over."""
    if fleet.claims.get(claim.node) is not claim:
        return Tended(None)
    node, group = fleet.nodes[claim.node], fleet.group_of(claim.node)
    if group is not None and group.name != claim.group:
        claim = replace(claim, group=group.name)
    if node.order is None or node.order.version != claim.version:
        return _without_order(fleet, claim, node, group)
    if node.report.status is NodeStatus.COMPLETED and fleet.proven(node, claim.version):
        return _proven(fleet, claim, group)
    claim = replace(claim, proven_at=None)
    reason = _unwanted(fleet, claim, node, group)
    if reason and node.report.status not in MUTATING:
        return _give_up(fleet, claim, node, reason)
    return Tended(claim)


def adopt(fleet: Fleet) -> list[Claim]:
    """Claims for nodes that are being changed though nobody claimed them: reality counts in the budget."""
    found = []
    for node, group in fleet.managed():
        mutating = node.report.status in MUTATING
        broken = failed(node) and node.order is not None and node.order.version == fleet.hop
        if node.name not in fleet.claims and (mutating or broken):
            version = node.order.version if node.order else fleet.hop
            found.append(new_claim(fleet, node, group, version))
    return found


def stray_orders(fleet: Fleet) -> list[WithdrawOrder]:
    """Orders that nobody claimed and that have not reached kubeadm, such as upstream's for a whole group at once."""
    return [
        _withdraw(fleet, node, "no claim stands for this order")
        for node, _ in fleet.managed()
        if node.name not in fleet.claims and node.order is not None and node.report.status is NodeStatus.PENDING
    ]


def new_claim(fleet: Fleet, node: Node, group: Group, version: KubeVersion) -> Claim:
    """A claim that begins now, and in any case after the last withdrawal: replicas' clocks may differ."""
    since = max(fleet.seen.now, node.withdrawn + TICK) if node.withdrawn else fleet.seen.now
    return Claim(node=node.name, uid=node.uid, group=group.name, version=version, since=since)


def soak_ends(fleet: Fleet) -> datetime | None:
    """When the next soak is over."""
    ends = [end for soaking in fleet.soaking.values() for end in soaking.values()]
    return min(ends, default=None)


def config_changes(node: Node, group: Group) -> Mapping[str, str | None]:
    """What differs between the node's config annotations and the group's settings; None removes a key."""
    wanted = group.config.to_annotations()
    if node.config == wanted:
        return {}
    gone: dict[str, str | None] = dict.fromkeys(node.config.keys() - wanted.keys())
    return gone | {key: value for key, value in wanted.items() if node.config.get(key) != value}


def _without_order(fleet: Fleet, claim: Claim, node: Node, group: Group | None) -> Tended:
    if node.report.status in MUTATING:
        return Tended(claim)  # it began just before its order was withdrawn, and finishes
    if node.withdrawn is not None and node.withdrawn >= claim.since:
        return Tended(None)
    reason = _unwanted(fleet, claim, node, group)
    if reason or group is None:
        return _give_up(fleet, claim, node, reason or "no group")
    hold = _not_now(fleet, node, group)
    return Tended(claim, hold=hold) if hold else Tended(claim, action=_order(fleet, claim, node, group))


def _proven(fleet: Fleet, claim: Claim, group: Group | None) -> Tended:
    now = fleet.seen.now
    proven_at = claim.proven_at or now
    if group is None or now >= proven_at + group.soak:
        return Tended(None)
    return Tended(replace(claim, proven_at=proven_at))


def _unwanted(fleet: Fleet, claim: Claim, node: Node, group: Group | None) -> str:
    """Why this claim should not be carried out any more; empty where it should."""
    if group is None:
        return "not exactly one group selects this node"
    if claim.version != fleet.hop:
        return f"the plan now goes to {fleet.hop}"
    if failed(node):
        return ""  # a failed node keeps its claim, whatever pauses
    hold = first_hold(fleet, node, group, WITHDRAWING)
    return hold.message if hold else ""


def _not_now(fleet: Fleet, node: Node, group: Group) -> Hold | None:
    """Something broke between claim and order."""
    hold = first_hold(fleet, node, group, (node_is_ready, api_is_healthy, quorum_remains))
    if hold:
        return hold
    tally = fleet.tallies[group.name]
    if tally.used > tally.allowed:
        why = f"{tally.used} of {tally.allowed} out of service: {', '.join(tally.broken[:3])} broke after the claim"
        return Hold(Reason.BUDGET, why)
    return None


def _order(fleet: Fleet, claim: Claim, node: Node, group: Group) -> OrderNode:
    return OrderNode(
        node=node.name,
        resource_version=node.resource_version,
        claim=claim,
        kubeadm=KubeadmRole.APPLY if node.control_plane and not applied(fleet) else KubeadmRole.NODE,
        start_before=windows.closes_at(fleet.seen.plan.windows, fleet.seen.now),
        config=config_changes(node, group),
    )


def applied(fleet: Fleet) -> bool:
    """True with proof that `kubeadm upgrade apply` to the hop finished: its node says so, kubeadm-config is there,
    and that node's static pods are too."""
    return fleet.seen.kubeadm_config == fleet.hop and any(
        fleet.nodes[name].report.applied == fleet.hop and fleet.pods_passed(fleet.nodes[name], fleet.hop)
        for name in fleet.pods
    )


def _give_up(fleet: Fleet, claim: Claim, node: Node, reason: str) -> Tended:
    return Tended(claim, action=_withdraw(fleet, node, reason, since=claim.since))


def _withdraw(fleet: Fleet, node: Node, reason: str, since: datetime | None = None) -> WithdrawOrder:
    """The moment is never before the claim began nor that of the withdrawal before: each one changes the Node."""
    floors = [since] if since else []
    floors += [node.withdrawn + TICK] if node.withdrawn else []
    at = max([fleet.seen.now, *floors])
    return WithdrawOrder(node=node.name, resource_version=node.resource_version, at=at, reason=reason)
