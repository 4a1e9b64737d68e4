"""Lock groups and the control-plane turn as Leases: the state is an annotation, `kubectl get leases` shows the holders.

A Lease per group because Leases are what the lock server may write (design: 9); nothing here expires. acquireTime is
the moment of the group's latest reservation, which `core.fleetlock.slots` needs to keep reservations apart.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from kube_upgrade.kube.wire.lease import micro_time
from kube_upgrade.kube.wire.meta import ObjectMeta
from kube_upgrade.model.lock import Holder, LockGroup, Turn
from kube_upgrade.model.moment import time_or_none, time_text

PREFIX = "fleetlock.kube-upgrade.heathcliff.eu/"
LABELS = {"app.kubernetes.io/managed-by": "fleetlock"}
SELECTOR = {"labelSelector": ",".join(f"{key}={value}" for key, value in LABELS.items())}  # parameters of a list
KIND_LABEL = PREFIX + "lock"  # `group` or `turn`
GROUP = PREFIX + "group"  # the group's name: object names can't carry every group name
HOLDERS = PREFIX + "holders"  # JSON list
WAITING = PREFIX + "waiting"  # JSON list of replicas
TURN = PREFIX + "turn"  # JSON object
TURN_NAME = "fleetlock-control-plane"
_PLAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
T = TypeVar("T")


class BadLockObject(ValueError):
    """A lock's Lease can't be read: someone wrote over it. Reading it as empty would grant too much."""


class LeaseSpec(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """spec, reduced. The times are MicroTime texts with exactly six digits of fraction."""

    holder_identity: str = ""
    acquire_time: str | None = None


class LockLease(msgspec.Struct, rename="camel", frozen=True):
    """A coordination.k8s.io/v1 Lease of the lock server."""

    metadata: ObjectMeta
    spec: LeaseSpec = LeaseSpec()
    api_version: str = "coordination.k8s.io/v1"
    kind: str = "Lease"


class HolderNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """A holder in JSON."""

    id: str
    since: str
    node: str = ""
    uid: str = ""
    reason: str = ""
    asks: int = 1


class TurnNote(msgspec.Struct, frozen=True):
    """The turn in JSON."""

    group: str
    holder: HolderNote


def lease_name(group: str) -> str:
    """The group's Lease: no two groups share one, though groups know case and dots and are longer than labels."""
    if _PLAIN.fullmatch(group):
        return f"fleetlock-group-{group}"
    readable = re.sub(r"[^a-z0-9]+", "-", group.lower()).strip("-")[:40].strip("-")
    return f"fleetlock-group-{readable or 'x'}.{hashlib.sha256(group.encode()).hexdigest()[:32]}"


def read_group(lease: LockLease, name: str, slots: int) -> LockGroup:
    """The group that this Lease stores. Raises BadLockObject."""
    meta = lease.metadata
    if meta.annotations.get(GROUP) != name:
        raise BadLockObject(f"lease {meta.name}: {GROUP} must be {name!r}, is {meta.annotations.get(GROUP)!r}")
    notes = _decoded(meta, HOLDERS, list[HolderNote])
    waiting = _decoded(meta, WAITING, list[str]) if WAITING in meta.annotations else []
    return LockGroup(
        name=name,
        slots=slots,
        holders=tuple(_holder(meta, note) for note in notes),
        revision=meta.resource_version,
        waiting=tuple(waiting),
        last=time_or_none(lease.spec.acquire_time),
    )


def write_group(group: LockGroup, namespace: str) -> LockLease:
    """The Lease of a group; `revision` is the resourceVersion it replaces, empty for a new one."""
    notes = {GROUP: group.name, HOLDERS: _json([holder_note(holder) for holder in group.holders])}
    if group.waiting:
        notes[WAITING] = _json(group.waiting)
    meta = _meta(namespace, lease_name(group.name), "group", group.revision, notes)
    return LockLease(metadata=meta, spec=_spec(group.holders, group.last))


def read_turn(lease: LockLease) -> Turn | None:
    """Whose turn it is; None: nobody's. Raises BadLockObject."""
    if TURN not in lease.metadata.annotations:
        return None
    note = _decoded(lease.metadata, TURN, TurnNote)
    return Turn(group=note.group, holder=_holder(lease.metadata, note.holder))


def write_turn(turn: Turn | None, namespace: str, revision: str) -> LockLease:
    """The turn's Lease; `revision` as in write_group."""
    notes = {}
    if turn is not None:
        notes[TURN] = _json(TurnNote(group=turn.group, holder=holder_note(turn.holder)))
    holders = [turn.holder] if turn else []
    meta = _meta(namespace, TURN_NAME, "turn", revision, notes)
    return LockLease(metadata=meta, spec=_spec(holders, turn.holder.since if turn else None))


def _meta(namespace: str, name: str, kind: str, revision: str, notes: dict[str, str]) -> ObjectMeta:
    labels = {**LABELS, KIND_LABEL: kind}
    return ObjectMeta(name=name, namespace=namespace, resource_version=revision, labels=labels, annotations=notes)


def _spec(holders: Sequence[Holder], last: datetime | None) -> LeaseSpec:
    who = ",".join(holder.node or holder.id for holder in holders)
    return LeaseSpec(holder_identity=who, acquire_time=micro_time(last))


def holder_note(holder: Holder) -> HolderNote:
    """The holder as JSON has it."""
    since = time_text(holder.since)
    return HolderNote(
        id=holder.id, since=since, node=holder.node, uid=holder.uid, reason=holder.reason, asks=holder.asks
    )


def read_holder(at: str, note: HolderNote) -> Holder:
    """The holder of a note; `at` names the object in the message of BadLockObject."""
    since = time_or_none(note.since)
    if since is None:
        raise BadLockObject(f"{at}: since must be an RFC 3339 time with zone, is {note.since!r}")
    return Holder(id=note.id, since=since, node=note.node, uid=note.uid, reason=note.reason, asks=note.asks)


def _holder(meta: ObjectMeta, note: HolderNote) -> Holder:
    return read_holder(f"lease {meta.name}", note)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _decoded(meta: ObjectMeta, key: str, type: type[T]) -> T:
    try:
        return msgspec.json.decode(meta.annotations.get(key, ""), type=type)
    except msgspec.DecodeError as error:
        raise BadLockObject(f"lease {meta.name}: annotation {key}: {error}") from None
