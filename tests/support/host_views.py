"""HostSnapshots of a worker on its way from v1.36.3 to v1.37.2, one per place on the way."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from kube_upgrade.model.host import (
    Facts,
    GoalKind,
    Health,
    HostRules,
    HostSnapshot,
    Kubeadm,
    KubeadmRun,
    LockFact,
    RebootFact,
    Streak,
)
from kube_upgrade.model.node import KubeadmRole, Node, NodeStatus, Order, Report
from kube_upgrade.model.node_config import NodeConfig
from kube_upgrade.model.os import Deployment, ImageReference, OsStatus
from kube_upgrade.model.pod import STATIC_PODS, Pod
from kube_upgrade.model.version import KubeVersion
from support.builders import NEW, NOW, OLD

ID = "dfd7882acda64c34aca76193c46f5d4e"
REPOSITORY = "registry.test/os"
OLD_DIGEST, NEW_DIGEST, BAD_DIGEST = "sha256:old", "sha256:new", "sha256:bad"
KUBEADM = "/staged/kubeadm"
GRANTED = LockFact(asked=NOW, url="http://lock", group="g", granted=NOW, confirmed=NOW, boot_id="boot-1", node_uid="u")
RAN = KubeadmRun(version=NEW, role=KubeadmRole.NODE, started=NOW, ended=NOW, code=0)
CONFIG = NodeConfig(stream=REPOSITORY, fleetlock_url="http://lock", fleetlock_group="g").with_defaults()
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


def deployment(digest: str, version: KubeVersion, **state: Any) -> Deployment:
    image = ImageReference("ostree-unverified-registry:", REPOSITORY, str(version))
    return Deployment(osname="fcos", checksum=digest, serial=0, digest=digest, image=image, **state)


RUNNING_OLD = deployment(OLD_DIGEST, OLD, booted=True)
STAGED = deployment(NEW_DIGEST, NEW, staged=True, locked=True)
UNLOCKED = replace(STAGED, locked=False)
RUNNING_NEW = deployment(NEW_DIGEST, NEW, booted=True)
LEFT_OVER = deployment(NEW_DIGEST, NEW)


def a_node(**changed: Any) -> Node:
    known: dict[str, Any] = {
        "name": "w-1", "uid": "u", "resource_version": "1", "created": NOW, "kubelet": OLD, "ready": True,
        "machine_id": ID, "boot_id": "boot-1", "order": Order(version=NEW, kubeadm=KubeadmRole.NODE),
        "report": Report(status=NodeStatus.PENDING),
    }  # fmt: skip
    return Node(**(known | changed))


def seen(
    *deployments: Deployment, facts: Facts | None = None, node: Node | None = None, **changed: Any
) -> HostSnapshot:
    """Everything answers, the cluster's configuration is at the target, nobody else's pods are here."""
    known: dict[str, Any] = {
        "now": NOW + SECOND, "machine_id": ID, "boot_id": "boot-1", "config": CONFIG, "rules": HostRules(),
        "facts": facts or Facts(), "node": node or a_node(), "api_reachable": True,
        "os": OsStatus(deployments=deployments or (RUNNING_OLD,)), "cluster_version": NEW, "pods": (),
        "kubeadms": (Kubeadm(path=KUBEADM, version=NEW),), "kubelet_server": "https://127.0.0.1:6443",
        "kubelet_server_local": True, "health": Health(kubelet=True),
    }  # fmt: skip
    return HostSnapshot(**(known | changed))


def facts(**changed: Any) -> Facts:
    """Those of the way to v1.37.2 once its digest is known."""
    known: dict[str, Any] = {
        "kind": GoalKind.KUBERNETES, "repository": REPOSITORY, "target": str(NEW), "digest": NEW_DIGEST,
    }  # fmt: skip
    return Facts(**(known | changed))


def staged(**changed: Any) -> HostSnapshot:
    """Staged and locked, no lock yet."""
    return seen(STAGED, RUNNING_OLD, **({"facts": facts()} | changed))


def held(**changed: Any) -> HostSnapshot:
    """The lock is ours."""
    return staged(**({"facts": facts(lock=GRANTED)} | changed))


def upgraded(**changed: Any) -> HostSnapshot:
    """kubeadm ended with 0."""
    return staged(**({"facts": facts(lock=GRANTED, kubeadm=RAN)} | changed))


def rebooted(**changed: Any) -> HostSnapshot:
    """In the new image; evidence is complete and has held for a minute."""
    known: dict[str, Any] = {
        "facts": facts(lock=GRANTED, kubeadm=RAN, reboot=RebootFact(digest=NEW_DIGEST, boot_id="boot-0", asked=NOW)),
        "node": a_node(kubelet=NEW),
        "streak": Streak(since=NOW - MINUTE, last=NOW + SECOND),
    }
    return seen(RUNNING_NEW, RUNNING_OLD, **(known | changed))


def fell_back(**changed: Any) -> HostSnapshot:
    """The host runs the old image again; the new one is next in the boot order and was booted."""
    known: dict[str, Any] = {
        "facts": facts(lock=GRANTED, kubeadm=RAN, reboot=RebootFact(digest=NEW_DIGEST, boot_id="boot-0", asked=NOW))
    }
    return seen(LEFT_OVER, RUNNING_OLD, **(known | changed))


def a_pod(name: str = "web", **changed: Any) -> Pod:
    return Pod(namespace="apps", name=name, uid=name, **changed)


def static_pods(version: KubeVersion = NEW, *, ready: bool = True) -> tuple[Pod, ...]:
    """The mirror pods of a control plane."""
    return tuple(
        Pod(
            namespace="kube-system",
            name=f"{name}-cp",
            uid=name,
            labels={"component": name},
            mirror=True,
            images=(f"registry.k8s.io/{name}:{version}",),
            ready=ready,
        )
        for name in STATIC_PODS
    )
