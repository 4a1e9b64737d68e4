"""What kubeadm and the administrator have put on a node's disk before its first upgrade."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.pki import Files
from kube_upgrade.lab.scenario import Pace

CONFIG = "etc/kube-upgraded/config.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Files that kubeadm would have put on the node."""

    kubelet: Path  # kubeconfig of system:node:NAME
    ca: Path
    admin: Path | None = None  # on control planes only, as the two below
    etcd_ca: Path | None = None
    etcd_client: Files | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """URLs and ports that the daemon's config names instead of the usual ones."""

    api_server: str
    etcd: str
    kubelet_port: int
    probe_port: int


def install(machine: Machine, credentials: Credentials, addresses: Addresses, pace: Pace) -> None:
    """Put certificates, kubeconfigs and the daemon's config on the node's disk."""
    kubernetes = machine.root / "etc/kubernetes"
    pki = kubernetes / "pki"
    (pki / "etcd").mkdir(parents=True, exist_ok=True)
    shutil.copy(credentials.kubelet, kubernetes / "kubelet.conf")
    shutil.copy(credentials.ca, pki / "ca.crt")
    if credentials.admin is not None:
        shutil.copy(credentials.admin, kubernetes / "admin.conf")
    if credentials.etcd_ca is not None and credentials.etcd_client is not None:
        shutil.copy(credentials.etcd_ca, pki / "etcd/ca.crt")
        shutil.copy(credentials.etcd_client.certificate, pki / "etcd/healthcheck-client.crt")
        shutil.copy(credentials.etcd_client.key, pki / "etcd/healthcheck-client.key")
    (machine.root / CONFIG).write_text(yaml.safe_dump(daemon_config(machine.root, addresses, pace)))
    with machine.edit() as state:
        state.latency.update({"stage": pace.download, "kubeadm": pace.kubeadm, "pull": pace.image_pull})


def daemon_config(root: Path, addresses: Addresses, pace: Pace) -> dict[str, object]:
    """config.yaml of `upgraded` for a node below `root`, at the lab's pace."""
    return {
        "root": str(root),
        "kubeconfig": "/etc/kubernetes/kubelet.conf",
        "kubeletHealth": f"http://127.0.0.1:{addresses.kubelet_port}/healthz",
        "apiServer": addresses.api_server,
        "etcd": addresses.etcd,
        "probes": f"127.0.0.1:{addresses.probe_port}",
        "settle": f"{pace.settle:g}s",
        "controlPlaneSettle": f"{pace.settle:g}s",
        "poll": f"{pace.poll:g}s",
    }
