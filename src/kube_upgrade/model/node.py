"""A Kubernetes node, reduced to what decisions need."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from kube_upgrade.model.labels import CONTROL_PLANE_LABEL, ZONE_LABEL
from kube_upgrade.model.lock import DrainMark
from kube_upgrade.model.version import KubeVersion


class NodeStatus(StrEnum):
    """Upstream's five words of the `status` annotation."""

    PENDING = "pending"
    REBASING = "rebasing"
    UPGRADING = "upgrading"
    COMPLETED = "completed"
    ERROR = "error"


class KubeadmRole(StrEnum):
    """What the controller tells a node to run: `kubeadm upgrade apply` or `kubeadm upgrade node`."""

    APPLY = "apply"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Taint:
    """core/v1 Taint. `effect` is NoSchedule, PreferNoSchedule or NoExecute."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the controller asked of a node. `kubeadm` is None when upstream's controller ordered it."""

    version: KubeVersion
    kubeadm: KubeadmRole | None = None
    start_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the node's daemon says of itself."""

    status: NodeStatus | None = None
    phase: str = ""
    message: str = ""
    attempt: str = ""
    staged: str = ""
    applied: KubeVersion | None = None
    daemon: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One Node object. `order` and `report` come from annotations, the rest from spec and status."""

    name: str
    uid: str
    resource_version: str
    created: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    kubelet: KubeVersion | None = None
    ready: bool = False
    ready_since: datetime | None = None
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()
    drain: DrainMark | None = None  # the lock server's annotation
    machine_id: str = ""
    boot_id: str = ""
    order: Order | None = None
    report: Report = field(default_factory=Report)
    hold: str | None = None
    retry: str | None = None
    stage: KubeVersion | None = None
    withdrawn: datetime | None = None
    os_updates: str | None = None
    config: Mapping[str, str] = field(default_factory=dict)  # config.* annotations, kebab-case keys

    @property
    def control_plane(self) -> bool:
        """True where kubeadm's label is set, whatever its value."""
        return CONTROL_PLANE_LABEL in self.labels

    @property
    def zone(self) -> str:
        """Topology zone, or an empty text."""
        return self.labels.get(ZONE_LABEL, "")

    def same_work(self, seen: "Node") -> bool:
        """True where this later look shows the very work that `seen` had under way, heartbeats or not."""
        ours = (self.uid, self.order, self.withdrawn, self.report.status)
        return ours == (seen.uid, seen.order, seen.withdrawn, seen.report.status)

    def at(self, version: KubeVersion) -> bool:
        """True where the evidence says so: the kubelet reports this version and the node is Ready."""
        return self.kubelet == version and self.ready
