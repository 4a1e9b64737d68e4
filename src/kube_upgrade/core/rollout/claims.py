"""What becomes of the claims that stand: order, wait, give up, prove, soak, release (design: 2.4, ADR 2)."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kube_upgrade.core.rollout.fleet import MUTATING, Fleet, failed, ordered, stalled, waiting_order
from kube_upgrade.core.rollout.gates import WITHDRAWING, first_hold
from kube_upgrade.core.rollout.upkeep import config_changes
from kube_upgrade.model.action import OrderNode, WithdrawOrder
from kube_upgrade.model.moment import TICK
from kube_upgrade.model.node import KubeadmRole, Node, NodeStatus
from kube_upgrade.model.plan import Group
from kube_upgrade.model.status import Claim, Hold, Reason
from kube_upgrade.model.step import Why
from kube_upgrade.model.version import KubeVersion

NO_GROUP = "not exactly one group selects this node"
STILL_DRAINED = Hold(Reason.ORDER_WITHDRAWN, "its order was taken back; the lock server still has it drained")


@dataclass(frozen=True, slots=True)
class Tended:
    """A claim after one look: None once it is over."""

    claim: Claim | None
    action: OrderNode | WithdrawOrder | None = None
    hold: Hold | None = None
    seconds: float | None = None  # from kubeadm's start to the proof, where it ends here and they are worth learning


def tend(fleet: Fleet, claim: Claim) -> Tended:
    """One step for one claim. A claim whose Node object is gone is over."""
    if fleet.claims.get(claim.node) is not claim:
        return Tended(None)
    node, group = fleet.nodes[claim.node], fleet.group_of(claim.node)
    if group is not None and group.name != claim.group:
        claim = replace(claim, group=group.name)
    if not ordered(node, claim):
        return _without_order(fleet, claim, node, group)
    missing = _missing(fleet, claim, node)
    if not missing and not node.drain:
        return _proven(fleet, claim, group)
    if _rolled_back(fleet, claim, node):
        # As it stands until the withdrawal shows: a lost write must not cost what is known of it.
        return _give_up(fleet, claim, node, f"it was rolled back: {missing}")
    claim = _unproven(fleet, claim, node)
    reason = _unwanted(fleet, claim, node, group)
    if reason and node.report.status not in MUTATING:
        return _give_up(fleet, claim, node, reason)
    return Tended(claim, hold=_in_flight(fleet, claim, node, missing))


def adopt(fleet: Fleet) -> list[Claim]:
    """Claims for nodes that are being changed though nobody claimed them: reality counts in the budget.

    Not in that of a plan which is not the active one: what it would adopt is the other's.
    """
    if fleet.seen.active_plan:
        return []
    found = []
    for node, group in fleet.managed():
        mutating = node.report.status in MUTATING
        if node.name in fleet.claims or not (mutating or node.report.status is NodeStatus.ERROR):
            continue
        claim = new_claim(fleet, node, group, node.order.version if node.order else fleet.hop)
        if mutating or (claim.version == fleet.hop and failed(node, claim)):
            found.append(replace(claim, untimed=True))  # nobody saw it begin
    return found


def stray_orders(fleet: Fleet) -> list[WithdrawOrder]:
    """Orders that nobody claimed and that have not reached kubeadm, such as upstream's for a whole group at once;
    and those of nodes that were rolled back since: each must be free before it is ordered anew.

    On a node that no group selects only an order of ours: its plan was deleted while this one waited.
    """
    return [
        _withdraw(fleet, node, "no claim stands for this order")
        for name, node in fleet.nodes.items()
        if (name not in fleet.claims and waiting_order(node) and (fleet.members[name] or _ours(node)))
        or (fleet.members[name] and fleet.rolled_back(node))
    ]


def _ours(node: Node) -> bool:
    return node.order is not None and node.order.kubeadm is not None


def new_claim(fleet: Fleet, node: Node, group: Group, version: KubeVersion) -> Claim:
    """A claim that begins now, and in any case after the last withdrawal: replicas' clocks may differ."""
    since = max(fleet.seen.now, node.withdrawn + TICK) if node.withdrawn else fleet.seen.now
    anew = _ordered_anew(node)
    return Claim(node=node.name, uid=node.uid, group=group.name, version=version, since=since, untimed=anew)


def _ordered_anew(node: Node) -> bool:
    """True where the node completed an order that was then taken back: it was rolled back, and goes the way again."""
    return node.order is None and node.withdrawn is not None and node.report.status is NodeStatus.COMPLETED


def _unproven(fleet: Fleet, claim: Claim, node: Node) -> Claim:
    """The claim of a node that is not, or not any more, where it should be."""
    untimed = claim.untimed or _spoiled(fleet, claim, node)
    return replace(claim, proven_at=None, started_at=_started_at(fleet, claim, node), untimed=untimed)


def _started_at(fleet: Fleet, claim: Claim, node: Node) -> datetime | None:
    """kubeadm comes right after the lock's grant, and only from there on is there a deadline. A failed node that tries
    anew, and one that falls ill in its soak, counts anew."""
    if waiting_order(node) or failed(node, claim):
        return None
    return fleet.seen.now if claim.proven_at or not claim.started_at else claim.started_at


def _spoiled(fleet: Fleet, claim: Claim, node: Node) -> bool:
    """True where the time that this node takes says nothing about that of others."""
    late = node.report.status in (NodeStatus.REBASING, NodeStatus.COMPLETED)  # kubeadm has ended by then
    unseen = late and claim.started_at is None
    return unseen or claim.proven_at is not None or failed(node, claim) or stalled(fleet.seen, claim)


def _in_flight(fleet: Fleet, claim: Claim, node: Node, missing: str) -> Hold | None:
    """Why a node under way does not get on, where that is known."""
    if stalled(fleet.seen, claim):
        since, limit = claim.started_at, fleet.seen.plan.progress_deadline
        why = (
            f"at it since {since:%H:%M:%S} UTC, longer than progressDeadline {limit}: {node.report.message or missing}"
        )
        return Hold(Reason.STALLED, why)
    if waiting_order(node):
        return _waiting_for_lock(node)
    if node.report.status is NodeStatus.COMPLETED and missing:
        return Hold(Reason.NOT_PROVEN, f"the daemon says completed; {missing}")
    return None


def _waiting_for_lock(node: Node) -> Hold | None:
    """The daemon's own words, in the reason that the plan knows for them. There is no deadline on either."""
    word, _, answer = node.report.message.partition(": ")
    draining = node.drain is not None and not node.drain.drained
    if word == Why.PODS_REMAIN or (word == Why.LOCK_BUSY and draining):
        return Hold(Reason.DRAIN_BLOCKED, answer)
    return Hold(Reason.LOCK_BUSY, answer) if word == Why.LOCK_BUSY else None


def _without_order(fleet: Fleet, claim: Claim, node: Node, group: Group | None) -> Tended:
    if node.report.status in MUTATING:
        # It began just before its order was withdrawn, and finishes.
        claim = _unproven(fleet, claim, node)
        return Tended(claim, hold=_in_flight(fleet, claim, node, _missing(fleet, claim, node)))
    if node.withdrawn is not None and node.withdrawn >= claim.since:
        return _fenced(fleet, claim, node, group)
    if group is None or (reason := _outdated(fleet, claim, node, group)):
        return _give_up(fleet, claim, node, NO_GROUP if group is None else reason)
    if hold := first_hold(fleet, node, group):
        # What could not be claimed now is not ordered: it would block others, and who may start is asked anew.
        return replace(_give_up(fleet, claim, node, hold.message), hold=hold)
    claim = replace(claim, untimed=claim.untimed or _ordered_anew(node))
    return Tended(claim, action=order(fleet, claim, node, group))


def _fenced(fleet: Fleet, claim: Claim, node: Node, group: Group | None) -> Tended:
    """Over once the lock server has let the node go: until then it is out of service by our doing.

    One that may start again has not to wait for that: it may have kept its lock because it failed.
    """
    if not node.drain:
        return Tended(None)
    if group is None or first_hold(fleet, node, group):
        return Tended(claim, hold=STILL_DRAINED)
    return Tended(new_claim(fleet, node, group, fleet.hop))


def _proven(fleet: Fleet, claim: Claim, group: Group | None) -> Tended:
    now = fleet.seen.now
    proven_at = claim.proven_at or now
    if group is None or now >= proven_at + group.soak:
        return Tended(None, seconds=_seconds(fleet, claim, proven_at))
    return Tended(replace(claim, proven_at=proven_at))


def _seconds(fleet: Fleet, claim: Claim, proven_at: datetime) -> float | None:
    """How long the node took from kubeadm's start on; None where that is not worth learning."""
    if claim.untimed or claim.started_at is None:
        return None
    took = proven_at - claim.started_at  # below 0 where replicas' clocks differ
    return took.total_seconds() if timedelta(0) <= took < fleet.seen.plan.progress_deadline else None


def _missing(fleet: Fleet, claim: Claim, node: Node) -> str:
    """What a node lacks of being proven; empty where it is."""
    if node.report.status is not NodeStatus.COMPLETED:
        return "the daemon is not done"
    if not fleet.path.passed(node.kubelet, claim.version):
        return f"its kubelet is {node.kubelet}, not {claim.version}"
    if not node.ready:
        return "the node is not Ready"
    if fleet.is_control_plane(node) and not fleet.pods_passed(node, claim.version):
        return f"its static pods are not all Ready at {claim.version}"
    return ""


def _rolled_back(fleet: Fleet, claim: Claim, node: Node) -> bool:
    """True where a node that was at the claim's version shows an older kubelet: its daemon ignores a completed order.

    That it was is told by our proof, or by its daemon, as long as it tells its phase: such a one says completed only
    once the Node shows the kubelet there. Upstream's may say so while that is still on its way.
    """
    was_there = claim.proven_at is not None or bool(node.report.phase)
    behind = node.kubelet is not None and not fleet.path.passed(node.kubelet, claim.version)
    return node.report.status is NodeStatus.COMPLETED and was_there and behind


def _unwanted(fleet: Fleet, claim: Claim, node: Node, group: Group | None) -> str:
    """Why an order should be taken back; empty where it should not."""
    if group is None:
        return NO_GROUP
    if claim.version != fleet.hop:
        return f"the plan now goes to {fleet.hop}"
    if not waiting_order(node):
        return ""  # a failed or finished node keeps its claim, whatever pauses
    if hold := first_hold(fleet, node, group, WITHDRAWING):
        return hold.message
    return _too_late(fleet, node)


def _too_late(fleet: Fleet, node: Node) -> str:
    """Why a waiting order's startBefore is of no use, or lets it begin later than starts may; empty where neither."""
    until = node.order.start_before if node.order else None
    if until and until <= fleet.seen.now:
        return "its startBefore has passed: the daemon will not begin with this order"
    # Not compared with what was learned: that changes with each node that ends, and none shall wait anew for it.
    if fleet.closes and (until is None or until > fleet.closes):
        what = "its startBefore is later than" if until else "it has no startBefore, and may begin after"
        return f"{what} {fleet.closes:%H:%M} UTC, when starts end now"
    return ""


def _outdated(fleet: Fleet, claim: Claim, node: Node, group: Group) -> str:
    """Why a claim is not worth an order any more; empty where it is."""
    if claim.version != fleet.hop:
        return f"the plan now goes to {fleet.hop}"
    return f"the node is at {claim.version} already" if fleet.proven(node, claim.version) else ""


def start_before(fleet: Fleet, group: Group) -> datetime | None:
    """When what is ordered now must have begun: early enough to end before the window does, by what was learned.

    Where that is over already it is the one that may begin in the first quarter whatever was learned, and has until its
    end. Others have not: at that moment all of them could begin.
    """
    now, until = fleet.seen.now, fleet.starts_until(group.name)
    if until is None:
        return fleet.closes
    return until if until > now else fleet.first_quarter_ends or now


def order(fleet: Fleet, claim: Claim, node: Node, group: Group) -> OrderNode:
    """What a claimed node is told."""
    return OrderNode(
        node=node.name,
        resource_version=node.resource_version,
        claim=claim,
        kubeadm=KubeadmRole.APPLY if fleet.is_control_plane(node) and not applied(fleet) else KubeadmRole.NODE,
        start_before=start_before(fleet, group),
        config=config_changes(node, fleet.settings[group.name]),
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
