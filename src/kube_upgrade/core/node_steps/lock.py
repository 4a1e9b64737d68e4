"""Step 2: the lock, and the own look at who is still on the node."""

from datetime import datetime, timedelta

from kube_upgrade.core.node_steps.case import Case
from kube_upgrade.core.node_steps.failure import give_up, returned
from kube_upgrade.core.node_steps.release import relock
from kube_upgrade.model.host import HostSnapshot, LockFact
from kube_upgrade.model.moment import time_or_none
from kube_upgrade.model.node import Node
from kube_upgrade.model.pod import Pod
from kube_upgrade.model.step import Step, TakeLock, Wait, Why

BELIEVED = timedelta(minutes=10)  # how long a yes counts; asking again costs the server nothing


def take(case: Case) -> Step | None:
    """Ask until the answer is 200. Waiting has no deadline."""
    if nothing_to_do(case):
        return None
    if not case.ordered and not case.committed and (held := os_update_held(case.seen, case.node)):
        message = "only staged: " + held
        return returned(case, message) or Wait(reason=Why.OS_UPDATE_HELD, message=message, until=_next_look(case))
    return None if case.locked else _ask(case)


def _ask(case: Case) -> Step:
    url, group = case.seen.config.fleetlock_url, case.seen.config.fleetlock_group or ""
    if not url:
        return give_up(case, Why.NO_LOCK_SERVER, "fleetlockUrl is set neither in the plan nor in config.yaml")
    lock = case.facts.lock
    if lock is not None and lock.url and (lock.url, lock.group) != (url, group):
        return returned(case, "asked under another URL or group") or TakeLock(url=url, group=group)
    if lock is not None and lock.again is not None and case.now < lock.again:
        return Wait(reason=Why.LOCK_BUSY, message=lock.answer, until=lock.again)
    return TakeLock(url=url, group=group)


def confirmed(case: Case, step: Step) -> Step:
    """The step, which nobody can take back, where the server's last word was yes and is fresh; else it is asked again.

    It frees the slot of a node whose object is gone, and this daemon or its host may have slept meanwhile.
    """
    lock = case.facts.lock
    if lock is None or _believed(case, lock):
        return step
    if lock.again is not None and case.now < lock.again:
        wait = Wait(reason=Why.LOCK_BUSY, message=lock.answer, until=lock.again)
        return relock(case.seen, case.facts) or wait
    return TakeLock(url=lock.url, group=lock.group)


def _believed(case: Case, lock: LockFact) -> bool:
    """A yes of the last minutes, to this boot and this Node object; a clock that was set back makes none fresh."""
    if lock.confirmed is None or (lock.boot_id, lock.node_uid) != (case.seen.boot_id, case.node.uid):
        return False
    return timedelta(0) <= case.now - lock.confirmed <= BELIEVED


def pods_gone(case: Case) -> Step | None:
    """Nobody else's pods are on the node. Where they stay or come back, the server is asked to drain again."""
    lock = case.facts.lock
    if nothing_to_do(case) or lock is None or lock.no_other_node or not case.seen.rules.wait_for_pods:
        return None
    pods = case.seen.pods
    soon = case.now + case.seen.rules.poll
    if pods is None:
        return Wait(reason=Why.API_AWAY, message="cannot list this node's pods", until=soon)
    if not (remaining := others(pods)):
        return None
    retry = case.seen.config.retry_interval
    if retry is not None and case.now >= lock.asked + retry:
        return TakeLock(url=lock.url, group=lock.group)
    sample = ", ".join(pod.key for pod in remaining[:3]) + (", …" if len(remaining) > 3 else "")
    return Wait(reason=Why.PODS_REMAIN, message=f"{len(remaining)} pods are still here: {sample}", until=soon)


def others(pods: tuple[Pod, ...]) -> tuple[Pod, ...]:
    """Pods that a drain must have moved: neither mirror, nor DaemonSet, nor finished; by name."""
    staying = (pod for pod in pods if not (pod.mirror or pod.finished or (pod.owner and pod.owner[0] == "DaemonSet")))
    return tuple(sorted(staying, key=lambda pod: pod.key))


def nothing_to_do(case: Case) -> bool:
    """True where neither kubeadm nor a reboot is needed (any more)."""
    return case.wanted_booted and case.kubeadm_done


def os_update_held(seen: HostSnapshot, node: Node) -> str:
    """Why an OS-only update may not take the lock now; empty where it may.

    Without a plan nobody writes `osUpdates`, and the host's own config is the only word.
    """
    word = node.os_updates
    if word is None:
        planned = bool(node.config) or node.order is not None
        return "the plan has not allowed OS updates" if planned else ""
    until = time_or_none(word)
    if until is None:
        return f"osUpdates is {word!r}"
    return "" if seen.now < until else "osUpdates has passed"


def _next_look(case: Case) -> datetime:
    interval = case.seen.config.check_interval
    return case.now + interval if interval else case.now + case.seen.rules.poll * 30
