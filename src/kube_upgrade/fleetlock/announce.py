"""What the lock server tells people about nodes: Events on the Node, beside its log and metrics."""

from enum import StrEnum
from typing import Protocol

from kube_upgrade.kube.wire.event import Announcement, ObjectReference


class Told(StrEnum):
    """The reasons of our Events."""

    GRANTED = "LockGranted"
    RELEASED = "LockReleased"
    FREED = "LockFreed"
    BLOCKED = "DrainBlocked"
    GAVE_UP = "DrainGaveUp"
    DELETED = "PodsDeleted"
    UNCORDONED = "CordonUndone"


ORDINARY = (Told.GRANTED, Told.RELEASED)


class Announcer(Protocol):
    """kube.events.Recorder."""

    def announce(self, said: Announcement) -> None:
        """Take note; returns at once."""
        ...


def about(node: str, told: Told, note: str, uid: str = "") -> Announcement:
    """The Event of a node."""
    return Announcement(
        regarding=ObjectReference(kind="Node", name=node, uid=uid),
        reason=told,
        action="Lock" if told in ORDINARY else "Drain",
        note=note,
        type="Normal" if told in ORDINARY else "Warning",
    )
