"""Step 5: evidence, held for a while. Without all of it nothing is reported and no lock is given back."""

from datetime import timedelta

from kube_upgrade.core.node_steps.case import Case
from kube_upgrade.core.node_steps.goal import choose
from kube_upgrade.model.host import GoalKind, HostSnapshot, Streak
from kube_upgrade.model.pod import STATIC_PODS, Pod
from kube_upgrade.model.step import Failed, Step, Wait, Why
from kube_upgrade.model.version import KubeVersion

GAP = timedelta(seconds=10)  # a longer time between two looks proves nothing about the time between


def lacking(case: Case) -> tuple[str, ...]:
    """What is not yet proven, in words, in the order in which it usually comes.

    A bad image, and one that nobody wants, ask only for health.
    """
    return _lacking(case, only_health=case.bad or case.goal.kind is GoalKind.HEALTH)


def _lacking(case: Case, *, only_health: bool) -> tuple[str, ...]:
    pods = _static_pods(case, only_health=only_health) if case.seen.control_plane else ()
    return (*_from_the_node(case, only_health=only_health), *_from_localhost(case), *pods)


def _from_the_node(case: Case, *, only_health: bool) -> tuple[str, ...]:
    node, seen, version = case.node, case.seen, case.goal.version
    old_boot = case.facts.reboot is not None and case.facts.reboot.boot_id == seen.boot_id and not only_health
    old_kubelet = case.ordered and not only_health and node.kubelet != version
    wrong = {
        "not rebooted": old_boot,
        f"{case.goal.reference} is not booted": not only_health and not case.wanted_booted,
        "the API server does not answer": not seen.api_reachable,
        "the Node object shows an older boot": node.boot_id != seen.boot_id,
        f"the kubelet reports {node.kubelet}": old_kubelet,
        "the node is not Ready": not node.ready,
    }
    return tuple(words for words, is_wrong in wrong.items() if is_wrong)


def _from_localhost(case: Case) -> tuple[str, ...]:
    health = case.seen.health
    wrong = {"the kubelet is not healthy": health.kubelet is False}
    if case.seen.control_plane:
        wrong["this node's API server is not ready"] = health.api_server is False
        wrong["this node's etcd is not healthy"] = health.etcd is False
    return tuple(words for words, is_wrong in wrong.items() if is_wrong)


def _static_pods(case: Case, *, only_health: bool) -> tuple[str, ...]:
    """Every static pod of the control plane is Ready, and at the version where one was ordered."""
    if case.seen.pods is None:
        return ("this node's pods are not known",)
    version = case.goal.version if case.ordered and not only_health else None
    mine = {pod.labels.get("component", ""): pod for pod in case.seen.pods if pod.mirror}
    return tuple(
        f"{name} is not ready" + (f" at {version}" if version else "")
        for name in STATIC_PODS
        if name not in mine or not mine[name].ready or (version and _version(mine[name]) != version)
    )


def _version(pod: Pod) -> KubeVersion | None:
    return KubeVersion.of_image(pod.images[0]) if pod.images else None


def look(before: Streak | None, seen: HostSnapshot) -> Streak | None:
    """How long the evidence has been good, this look included; None where it is not, or nothing is to be proven."""
    case = choose(seen)
    return None if case is None or lacking(case) else _longer(before, seen)


def look_at_health(before: Streak | None, seen: HostSnapshot) -> Streak | None:
    """The same of the node's health alone, whatever image runs."""
    case = choose(seen)
    return None if case is None or _lacking(case, only_health=True) else _longer(before, seen)


def _longer(before: Streak | None, seen: HostSnapshot) -> Streak:
    if before is None or not timedelta(0) <= seen.now - before.last <= GAP:
        return Streak(since=seen.now, last=seen.now)
    return Streak(since=before.since, last=seen.now)


def settled(case: Case) -> bool:
    """True where all evidence is good now and has been for the settle time."""
    streak = case.seen.streak
    return streak is not None and not lacking(case) and case.now - streak.since >= settle_time(case)


def well(case: Case) -> bool:
    """True where the node is well as it is, and has been for the settle time."""
    streak = case.seen.well
    lasting = streak is not None and case.now - streak.since >= settle_time(case)
    return lasting and not _lacking(case, only_health=True)


def settle_time(case: Case) -> timedelta:
    """A control plane's static pods restart after the node is Ready: it may be given longer."""
    rules = case.seen.rules
    return max(rules.settle, rules.control_plane_settle) if case.seen.control_plane else rules.settle


def verify(case: Case) -> Step | None:
    """Wait for the evidence; past the deadline say what is missing, and go on looking."""
    if settled(case):
        return None
    missing, rules = lacking(case), case.seen.rules
    if not missing:
        streak = case.seen.streak
        end = (streak.since if streak else case.now) + settle_time(case)
        until = max(case.now + rules.poll / 20, min(end, case.now + rules.poll))
        return Wait(reason=Why.VERIFYING, message="all is well, settling", until=until)
    soon, message = case.now + rules.poll, "; ".join(missing)
    if case.committed and _too_late(case):
        message = f"not proven well in {rules.verify_within}: {message} (lock and cordon are kept)"
        return Failed(reason=Why.NOT_PROVEN, message=message, until=soon)
    return Wait(reason=Why.VERIFYING, message=message, until=soon)


def _too_late(case: Case) -> bool:
    """By stored wall time, so that it survives restarts; a retry request counts anew."""
    reboot = case.facts.reboot
    begun = [moment for moment in (reboot and reboot.asked, case.facts.retried_at) if moment]
    return bool(begun) and case.now > max(begun) + case.seen.rules.verify_within
