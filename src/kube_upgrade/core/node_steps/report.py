"""What the node says of itself, from the same look and step: upstream's word, our finer word, and a sentence."""

from dataclasses import replace

from kube_upgrade.core.node_steps.case import Case
from kube_upgrade.core.node_steps.goal import choose
from kube_upgrade.model.host import Facts, GoalKind, HostSnapshot
from kube_upgrade.model.node import KubeadmRole, NodeStatus, Report
from kube_upgrade.model.step import (
    AcceptRetry,
    AwaitKubeadm,
    CleanUp,
    Failed,
    Idle,
    LockStaged,
    MarkBad,
    PullImages,
    Reboot,
    ReleaseLock,
    ReportCompleted,
    ResolveImage,
    RunKubeadm,
    SnapshotEtcd,
    StageImage,
    Step,
    TakeLock,
    VerifyImage,
    Wait,
    Why,
)
from kube_upgrade.model.version import KubeVersion

_PHASES: dict[type, str] = {
    Idle: "idle",
    Failed: "failed",
    AcceptRetry: "retrying",
    ResolveImage: "resolving",
    VerifyImage: "checking-signature",
    StageImage: "staging",
    PullImages: "pulling",
    TakeLock: "locking",
    SnapshotEtcd: "saving-etcd",
    RunKubeadm: "kubeadm",
    AwaitKubeadm: "kubeadm",
    Reboot: "rebooting",
    LockStaged: "locking-image",
    MarkBad: "fell-back",
    CleanUp: "cleaning-up",
    ReportCompleted: "completed",
    ReleaseLock: "releasing",
}
_WAITS = {
    Why.PODS_REMAIN: "draining",
    Why.LOCK_BUSY: "locking",
    Why.REBOOTING: "rebooting",
    Why.VERIFYING: "verifying",
    Why.NODE_HOLD: "held",
    Why.WITHDRAWN: "withdrawn",
}
_WAITING = "waiting"
PHASES = frozenset({*_PHASES.values(), *_WAITS.values(), _WAITING})  # every word that a report's `phase` can be


def report(seen: HostSnapshot, step: Step) -> Report:
    """The annotations as they should be. `daemon` is the program's own business and left as it was."""
    before = seen.node.report if seen.node else Report()
    case = choose(seen)
    facts = case.facts if case else seen.facts
    return replace(
        before,
        status=_status(case, step, before.status) if case else _unordered(seen, before.status),
        phase=_phase(step),
        message=_message(step, facts),
        attempt=_attempt(facts, seen.rules.attempts),
        staged=_staged(seen, facts),
        applied=_applied(facts, before),
    )


def _status(case: Case, step: Step, before: NodeStatus | None) -> NodeStatus | None:
    order = case.node.order
    if not case.ordered:
        return _unordered(case.seen, before)
    if before is NodeStatus.COMPLETED or (order is not None and order.version != case.goal.version):
        return before
    if isinstance(step, ReleaseLock | LockStaged | MarkBad | CleanUp | AcceptRetry):
        return before  # on the way to a verdict
    verdicts = {
        ReportCompleted: NodeStatus.COMPLETED,
        Failed: NodeStatus.ERROR,
        RunKubeadm: NodeStatus.UPGRADING,
    }
    return verdicts.get(type(step)) or _under_way(case)


def _under_way(case: Case) -> NodeStatus:
    """pending until kubeadm starts; rebasing only after it ended with 0: upstream's daemon skips it then."""
    run = case.facts.kubeadm
    if not case.committed or run is None or run.version != case.goal.version:
        return NodeStatus.PENDING
    return NodeStatus.REBASING if case.kubeadm_done else NodeStatus.UPGRADING


def _unordered(seen: HostSnapshot, before: NodeStatus | None) -> NodeStatus | None:
    """Without an order a verdict stays; what was under way was withdrawn."""
    ordered = seen.node is not None and seen.node.order is not None
    return before if ordered or before in (None, NodeStatus.COMPLETED) else NodeStatus.PENDING


def _phase(step: Step) -> str:
    if isinstance(step, Wait):
        return next((word for why, word in _WAITS.items() if why == step.reason), _WAITING)
    return _PHASES[type(step)]


def _message(step: Step, facts: Facts) -> str:
    match step:
        case TakeLock() if facts.lock and facts.lock.answer:
            return f"{Why.LOCK_BUSY}: {facts.lock.answer}"  # asking again is no news
        case Wait() | Failed():
            return f"{step.reason}: {step.message}"
        case ReleaseLock() | MarkBad():
            return step.message
        case ResolveImage() | VerifyImage() | StageImage():
            return step.reference
        case RunKubeadm() | AwaitKubeadm():
            return _kubeadm(step, facts)
        case _:
            return ""


def _kubeadm(step: RunKubeadm | AwaitKubeadm, facts: Facts) -> str:
    if isinstance(step, AwaitKubeadm):
        return "kubeadm is still running"
    saved = f"; etcd: {facts.etcd_snapshot}" if facts.etcd_for == step.version else ""
    return f"kubeadm upgrade {step.role} to {step.version}{saved}"


def _attempt(facts: Facts, limit: int) -> str:
    """Try k of n of what failed last; empty where nothing does."""
    if not facts.tries:
        return ""
    latest = max(facts.tries.values(), key=lambda tried: tried.last)
    return f"{min(latest.count + 1, limit)}/{limit}"


def _staged(seen: HostSnapshot, facts: Facts) -> str:
    staged = seen.staged
    ours = staged is not None and staged.locked and facts.digest and staged.digest == facts.digest
    return f"{facts.target}@{facts.digest}" if ours and facts.kind is not GoalKind.OS else ""


def _applied(facts: Facts, before: Report) -> KubeVersion | None:
    run = facts.kubeadm
    return run.version if run and run.succeeded and run.role is KubeadmRole.APPLY else before.applied
