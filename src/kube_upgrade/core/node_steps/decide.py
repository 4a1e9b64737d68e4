"""The whole node daemon on one screen: the next step of a node, from one look at it and nothing else.

There is no resume code and no stored phase: after a crash, a reboot or a lost answer the next look decides.
"""

from collections.abc import Callable

from kube_upgrade.core.node_steps import failure, finish, kubeadm, lock, reboot, stage, verdict, verify
from kube_upgrade.core.node_steps.case import Case
from kube_upgrade.core.node_steps.goal import choose, next_check
from kube_upgrade.model.host import GoalKind, HostSnapshot
from kube_upgrade.model.step import AcceptRetry, Idle, Step, Wait, Why

QUESTIONS: tuple[Callable[[Case], Step | None], ...] = (
    reboot.under_way,  # nothing is touched while a shutdown may be on its way
    verdict.fell_back,
    finish.withdrawn,
    finish.lock_without_use,
    stage.allowed,
    stage.os_busy,
    stage.catch,
    stage.resolve,  # 1. in service
    stage.trusted,
    stage.stage,
    stage.pull_images,
    stage.only_fetch,
    kubeadm.etcd_lives,
    kubeadm.permitted,
    failure.spent,
    lock.take,  # 2. out of service
    lock.pods_gone,
    kubeadm.snapshot_etcd,  # 3. no way back
    kubeadm.run,
    reboot.kubelet_is_local,
    reboot.reboot,  # 4.
    verify.verify,  # 5.
    finish.complete,  # 6.
    finish.release,
)


def decide(seen: HostSnapshot) -> Step:
    """The first question that has an answer; each says what must happen before those after it may be asked."""
    if step := kubeadm.still_runs(seen) or unsure(seen):
        return step
    case = choose(seen)
    if case is None:
        return finish.loose_ends(seen) or Idle(until=next_check(seen))
    if case.goal.kind is GoalKind.HEALTH:
        return finish.well_again(case)
    answers = (question(case) for question in QUESTIONS)
    return next((step for step in answers if step is not None), Idle(until=next_check(seen)))


def unsure(seen: HostSnapshot) -> Step | None:
    """Which Node this machine is, and what runs on it, comes before everything."""
    node, soon = seen.node, seen.now + seen.rules.poll * 5
    if node is None:
        return Wait(reason=Why.API_AWAY, message="this node's object is not known", until=soon)
    if machine(node.machine_id) != machine(seen.machine_id):
        theirs = node.machine_id or "no machine-id"
        message = f"Node {node.name} shows {theirs}, this machine is {seen.machine_id}: nothing is done here"
        return Wait(reason=Why.WRONG_NODE, message=message, until=soon)
    if node.retry is not None and node.retry != seen.facts.retried:
        return AcceptRetry(request=node.retry)
    if seen.os is None:
        return Wait(reason=Why.HOST_UNREADABLE, message=seen.os_problem or "no OS status", until=soon)
    return None


def machine(id: str) -> str:
    """A machine-id as 32 hex digits, whichever way it is written."""
    return id.strip().replace("-", "").lower()
