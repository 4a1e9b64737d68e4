"""What a lock server must repair: slots whose Node is gone, cordons whose slot is gone. Never anything by age."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kube_upgrade.model.lock import DrainMark, Holder, LockGroup
from kube_upgrade.model.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeSlot:
    """The holder's Node object is gone (or is another object of that name): nobody is left to release."""

    group: str
    holder: Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoCordon:
    """The node's mark names a reservation that is not there any more: a server died between two writes."""

    node: str
    mark: DrainMark


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeDrain:
    """The node is marked and its slot is held: a drain may have stopped half-way with its server."""

    node: str
    mark: DrainMark


def repairs(nodes: Iterable[Node], groups: Mapping[str, LockGroup]) -> tuple[FreeSlot | UndoCordon, ...]:
    """What looks wrong in a snapshot that may lag; whoever acts on it looks again first.

    `groups` are all groups of this server; a mark of a group that it does not know is left alone.
    """
    nodes = tuple(nodes)
    uids = {node.uid for node in nodes}
    free = [
        FreeSlot(group=group.name, holder=holder)
        for group in groups.values()
        for holder in group.holders
        if holder.uid and holder.uid not in uids
    ]
    undo = [
        UndoCordon(node=node.name, mark=node.drain)
        for node in nodes
        if node.drain is not None and node.drain.group in groups and not reserved(groups[node.drain.group], node.drain)
    ]
    return (*free, *undo)


def unfinished(nodes: Iterable[Node], groups: Mapping[str, LockGroup]) -> tuple[ResumeDrain, ...]:
    """The drains that are not known to be done: a server which just started goes on with them."""
    return tuple(
        ResumeDrain(node=node.name, mark=node.drain)
        for node in nodes
        if node.drain is not None
        and not node.drain.drained
        and node.drain.group in groups
        and reserved(groups[node.drain.group], node.drain)
    )


def reserved(group: LockGroup, mark: DrainMark) -> bool:
    """True where the mark's reservation is in the group."""
    holder = group.holder(mark.id)
    return holder is not None and holder.since == mark.since
