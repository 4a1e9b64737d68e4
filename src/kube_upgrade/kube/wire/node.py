"""Node object ↔ model.Node. Every annotation key of the project lives here, once (design: 2.2)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import TypeVar

import msgspec

from kube_upgrade.kube.wire.meta import Condition, ObjectMeta
from kube_upgrade.model.lock import DrainMark
from kube_upgrade.model.moment import time_or_none
from kube_upgrade.model.node import KubeadmRole, Node, NodeStatus, Order, Report, Taint
from kube_upgrade.model.version import BadVersion, KubeVersion

NODE = "node.kube-upgrade.heathcliff.eu/"
KUBERNETES_VERSION = NODE + "kubernetesVersion"  # controller: the version ordered
STATUS = NODE + "status"  # controller: pending; daemon: upstream's other words
KUBEADM = NODE + "kubeadm"  # controller: apply or node
APPLIED = NODE + "applied"  # daemon: the version, after `kubeadm upgrade apply` ended with 0 here
START_BEFORE = NODE + "startBefore"  # controller: kubeadm may not begin after this moment
OS_UPDATES = NODE + "osUpdates"  # controller: until when an OS-only update may take the lock, or "no"
UPGRADED_VERSION = NODE + "upgradedVersion"  # daemon: its own version
STAGE = NODE + "stage"  # controller: version to fetch now, in service
STAGED = NODE + "staged"  # daemon: version@digest that is staged and locked
PHASE = NODE + "phase"  # daemon: what it is doing, in one word
MESSAGE = NODE + "message"  # daemon: the last reason, in a sentence
ATTEMPT = NODE + "attempt"  # daemon: try k/n
HOLD = NODE + "hold"  # a person: leave this node alone
RETRY = NODE + "retry"  # a person: time of the request, clears `error` once
WITHDRAWN = NODE + "withdrawn"  # controller: when it last gave up a claim; fences a paused leader's order (ADR 2)
DRAIN = "fleetlock.kube-upgrade.heathcliff.eu/drain"  # lock server: {group, id, since, cordonedBefore}
CONFIG = "config.kube-upgrade.heathcliff.eu/"  # controller: merged settings of the node's group, kebab-case keys

Word = TypeVar("Word", bound=StrEnum)


class NodeInfo(msgspec.Struct, rename="camel", frozen=True):
    """status.nodeInfo; machineID and bootID keep their capitals."""

    kubelet_version: str = ""
    machine_id: str = msgspec.field(default="", name="machineID")
    boot_id: str = msgspec.field(default="", name="bootID")


class TaintBody(msgspec.Struct, frozen=True):
    """core/v1 Taint."""

    key: str
    effect: str
    value: str = ""


class NodeSpec(msgspec.Struct, rename="camel", frozen=True):
    """spec, reduced."""

    unschedulable: bool = False
    taints: list[TaintBody] = []


class NodeAddress(msgspec.Struct, frozen=True):
    """core/v1 NodeAddress: an IP address or a host name."""

    address: str


class NodeStatusBody(msgspec.Struct, rename="camel", frozen=True):
    """status, reduced."""

    conditions: list[Condition] = []
    addresses: list[NodeAddress] = []
    node_info: NodeInfo = NodeInfo()


class NodeObject(msgspec.Struct, rename="camel", frozen=True):
    """A core/v1 Node, reduced."""

    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatusBody = NodeStatusBody()


def to_node(wire: NodeObject) -> Node:
    """The model's value of a Node object. Annotations that do not parse read as absent: anyone may write them."""
    meta, notes = wire.metadata, wire.metadata.annotations
    ready = next((c for c in wire.status.conditions if c.type == "Ready"), None)
    return Node(
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        created=meta.creation_timestamp or datetime.min.replace(tzinfo=UTC),
        labels=meta.labels,
        kubelet=version_or_none(wire.status.node_info.kubelet_version),
        ready=ready is not None and ready.status == "True",
        ready_since=ready.last_transition_time if ready and ready.status == "True" else None,
        unschedulable=wire.spec.unschedulable,
        taints=tuple(Taint(taint.key, taint.value, taint.effect) for taint in wire.spec.taints),
        drain=read_drain(notes.get(DRAIN)),
        machine_id=wire.status.node_info.machine_id,
        boot_id=wire.status.node_info.boot_id,
        order=_order(notes),
        report=_report(notes),
        hold=notes.get(HOLD),
        retry=notes.get(RETRY),
        stage=version_or_none(notes.get(STAGE)),
        withdrawn=time_or_none(notes.get(WITHDRAWN)),
        os_updates=notes.get(OS_UPDATES),
        config=_config(tuple([pair for pair in notes.items() if pair[0].startswith(CONFIG)])),
    )


@lru_cache(maxsize=64)
def _config(notes: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """The settings without their prefix: one value for all nodes of a group, which are told the same."""
    return MappingProxyType({key.removeprefix(CONFIG): value for key, value in notes})


class DrainNote(msgspec.Struct, rename="camel", frozen=True):
    """The drain annotation's JSON."""

    group: str
    id: str
    since: datetime
    cordoned_before: bool = False
    spent: int | msgspec.UnsetType = msgspec.UNSET  # absent in marks of older servers
    drained: bool | msgspec.UnsetType = msgspec.UNSET
    server: str | msgspec.UnsetType = msgspec.UNSET


def read_drain(text: str | None) -> DrainMark | None:
    """The lock server's mark, or None where it is absent, unreadable or without a zone in `since`."""
    try:
        note = msgspec.json.decode(text or "", type=DrainNote)
    except msgspec.DecodeError:
        return None
    if note.since.tzinfo is None:
        return None
    return DrainMark(
        group=note.group,
        id=note.id,
        since=note.since,
        cordoned_before=note.cordoned_before,
        spent=note.spent or 0,
        drained=bool(note.drained),
        server=note.server or "",
    )


def write_drain(mark: DrainMark) -> str:
    """The annotation's text."""
    note = DrainNote(
        group=mark.group,
        id=mark.id,
        since=mark.since,
        cordoned_before=mark.cordoned_before,
        spent=mark.spent or msgspec.UNSET,
        drained=mark.drained or msgspec.UNSET,
        server=mark.server or msgspec.UNSET,
    )
    return msgspec.json.encode(note).decode()


def _order(notes: dict[str, str]) -> Order | None:
    version = version_or_none(notes.get(KUBERNETES_VERSION))
    if version is None:
        return None
    return Order(
        version=version,
        kubeadm=_member(KubeadmRole, notes.get(KUBEADM)),
        start_before=time_or_none(notes.get(START_BEFORE)),
    )


def _report(notes: dict[str, str]) -> Report:
    return Report(
        status=_member(NodeStatus, notes.get(STATUS)),
        phase=notes.get(PHASE, ""),
        message=notes.get(MESSAGE, ""),
        attempt=notes.get(ATTEMPT, ""),
        staged=notes.get(STAGED, ""),
        applied=version_or_none(notes.get(APPLIED)),
        daemon=notes.get(UPGRADED_VERSION, ""),
    )


@lru_cache(maxsize=64)
def version_or_none(text: str | None) -> KubeVersion | None:
    """A version, or None where the text is absent or no version."""
    try:
        return KubeVersion.parse(text) if text else None
    except BadVersion:
        return None


def _member(words: type[Word], text: str | None) -> Word | None:
    try:
        return words(text) if text else None
    except ValueError:
        return None
