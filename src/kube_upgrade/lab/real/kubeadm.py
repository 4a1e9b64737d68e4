"""The files that kubeadm is given for the first and for every further node. Pure: every function is a text."""

from typing import Any

import yaml

from kube_upgrade.lab.real import network
from kube_upgrade.lab.real.services import CRI

TOKEN = "abcdef.0123456789abcdef"
IGNORED = ["SystemVerification"]  # cgroup v1
CERTIFICATE_KEY = "0" * 64
API_PORT = 6443
_V = "kubeadm.k8s.io/v1beta4"


def init_config(name: str, address: str, version: str, endpoint: str, *, taint: bool) -> str:
    """Of the first control plane. `endpoint` (HOST:PORT) is what every node calls."""
    init = {
        "apiVersion": _V,
        "kind": "InitConfiguration",
        "bootstrapTokens": [{"token": TOKEN, "ttl": "24h0m0s"}],
        "certificateKey": CERTIFICATE_KEY,
        "localAPIEndpoint": {"advertiseAddress": address, "bindPort": API_PORT},
        "nodeRegistration": _registration(name, address, taint=taint),
    }
    cluster = {
        "apiVersion": _V,
        "kind": "ClusterConfiguration",
        "kubernetesVersion": version,
        "clusterName": "lab",
        "controlPlaneEndpoint": endpoint,
        "networking": {"podSubnet": f"{network.POD_PREFIX}.0.0/16", "serviceSubnet": network.SERVICES},
    }
    return yaml.safe_dump_all([init, cluster, _KUBELET, _KUBE_PROXY])


def join_config(name: str, address: str, endpoint: str, *, control_plane: bool, taint: bool) -> str:
    """Of every further node."""
    join: dict[str, Any] = {
        "apiVersion": _V,
        "kind": "JoinConfiguration",
        "discovery": {
            "bootstrapToken": {"apiServerEndpoint": endpoint, "token": TOKEN, "unsafeSkipCAVerification": True}
        },
        "nodeRegistration": _registration(name, address, taint=taint or not control_plane),
    }
    if control_plane:
        join["controlPlane"] = {
            "localAPIEndpoint": {"advertiseAddress": address, "bindPort": API_PORT},
            "certificateKey": CERTIFICATE_KEY,
        }
    return yaml.safe_dump(join)


def upgrade_config(version: str, manifests: str) -> str:
    """UpgradeConfiguration that gives up on a static pod after `manifests` (such as 1m0s)."""
    return yaml.safe_dump(
        {
            "apiVersion": _V,
            "kind": "UpgradeConfiguration",
            "apply": {"kubernetesVersion": version, "ignorePreflightErrors": IGNORED, "forceUpgrade": True},
            "timeouts": {"upgradeManifests": manifests},
        }
    )


def _registration(name: str, address: str, *, taint: bool) -> dict[str, Any]:
    """`taint`: leave it to kubeadm; else a control plane takes every pod."""
    registration: dict[str, Any] = {
        "name": name,
        "criSocket": CRI,
        "ignorePreflightErrors": IGNORED,
        "kubeletExtraArgs": [{"name": "node-ip", "value": address}],
    }
    return registration if taint else registration | {"taints": []}


# A kubelet from 1.35 on refuses cgroup v1 unless told; the nodes share this machine's disk, memory and swap.
_KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "failCgroupV1": False,
    "cgroupDriver": "cgroupfs",
    "failSwapOn": False,
    "imageGCHighThresholdPercent": 100,
    "evictionHard": {
        "memory.available": "50Mi",
        "nodefs.available": "0%",
        "nodefs.inodesFree": "0%",
        "imagefs.available": "0%",
    },
}
# Nothing kernel-wide: nf_conntrack_max is this machine's.
_KUBE_PROXY = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "mode": "iptables",
    "conntrack": {"maxPerCore": 0, "min": 0},
}
