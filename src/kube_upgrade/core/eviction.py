"""Which pods of a node a drain moves: DaemonSet, mirror and finished pods stay, as in `kubectl drain`.

Beyond kubectl: a pod that no other node could take stays as well (NoOtherNode). Evicting it would only stop it
earlier, and behind a PodDisruptionBudget the drain of a single node, or of the one worker of a pair, would never end.
What comes back by itself is no such case: a node that is not Ready for seconds, or that we drain ourselves.
Only readiness, cordons and taints are looked at, so the answer errs towards "another node could take it".
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from kube_upgrade.model.node import Node, Taint
from kube_upgrade.model.pod import Pod, Toleration

_KEEPS_OUT = ("NoSchedule", "NoExecute")
_OF_CONDITIONS = "node.kubernetes.io/"  # taints that the cluster's own controllers set and lift with a node's condition


class Stay(StrEnum):
    """Why a pod may stay on a drained node."""

    MIRROR = "Mirror"  # the kubelet's own; the API's copy can't be moved
    DAEMON_SET = "DaemonSet"  # its controller ignores cordons
    FINISHED = "Finished"  # nothing of it runs
    NO_OTHER_NODE = "NoOtherNode"


@dataclass(frozen=True, slots=True)
class Evict:
    """Ask for its eviction."""


@dataclass(frozen=True, slots=True)
class Await:
    """It is being deleted: wait until it is gone."""


@dataclass(frozen=True, slots=True)
class Postpone:
    """A node that could take it is not Ready, but may be soon: neither evict it nor go on without it."""


@dataclass(frozen=True, slots=True)
class Skip:
    """It may stay."""

    reason: Stay


@dataclass(frozen=True, slots=True)
class Refuse:
    """The policy does not let this pod be evicted; the drain waits for a person."""

    message: str


Judgement = Evict | Await | Postpone | Skip | Refuse


class Overdue(StrEnum):
    """What becomes of a drain that is not done at its deadline."""

    WAIT = "wait"  # go on for ever
    GIVE_UP = "giveUp"  # uncordon, free the slot, say so
    DELETE = "delete"  # delete what is left, past every budget, but for what the policy refuses to evict


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainPolicy:
    """What an operator allows in one group. `bare_pods`: pods without a controller, which nobody re-creates.

    `deadline` is in seconds of draining; None: there is none, and `overdue` never comes.
    """

    bare_pods: bool = True
    empty_dir: bool = True
    no_other_node: bool = True  # False: evict even where no other node could take the pod
    deadline: float | None = None
    overdue: Overdue = Overdue.WAIT

    def at(self, spent: float) -> Overdue:
        """What to do after so many seconds."""
        return Overdue.WAIT if self.deadline is None or spent < self.deadline else self.overdue


def judge(pod: Pod, others: Sequence[Node], policy: DrainPolicy, lost: Collection[str] = ()) -> Judgement:
    """What a drain does with one pod of the node; `others` are the cluster's other nodes.

    `lost` are the uids of those that are not Ready for so long that nobody waits for them.
    """
    if stays := _stays_anyway(pod):
        return Skip(stays)
    if pod.deleted_at is not None:
        return Await()
    if policy.no_other_node and (waits := _where_to(pod, others, lost)):
        return waits
    if pod.owner is None and not policy.bare_pods:
        return Refuse(f"pod {pod.key} has no controller that would re-create it, and the policy keeps such pods")
    if pod.empty_dir and not policy.empty_dir:
        return Refuse(f"pod {pod.key} has an emptyDir volume, and the policy keeps such pods")
    return Evict()


def _where_to(pod: Pod, others: Sequence[Node], lost: Collection[str]) -> Skip | Postpone | None:
    """None where a node can take the pod, or will when its own reservation is over."""
    if any((node.ready or node.drain is not None) and could_take(node, pod) for node in others):
        return None  # the first of thousands is enough, as nearly always
    hope = any(node.uid not in lost and could_take(node, pod) for node in others)
    return Postpone() if hope else Skip(Stay.NO_OTHER_NODE)


def could_take(node: Node, pod: Pod) -> bool:
    """True where the node's spec lets the pod in; a cordon of ours alone does not count, since we lift it."""
    cordoned = node.unschedulable and (node.drain is None or node.drain.cordoned_before)
    return not cordoned and all(
        tolerates(pod.tolerations, taint) for taint in node.taints if not _comes_and_goes(taint)
    )


def _comes_and_goes(taint: Taint) -> bool:
    return taint.key.startswith(_OF_CONDITIONS)


def tolerates(tolerations: Sequence[Toleration], taint: Taint) -> bool:
    """True where a pod with these tolerations may be scheduled in spite of the taint."""
    return taint.effect not in _KEEPS_OUT or any(_matches(toleration, taint) for toleration in tolerations)


def _matches(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect not in ("", taint.effect):
        return False
    if toleration.operator == "Exists":
        return toleration.key in ("", taint.key)
    same = (toleration.key, toleration.value) == (taint.key, taint.value)
    return toleration.operator in ("", "Equal") and same


def _stays_anyway(pod: Pod) -> Stay | None:
    if pod.mirror:
        return Stay.MIRROR
    if pod.owner is not None and pod.owner[0] == "DaemonSet":
        return Stay.DAEMON_SET
    return Stay.FINISHED if pod.finished else None
