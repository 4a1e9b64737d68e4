"""What this node works towards: one thing at a time, and what was begun before what is new."""

from datetime import datetime

from kube_upgrade.core.node_steps.case import Case
from kube_upgrade.core.node_steps.pace import spread
from kube_upgrade.core.node_steps.release import give_back
from kube_upgrade.model.host import Facts, Goal, GoalKind, HostSnapshot
from kube_upgrade.model.node import Node, NodeStatus
from kube_upgrade.model.version import BadVersion, KubeVersion


def choose(seen: HostSnapshot) -> Case | None:
    """The goal, or None where nothing is wanted or the Node object is unknown."""
    if seen.node is None:
        return None
    goal = (
        _under_way(seen)
        or _ordered(seen, seen.node)
        or _begun(seen)
        or _well_again(seen)
        or _prefetch(seen, seen.node)
        or _os_update(seen, seen.node)
    )
    if goal is None:
        return None
    facts = seen.facts if goal.kind is GoalKind.HEALTH else seen.facts.for_goal(goal)
    return Case(seen=seen, goal=goal, facts=facts, node=seen.node)


def facts_of(seen: HostSnapshot) -> Facts:
    """The facts that count for the snapshot's goal: what an effect changes and writes."""
    case = choose(seen)
    return case.facts if case else seen.facts


def next_check(seen: HostSnapshot) -> datetime:
    """When to look for a new image of the running tag: each check interval, a little apart on each node."""
    checked, interval = seen.facts.os_checked, seen.config.check_interval
    if checked is None or interval is None:
        return seen.now
    return min(checked, seen.now) + spread(interval, seed=seen.machine_id)


def _under_way(seen: HostSnapshot) -> Goal | None:
    """A reboot that may still end well is brought to its end, whatever else is wanted by now."""
    reboot, now = seen.facts.reboot, seen.now
    if reboot is None or now > reboot.asked + seen.rules.verify_within:
        return None
    return _begun(seen)


def _ordered(seen: HostSnapshot, node: Node) -> Goal | None:
    order = node.order
    if order is None or node.report.status is NodeStatus.COMPLETED:
        return None
    return Goal(
        kind=GoalKind.KUBERNETES,
        repository=seen.config.stream or "",
        tag=str(order.version),
        version=order.version,
        kubeadm=order.kubeadm,
        start_before=order.start_before,
    )


def _begun(seen: HostSnapshot) -> Goal | None:
    """From step 3 on a node finishes, even where the order is gone."""
    facts, run = seen.facts, seen.facts.kubeadm
    if facts.lock is None or facts.lock.granted is None or facts.kind not in (GoalKind.KUBERNETES, GoalKind.OS):
        return None
    version = _version(facts.target)
    touched = facts.kind is GoalKind.KUBERNETES and run is not None and run.version == version
    if not touched and facts.reboot is None:
        return None
    role = run.role if run is not None and touched else None
    return Goal(kind=facts.kind, repository=facts.repository, tag=facts.target, version=version, kubeadm=role)


def _well_again(seen: HostSnapshot) -> Goal | None:
    """What runs, as it is, where something was begun under a lock that can be given back."""
    lock = seen.facts.lock
    if lock is None or not lock.touched or give_back(seen, seen.facts) is None:
        return None
    image = seen.booted.image if seen.booted else None
    return Goal(kind=GoalKind.HEALTH, repository=image.repository if image else "", tag=image.tag if image else "")


def _prefetch(seen: HostSnapshot, node: Node) -> Goal | None:
    if node.stage is None or node.stage == node.kubelet or node.hold is not None:
        return None
    return Goal(kind=GoalKind.PREFETCH, repository=seen.config.stream or "", tag=str(node.stage), version=node.stage)


def _os_update(seen: HostSnapshot, node: Node) -> Goal | None:
    booted = seen.booted
    if node.hold is not None or booted is None or booted.image is None or not booted.image.tag:
        return None
    tag = booted.image.tag
    goal = Goal(kind=GoalKind.OS, repository=booted.image.repository, tag=tag, version=_version(tag))
    facts = seen.facts.for_goal(goal)
    news = facts.digest not in ("", booted.digest) and facts.digest not in facts.bad_digests
    return goal if news or seen.now >= next_check(seen) else None


def _version(tag: str) -> KubeVersion | None:
    try:
        return KubeVersion.parse(tag)
    except BadVersion:
        return None
