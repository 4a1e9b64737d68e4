"""What the controller sees at one moment. Nothing in here changes, and nothing outside of it is asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Plan
from kube_upgrade.model.version import KubeVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticPod:
    """A control-plane component on one node, as its mirror pod shows it. `version` is the image tag's, if it is one."""

    node: str
    component: str  # kube-apiserver, kube-controller-manager, kube-scheduler or etcd
    version: KubeVersion | None
    ready: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSnapshot:
    """One plan and the cluster it is about. Nodes are sorted by name."""

    now: datetime
    plan: Plan
    nodes: tuple[Node, ...]
    static_pods: tuple[StaticPod, ...] = ()
    kubeadm_config: KubeVersion | None = None  # kubernetesVersion of ConfigMap kube-system/kubeadm-config
    kubeadm_config_trouble: str = ""  # why that could not be read; the version is None then
    active_plan: str = ""  # the oldest plan's name; empty where this one is it
    controller_node: str = ""  # where the controller itself runs, if known
    refused: Mapping[str, str] = field(default_factory=dict)  # node → why the API server refuses our patch of it
