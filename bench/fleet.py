"""Nodes as heavy as real ones, one of them a control plane that is at the target already."""

import json
from collections.abc import Sequence

from bench.bare import STRATEGIC, Bare, each

OLD, NEW = "v1.36.3", "v1.37.2"
NODE = "node.kube-upgrade.heathcliff.eu/"
NODES = "/api/v1/nodes"
PLANS = "/apis/kubeupgrade.heathcliff.eu/v1alpha3/kubeupgradeplans"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
SYSTEM = "/api/v1/namespaces/kube-system"
IMAGES = [
    {"names": [f"registry.example.com/team/app-{n}@sha256:{n:064x}"], "sizeBytes": 100_000_000 + n} for n in range(10)
]


def names(count: int) -> list[str]:
    """worker-00001 and so on."""
    return [f"worker-{n:05}" for n in range(1, count + 1)]


def status_of(version: str, beat: int = 0) -> dict[str, object]:
    """A Node's status of about 4 KB, as a kubelet with ten images writes it."""
    moment = f"2026-11-24T00:{beat // 60 % 60:02}:{beat % 60:02}Z"
    kinds = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    conditions = [
        {"type": kind, "status": str(kind == "Ready"), "reason": kind, "message": kind, "lastHeartbeatTime": moment,
         "lastTransitionTime": "2026-11-24T00:00:00Z"}
        for kind in kinds
    ]  # fmt: skip
    info = dict.fromkeys(("architecture", "kernelVersion", "osImage", "operatingSystem", "systemUUID"), "x")
    info |= {"kubeletVersion": version, "kubeProxyVersion": "", "containerRuntimeVersion": "x"}
    return {"conditions": conditions, "images": IMAGES, "nodeInfo": info | {"machineID": "", "bootID": "b"}}


async def create(api: Bare, workers: Sequence[str]) -> None:
    """The control plane with its pods, kubeadm-config, then the workers."""
    await _create_node(api, "control-plane-1", NEW, {CONTROL_PLANE: ""})
    for component in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        await _create_pod(api, component)
    document = f"apiVersion: kubeadm.k8s.io/v1beta4\nkubernetesVersion: {NEW}\n"
    body = {"metadata": {"name": "kubeadm-config"}, "data": {"ClusterConfiguration": document}}
    await api.send("POST", f"{SYSTEM}/configmaps", body)

    async def one(name: str) -> None:
        await _create_node(api, name, OLD, {})

    await each(one, workers)


async def reset(api: Bare, workers: Sequence[str]) -> None:
    """Every worker as if nothing had ever been asked of it."""

    async def one(name: str) -> None:
        node = json.loads(await api.send("GET", f"{NODES}/{name}"))
        gone = dict.fromkeys(node["metadata"].get("annotations", {}))
        await api.patch(f"{NODES}/{name}", {"metadata": {"annotations": gone}})
        await api.patch(f"{NODES}/{name}/status", {"status": status_of(OLD)}, type=STRATEGIC)

    await each(one, workers)


def plan(max_unavailable: int | str) -> dict[str, object]:
    """Control plane, then all workers."""
    groups = {
        "control-plane": {"selector": {"matchExpressions": [{"key": CONTROL_PLANE, "operator": "Exists"}]}},
        "workers": {
            "selector": {"matchExpressions": [{"key": CONTROL_PLANE, "operator": "DoesNotExist"}]},
            "dependsOn": ["control-plane"],
            "maxUnavailable": max_unavailable,
        },
    }
    upgraded = {"fleetlockUrl": "http://locks:8080", "stream": "registry.example.com/os"}
    spec = {"kubernetesVersion": NEW, "upgraded": upgraded, "groups": groups}
    kind = {"apiVersion": "kubeupgrade.heathcliff.eu/v1alpha3", "kind": "KubeUpgradePlan"}
    return {**kind, "metadata": {"name": "bench"}, "spec": spec}


async def _create_node(api: Bare, name: str, version: str, labels: dict[str, str]) -> None:
    metadata = {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"} | labels}
    await api.send("POST", NODES, {"metadata": metadata})
    await api.patch(f"{NODES}/{name}/status", {"status": status_of(version)}, type=STRATEGIC)


async def _create_pod(api: Bare, component: str) -> None:
    name = f"{component}-control-plane-1"
    metadata = {
        "name": name,
        "labels": {"tier": "control-plane", "component": component},
        "annotations": {"kubernetes.io/config.mirror": "x"},
    }
    container = {"name": component, "image": f"registry.k8s.io/{component}:{NEW}"}
    spec = {"nodeName": "control-plane-1", "containers": [container]}
    await api.send("POST", f"{SYSTEM}/pods", {"metadata": metadata, "spec": spec})
    ready = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-24T00:00:00Z"}]
    status = {"status": {"phase": "Running", "conditions": ready}}
    await api.patch(f"{SYSTEM}/pods/{name}/status", status)
