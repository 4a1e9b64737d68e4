"""A pod, reduced to what drains and control-plane health need."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

# What kubeadm runs of Kubernetes itself as static pods on a control plane; etcd has versions of its own.
STATIC_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


@dataclass(frozen=True, slots=True)
class Toleration:
    """core/v1 Toleration. Empty `key` with operator Exists tolerates every taint, an empty `effect` every effect."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """`owner` is (kind, name) of the controlling owner reference."""

    namespace: str
    name: str
    uid: str
    node: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    phase: str = "Running"
    ready: bool = False
    mirror: bool = False
    owner: tuple[str, str] | None = None
    empty_dir: bool = False
    deleted_at: datetime | None = None
    images: tuple[str, ...] = ()
    tolerations: tuple[Toleration, ...] = ()

    @property
    def key(self) -> str:
        """namespace/name."""
        return f"{self.namespace}/{self.name}"

    @property
    def finished(self) -> bool:
        """True where nothing of the pod runs any more."""
        return self.phase in ("Succeeded", "Failed")
