"""events.k8s.io/v1 Event, as we write it. The limits are the API server's (domain: 5.7)."""

from datetime import datetime
from typing import Literal

import msgspec

from kube_upgrade.kube.wire.lease import micro_time

TEXT_LIMIT, NOTE_LIMIT = 128, 1024


class ObjectReference(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """v1.ObjectReference; a cluster-scoped object has no namespace."""

    kind: str
    name: str
    api_version: str = msgspec.field(default_factory=lambda: "v1")  # by factory: omit_defaults keeps it
    namespace: str = ""
    uid: str = ""


class EventObject(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """One Event before its first repetition."""

    metadata: dict[str, str]
    event_time: str
    reporting_controller: str
    reporting_instance: str
    action: str
    reason: str
    type: str
    note: str
    regarding: ObjectReference
    related: ObjectReference | None = None
    api_version: str = msgspec.field(default_factory=lambda: "events.k8s.io/v1")
    kind: str = msgspec.field(default_factory=lambda: "Event")


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """What happened, to what, in one sentence. Equal ones are one event with a count."""

    regarding: ObjectReference
    reason: str  # one word, CamelCase
    action: str  # what we did or would not do, one word
    note: str
    type: Literal["Normal", "Warning"] = "Normal"
    related: ObjectReference | None = None


def to_event(said: Announcement, *, name: str, at: datetime, controller: str, instance: str) -> EventObject:
    """The Event of a first announcement, cut to the server's limits; cluster-scoped ones live in `default`."""
    return EventObject(
        metadata={"name": name, "namespace": namespace_of(said)},
        event_time=micro_time(at) or "",
        reporting_controller=controller,
        reporting_instance=instance[:TEXT_LIMIT],
        action=said.action[:TEXT_LIMIT],
        reason=said.reason[:TEXT_LIMIT],
        type=said.type,
        note=_cut(said.note),
        regarding=said.regarding,
        related=said.related,
    )


def repetition(count: int, at: datetime) -> dict[str, object]:
    """The merge patch that counts an event up."""
    return {"series": {"count": count, "lastObservedTime": micro_time(at)}}


def namespace_of(said: Announcement) -> str:
    """Where the Event of this announcement lives."""
    return said.regarding.namespace or "default"


def _cut(note: str) -> str:
    """At most NOTE_LIMIT bytes, never half a character."""
    data = note.encode()
    return note if len(data) <= NOTE_LIMIT else data[: NOTE_LIMIT - 3].decode(errors="ignore") + "…"
