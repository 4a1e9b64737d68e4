"""The whole controller on one screen: from what is seen to what is done, with every reason."""

from dataclasses import replace

from kube_upgrade.core.rollout.claims import Tended, adopt, new_claim, order, stray_orders, tend
from kube_upgrade.core.rollout.durations import learn
from kube_upgrade.core.rollout.fleet import Fleet, ordered, survey
from kube_upgrade.core.rollout.gates import start_hold, unmanaged
from kube_upgrade.core.rollout.order import candidates
from kube_upgrade.core.rollout.report import report
from kube_upgrade.core.rollout.upkeep import strangers, upkeep
from kube_upgrade.core.rollout.wake import wake_at
from kube_upgrade.model.action import Action, Decision, OrderNode, PublishStatus
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Group
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import MAX_CLAIMS, Claim, Duration, Hold, Reason


def decide(seen: ClusterSnapshot) -> Decision:
    """What to do now. Pure and total: the same snapshot gives the same decision, and every snapshot gives one."""
    before = survey(seen)
    tended = [tend(before, claim) for claim in seen.plan.status.claims]
    claims = [each.claim for each in tended if each.claim]
    adopted = adopt(before)[: MAX_CLAIMS - len(claims)]
    claims += adopted
    fleet = replace(_with_claims(before, claims), durations=_learned(seen, tended))
    holds = {each.claim.node: each.hold for each in tended if each.claim and each.hold}
    holds = _refused(fleet) | holds | _out_of_reach(fleet)
    fleet.room = MAX_CLAIMS - len(claims)
    started = _start(fleet, holds)
    status = report(fleet, (*claims, *started), holds)
    publish = PublishStatus(status=status, adopts=_looked_at(before, tended, adopted), gone=_gone(before))
    actions: list[Action] = [] if status == seen.plan.status else [publish]
    if not seen.active_plan and not fleet.foreign_until:
        actions += _first_orders(fleet, started)
        actions += _on_nodes(before, fleet, tended, holds)
    return Decision(actions=tuple(actions), status=status, holds=holds, hop=fleet.hop, wake_at=wake_at(fleet))


def _first_orders(fleet: Fleet, started: list[Claim]) -> list[OrderNode]:
    """Orders on claims that are written just before. A node that has its order already only needed the claim."""
    pairs = [(fleet.nodes[claim.node], claim) for claim in started]
    return [order(fleet, claim, node, fleet.members[node.name][0]) for node, claim in pairs if not ordered(node, claim)]


def _on_nodes(before: Fleet, fleet: Fleet, tended: list[Tended], holds: dict[str, Hold]) -> list[Action]:
    """Orders and withdrawals on claims that stood before, and what the other nodes are told."""
    about_orders = [each.action for each in tended if each.action] + stray_orders(before)
    unordered = {name for name, claim in fleet.claims.items() if not ordered(fleet.nodes[name], claim)}
    starting = {name for tally in fleet.tallies.values() for name in tally.claimed if name not in fleet.claims}
    busy = unordered | starting | {action.node for action in about_orders}
    return [*about_orders, *upkeep(fleet, holds, busy), *strangers(fleet)]


def _learned(seen: ClusterSnapshot, tended: list[Tended]) -> dict[str, Duration]:
    """The durations after those that ended just now."""
    durations = dict(seen.plan.status.durations)
    for each, claim in zip(tended, seen.plan.status.claims, strict=True):
        if each.seconds is not None:
            durations[claim.group] = learn(durations.get(claim.group), each.seconds)
    names = {group.name for group in seen.plan.groups}
    return {name: known for name, known in durations.items() if name in names}


def _with_claims(fleet: Fleet, claims: list[Claim]) -> Fleet:
    """The fleet as it will be once these claims are written."""
    seen = fleet.seen
    if tuple(claims) == seen.plan.status.claims:
        return fleet
    status = replace(seen.plan.status, claims=tuple(claims))
    return replace(survey(replace(seen, plan=replace(seen.plan, status=status)), fleet), seen=seen)


def _start(fleet: Fleet, holds: dict[str, Hold]) -> list[Claim]:
    """Claim what may start; say of everything else why not."""
    started: list[Claim] = []
    for node, group in candidates(fleet):
        hold = start_hold(fleet, node, group)
        if hold:
            holds[node.name] = hold
            continue
        started.append(new_claim(fleet, node, group, fleet.hop))
        imagine_started(fleet, node, group)
    return started


def imagine_started(fleet: Fleet, node: Node, group: Group) -> None:
    """Count a node that is claimed from now on in everything that gates look at."""
    fleet.room -= 1
    fleet.tallies[group.name].start(node.name)
    if fleet.is_control_plane(node):
        fleet.busy_control_planes.append(node.name)


def _looked_at(fleet: Fleet, tended: list[Tended], adopted: list[Claim]) -> tuple[Node, ...]:
    """Nodes that are adopted, and those whose claims end by a proof that may be an earlier order's: a late copy of the
    Nodes shows both. The others' claims end by a proof that was not there before: no read for each."""
    pairs = zip(tended, fleet.seen.plan.status.claims, strict=True)
    ended = [claim for each, claim in pairs if each.claim is None and claim.untimed]
    released = [claim for claim in ended if fleet.claims.get(claim.node) is claim]
    return tuple(fleet.nodes[claim.node] for claim in (*adopted, *released))


def _gone(fleet: Fleet) -> tuple[tuple[str, str], ...]:
    """Claims, by node and uid, that end because their Node object is not there any more, or is another one."""
    claims = [(claim.node, claim.uid) for claim in fleet.seen.plan.status.claims]
    return tuple((name, uid) for name, uid in claims if name not in fleet.nodes or fleet.nodes[name].uid != uid)


def _refused(fleet: Fleet) -> dict[str, Hold]:
    """Claimed nodes that nothing can be written on: why they do not get on."""
    refused = fleet.seen.refused
    waiting = {name: claim for name, claim in fleet.claims.items() if name in refused}
    return {
        name: Hold(Reason.PATCH_REFUSED, f"the API server refuses what is to be written on it: {refused[name]}")
        for name, claim in waiting.items()
        if not ordered(fleet.nodes[name], claim)
    }


def _out_of_reach(fleet: Fleet) -> dict[str, Hold]:
    """Nodes that must not be touched because several groups select them, or none does though all wait for them."""
    torn = {
        name: Hold(Reason.GROUP_CONFLICT, f"groups {' and '.join(group.name for group in groups)} select the node")
        for name, groups in fleet.members.items()
        if len(groups) > 1
    }
    alien = [name for name in fleet.control_planes_behind if not fleet.members[name]]
    return {name: unmanaged(fleet, name) for name in alien} | torn
