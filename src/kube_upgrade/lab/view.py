"""What people see of a run, as values and text: groups, nodes, phase, who holds the lock, what waits and why. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kube_upgrade.lab.history import World, in_service
from kube_upgrade.model.node import Node, NodeStatus
from kube_upgrade.model.plan import Plan, nodes_allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """One group of the plan."""

    name: str
    status: str
    done: int
    nodes: int
    out: int  # not Ready or cordoned, right now
    budget: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """One node. `lock` is the FleetLock group whose slot it holds, or empty."""

    name: str
    group: str
    version: str
    phase: str
    service: str  # what `kubectl get nodes` shows: Ready, NotReady, with SchedulingDisabled
    lock: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The whole picture at one moment."""

    title: str
    summary: str
    groups: tuple[GroupRow, ...] = ()
    nodes: tuple[NodeRow, ...] = ()
    waits: tuple[str, ...] = ()


def view(world: World) -> View:
    """The picture of the oldest plan and all nodes."""
    plan = min(world.plans.values(), key=lambda each: each.created, default=None)
    if plan is None:
        nodes = tuple(_node(node, None) for node in _sorted(world.nodes.values()))
        return View(title="no plan yet", summary="", nodes=nodes)
    start = plan.status.version.start if plan.status.version else None
    return View(
        title=f"plan {plan.name}: {f'{start} → ' if start else ''}{plan.version}",
        summary=plan.status.summary or "not looked at yet",
        groups=tuple(_group(world, plan, group.name) for group in plan.groups),
        nodes=tuple(_node(node, plan) for node in _sorted(world.nodes.values())),
        waits=tuple(_wait(hold.nodes, hold.reason, hold.message, hold.sample) for hold in plan.status.holds),
    )


def news(before: View, after: View) -> Iterator[str]:
    """A line for each thing that is different: what a log shows where a terminal shows the picture."""
    if after.summary and after.summary != before.summary:
        yield f"plan: {after.summary}"
    known = {row.name: row for row in before.nodes}
    for row in after.nodes:
        old = known.get(row.name)
        if old is None or (old.phase, old.version, old.service, old.lock) != (
            row.phase,
            row.version,
            row.service,
            row.lock,
        ):
            lock = f", holds lock {row.lock}" if row.lock else ""
            yield f"{row.name}: {row.phase or 'idle'} ({row.version}, {row.service}{lock})" + _after_colon(row.note)
    for wait in after.waits:
        if wait not in before.waits:
            yield f"waiting: {wait}"


def text(picture: View) -> str:
    """The picture as plain text with aligned columns."""
    groups = [(row.name, f"{row.done}/{row.nodes}", f"{row.out} of {row.budget}", row.status) for row in picture.groups]
    nodes = [(row.name, row.version, row.service, row.phase, row.lock, row.note) for row in picture.nodes]
    parts = [
        f"{picture.title}: {picture.summary}" if picture.summary else picture.title,
        columns(("GROUP", "DONE", "OUT", "STATUS"), groups) if groups else "",
        columns(("NODE", "VERSION", "SERVICE", "PHASE", "LOCK", "NOTE"), nodes) if nodes else "",
        "\n".join(f"waiting: {wait}" for wait in picture.waits),
    ]
    return "\n\n".join(part for part in parts if part)


def columns(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table as kubectl prints it: three spaces between columns, none at line ends."""
    lines = [head, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _sorted(nodes: Iterable[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: (not node.control_plane, node.name))


def _group(world: World, plan: Plan, name: str) -> GroupRow:
    members = world.members(plan, name)
    group = next(each for each in plan.groups if each.name == name)
    return GroupRow(
        name=name,
        status=plan.status.groups.get(name, "Unknown"),
        done=sum(node.at(plan.version) and node.report.status is NodeStatus.COMPLETED for node in members),
        nodes=len(members),
        out=sum(not in_service(node) for node in members),
        budget=nodes_allowed(group.max_unavailable, len(members)),
    )


def _node(node: Node, plan: Plan | None) -> NodeRow:
    groups = [group.name for group in plan.groups if group.selector.matches(node.labels)] if plan else []
    return NodeRow(
        name=node.name,
        group=",".join(groups),
        version=str(node.kubelet or "?"),
        phase=phase(node),
        service=("Ready" if node.ready else "NotReady") + (",SchedulingDisabled" if node.unschedulable else ""),
        lock=node.drain.group if node.drain else "",
        note=node.report.message,
    )


def phase(node: Node) -> str:
    """The daemon's finer word while an order is open; upstream's word afterwards."""
    status = node.report.status
    if node.order is None or status is None:
        return ""
    if status in (NodeStatus.COMPLETED, NodeStatus.ERROR) or node.report.phase in ("", "idle"):
        return status
    return node.report.phase


def _wait(nodes: int, reason: str, message: str, sample: tuple[str, ...]) -> str:
    rest = f" and {nodes - len(sample)} more" if nodes > len(sample) else ""
    return f"{', '.join(sample)}{rest}: {reason}: {message}"


def _after_colon(note: str) -> str:
    return f": {note}" if note else ""
