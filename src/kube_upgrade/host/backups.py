"""What kubeadm leaves under /etc/kubernetes/tmp at each upgrade, a full copy of etcd's data among it: only the newest
of each kind is kept (domain.md 4.6)."""

import shutil
from pathlib import Path

from kube_upgrade.host.paths import on_host

FOLDER = "/etc/kubernetes/tmp"
KINDS = ("kubeadm-backup-etcd-", "kubeadm-backup-manifests-", "kubeadm-upgraded-manifests", "kubeadm-kubelet-config-")


def keep_newest(root: Path) -> list[str]:
    """Remove all but the newest folder of each kind, by time of change; gives the names of those that went.

    What cannot be removed stays: it is in nobody's way.
    """
    gone = []
    for kind in KINDS:
        found = sorted(on_host(root, FOLDER).glob(f"{kind}*"), key=_changed)
        for old in found[:-1]:
            shutil.rmtree(old, ignore_errors=True)
            gone += [] if old.exists() else [old.name]
    return gone


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
