"""How long each node took, read from a history: until staged, out of service, and in all."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from kube_upgrade.lab.history import History, in_service
from kube_upgrade.model.node import Node, NodeStatus
from kube_upgrade.model.version import KubeVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTimes:
    """One node's way through the run. Seconds are None where the moment never came."""

    name: str
    role: str  # control-plane or worker
    version: str
    boot_before: str
    boot_after: str
    staged: float | None  # from the order until the image was staged
    out: float  # all the time that it was not Ready or not schedulable, in seconds
    total: float | None  # from the order until it was proven at its target and back in service


def node_times(history: History, target: KubeVersion | None) -> tuple[NodeTimes, ...]:
    """One line for each node that the history knows, control planes first, then by name."""
    lives: dict[str, list[tuple[datetime, Node]]] = {}
    for revision in history.in_order():
        if isinstance(revision.subject, Node):
            lives.setdefault(revision.subject.name, []).append((revision.at, revision.subject))
    baseline, began = history.baseline(), history.began()
    lines = [_times(baseline[name], life, target, began) for name, life in lives.items()]
    return tuple(sorted(lines, key=lambda line: (line.role, line.name)))


def out_of_service(life: Iterable[tuple[datetime, Node]], began: datetime | None) -> float:
    """Seconds that a node spent not Ready or cordoned since the plan came; a state lasts until the next revision."""
    seconds, since = 0.0, None
    if began is None:
        return seconds
    for at, node in life:
        if since is not None:
            seconds += max(0.0, (at - max(since, began)).total_seconds())
        since = None if in_service(node) else at
    return seconds


def _times(
    first: Node, life: list[tuple[datetime, Node]], target: KubeVersion | None, began: datetime | None
) -> NodeTimes:
    last = life[-1][1]
    ordered = next((at for at, node in life if node.order and node.order.version == target), None)
    staged = next((at for at, node in life if target and node.report.staged.startswith(f"{target}@")), None)
    proven = next((at for at, node in life if target and _proven(node, target)), None)
    return NodeTimes(
        name=last.name,
        role="control-plane" if last.control_plane else "worker",
        version=str(last.kubelet or ""),
        boot_before=first.boot_id,
        boot_after=last.boot_id,
        staged=_between(ordered, staged),
        out=out_of_service(life, began),
        total=_between(ordered, proven),
    )


def _proven(node: Node, target: KubeVersion) -> bool:
    return node.at(target) and not node.unschedulable and node.report.status is NodeStatus.COMPLETED


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return max(0.0, (end - start).total_seconds()) if start and end else None
