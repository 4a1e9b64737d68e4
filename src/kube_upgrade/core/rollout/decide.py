"""The whole controller on one screen: from what is seen to what is done, with every reason."""

from dataclasses import replace
from datetime import datetime

from kube_upgrade.core.rollout import windows
from kube_upgrade.core.rollout.claims import adopt, config_changes, new_claim, soak_ends, stray_orders, tend
from kube_upgrade.core.rollout.fleet import Fleet, ordered, survey, waiting_order
from kube_upgrade.core.rollout.gates import first_hold, unmanaged
from kube_upgrade.core.rollout.order import candidates
from kube_upgrade.core.rollout.report import report
from kube_upgrade.model.action import Action, ConfigureNode, Decision, PublishStatus
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Group
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import Claim, Hold, Reason

MAX_CLAIMS = 1_000  # 5,000 make a 900 KiB object and 8,000 reach etcd's limit


def decide(seen: ClusterSnapshot) -> Decision:
    """What to do now. Pure and total: the same snapshot gives the same decision, and every snapshot gives one."""
    before = survey(seen)
    tended = [tend(before, claim) for claim in seen.plan.status.claims]
    claims = [each.claim for each in tended if each.claim] + adopt(before)
    fleet = _with_claims(before, claims)
    holds = {each.claim.node: each.hold for each in tended if each.claim and each.hold}
    holds |= _out_of_reach(fleet)
    claims += _start(fleet, holds, room=MAX_CLAIMS - len(claims))
    status = report(fleet, tuple(claims), holds)
    actions: list[Action] = [] if status == seen.plan.status else [PublishStatus(status=status)]
    if not seen.active_plan:
        about_orders = [each.action for each in tended if each.action] + stray_orders(before)
        actions += about_orders
        actions += _configure(fleet, claims, {action.node for action in about_orders})
    return Decision(actions=tuple(actions), status=status, holds=holds, hop=fleet.hop, wake_at=_wake_at(fleet))


def _with_claims(fleet: Fleet, claims: list[Claim]) -> Fleet:
    """The fleet as it will be once these claims are written."""
    seen = fleet.seen
    if tuple(claims) == seen.plan.status.claims:
        return fleet
    status = replace(seen.plan.status, claims=tuple(claims))
    return replace(survey(replace(seen, plan=replace(seen.plan, status=status)), fleet), seen=seen)


def _start(fleet: Fleet, holds: dict[str, Hold], room: int) -> list[Claim]:
    """Claim what may start; say of everything else why not."""
    started: list[Claim] = []
    for node, group in candidates(fleet):
        hold = first_hold(fleet, node, group)
        if hold is None and len(started) >= room:
            hold = Hold(Reason.BUDGET, f"{MAX_CLAIMS} claims are open, the most one plan may have")
        if hold:
            holds[node.name] = hold
            continue
        started.append(new_claim(fleet, node, group, fleet.hop))
        _imagine_started(fleet, node, group)
    return started


def _imagine_started(fleet: Fleet, node: Node, group: Group) -> None:
    fleet.tallies[group.name].start(node.name)
    if node.control_plane:
        fleet.busy_control_planes.append(node.name)


def _out_of_reach(fleet: Fleet) -> dict[str, Hold]:
    """Nodes that must not be touched because several groups select them, or none does though all wait for them."""
    torn = {
        name: Hold(Reason.GROUP_CONFLICT, f"groups {' and '.join(group.name for group in groups)} select the node")
        for name, groups in fleet.members.items()
        if len(groups) > 1
    }
    alien = [name for name in fleet.control_planes_behind if not fleet.members[name]]
    return {name: unmanaged(fleet, name) for name in alien} | torn


def _configure(fleet: Fleet, claims: list[Claim], busy: set[str]) -> list[ConfigureNode]:
    """Settings for nodes that are not `busy` with another patch and whose order will not carry them."""
    unordered = busy | {claim.node for claim in claims if not ordered(fleet.nodes[claim.node], claim)}
    wanted = {group.name: group.config.to_annotations() for group in fleet.seen.plan.groups}
    return [
        ConfigureNode(node=node.name, resource_version=node.resource_version, config=changes)
        for node, group in fleet.managed()
        if node.name not in unordered and (changes := config_changes(node, wanted[group.name]))
    ]


def _wake_at(fleet: Fleet) -> datetime | None:
    plan, now = fleet.seen.plan, fleet.seen.now
    freeze = windows.freeze_at(plan.freezes, now)
    moments = (
        soak_ends(fleet),
        windows.opens_at(plan.windows, now),
        fleet.window_closes,
        _next_expiry(fleet),
        freeze.until if freeze else windows.next_freeze(plan.freezes, now),
    )
    return min((moment for moment in moments if moment), default=None)


def _next_expiry(fleet: Fleet) -> datetime | None:
    """When the first order expires that no daemon has begun with."""
    waiting = [node.order for name in fleet.claims if waiting_order(node := fleet.nodes[name])]
    ends = [order.start_before for order in waiting if order and order.start_before]
    return min((end for end in ends if end > fleet.seen.now), default=None)
