"""A simulated node's kubelet, as far as the API sees one: registration, heartbeat, pods, static pods and /healthz.

It holds nothing but the node's own credentials, so NodeRestriction and the Node authorizer judge it as a real one.
One object lives from one boot to the next. What it writes follows the kubelet's own: pkg/kubelet/nodestatus,
pkg/kubelet/kubelet_node_status.go (event `Rebooted`), pkg/kubelet/nodeshutdown (NotReady before it goes down).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kube_upgrade.kube import paths
from kube_upgrade.kube.client import KubeApi, PatchKind
from kube_upgrade.kube.errors import Conflict, KubeError
from kube_upgrade.kube.wire.node import NodeObject
from kube_upgrade.lab.kubelet_pods import PodWorker
from kube_upgrade.lab.moments import micro_text, now_text
from kube_upgrade.lab.static_pods import StaticPods
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.health import serve_probes

LEASES = "kube-node-lease"
_RETRY_SECONDS = 0.5
_log = logs.logger("kubelet")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long the kubelet's everyday work takes, in seconds."""

    heartbeat: float = 10.0
    ready: float = 0.5  # from its start to Ready
    pod_start: float = 0.2
    pod_stop: float = 0.3
    static_pod_start: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What one boot of a node is: its name, the running versions and the files it finds."""

    name: str
    version: str  # of the kubelet in the booted deployment
    boot_id: str
    machine_id: str
    root: Path  # stands in for /
    health_port: int
    labels: dict[str, str] = field(default_factory=dict)


class Kubelet:
    """Runs until it is cancelled; `shutdown` says NotReady first, as an orderly reboot does."""

    def __init__(self, api: KubeApi, boot: Boot, pace: Pace) -> None:
        self._api = api
        self._boot = boot
        self._pace = pace
        self._ready = False
        self._changed = now_text()

    async def run(self) -> None:
        """Register, become Ready, and keep all of it going. Broken calls are repeated."""
        probe = await serve_probes("127.0.0.1", self._boot.health_port, alive=lambda: None, ready=lambda: None)
        async with probe:
            uid = await self._persist("register", self._register)
            async with asyncio.TaskGroup() as group:
                static_pods = self._static_pods(uid)
                group.create_task(static_pods.run())
                group.create_task(self._pods(static_pods).run())
                group.create_task(self._heartbeat(uid))

    async def shutdown(self) -> None:
        """Tell the API that the node goes down; silence where it cannot be told."""
        self._ready = False
        self._changed = now_text()
        with suppress(KubeError):
            await self._report("node is shutting down")

    def _pods(self, static_pods: StaticPods) -> PodWorker:
        pace = self._pace
        return PodWorker(self._api, self._boot.name, pace.pod_start, pace.pod_stop, static_pods.forget)

    def _static_pods(self, uid: str) -> StaticPods:
        folder = self._boot.root / "etc/kubernetes/manifests"
        return StaticPods(self._api, self._boot.name, uid, folder, self._pace.static_pod_start)

    async def _register(self) -> str:
        try:
            node = await self._api.create(paths.NODES, node_body(self._boot), NodeObject)
        except Conflict:
            node = await self._api.get(paths.node(self._boot.name), NodeObject)
            if node.status.node_info.boot_id not in ("", self._boot.boot_id):
                await self._announce_reboot(node.metadata.uid)
        await self._report("booting")
        return node.metadata.uid

    async def _heartbeat(self, uid: str) -> None:
        await asyncio.sleep(self._pace.ready)
        self._ready, self._changed = True, now_text()
        while True:
            await self._persist("heartbeat", lambda: self._beat(uid))
            await asyncio.sleep(self._pace.heartbeat)

    async def _beat(self, uid: str) -> None:
        await self._report("kubelet is posting ready status")
        lease = lease_body(self._boot.name, uid)
        params = {"fieldManager": "kubelet", "force": "true"}
        path = paths.lease(LEASES, self._boot.name)
        await self._api.patch(path, lease, dict[str, Any], kind=PatchKind.APPLY, params=params)

    async def _report(self, message: str) -> None:
        status = status_body(self._boot, ready=self._ready, since=self._changed, message=message)
        await self._api.patch(
            paths.node_status(self._boot.name), {"status": status}, NodeObject, kind=PatchKind.STRATEGIC
        )

    async def _announce_reboot(self, uid: str) -> None:
        body = rebooted_event(self._boot, uid)
        with suppress(KubeError):  # an event is a courtesy
            await self._api.create(paths.events("default"), body, dict[str, Any])

    async def _persist(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """The call's answer; a kubelet never gives up on the API server, and says each trouble once."""
        told = ""
        while True:
            try:
                return await call()
            except KubeError as error:
                if (reason := str(error)) != told:
                    _log.warning("repeating", node=self._boot.name, what=what, reason=reason)
                told = reason
                await asyncio.sleep(_RETRY_SECONDS)


def node_body(boot: Boot) -> dict[str, Any]:
    """The Node as a kubelet registers it: NodeRestriction lets it set these labels and no role."""
    labels = {
        "kubernetes.io/hostname": boot.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        **boot.labels,
    }
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": boot.name, "labels": labels}}


def status_body(boot: Boot, *, ready: bool, since: str, message: str) -> dict[str, Any]:
    """Node status: conditions, capacity, addresses and nodeInfo."""
    room = {"cpu": "8", "memory": "16Gi", "pods": "110", "ephemeral-storage": "50Gi"}
    return {
        "capacity": room,
        "allocatable": room,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": boot.name}],
        "conditions": list(_conditions(ready=ready, since=since, message=message)),
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": boot.boot_id,
            "containerRuntimeVersion": "cri-o://1.37.0",
            "kernelVersion": "6.18.9-200.fc44.x86_64",
            "kubeProxyVersion": "",
            "kubeletVersion": boot.version,
            "machineID": boot.machine_id,
            "operatingSystem": "linux",
            "osImage": "Fedora CoreOS 44 (simulated)",
            "systemUUID": boot.machine_id,
        },
    }


def _conditions(*, ready: bool, since: str, message: str) -> Iterator[dict[str, str]]:
    pressures = ("MemoryPressure", "DiskPressure", "PIDPressure")
    lines = [(name, "False", f"KubeletHasNo{name}", "") for name in pressures]
    lines.append(("Ready", "True" if ready else "False", "KubeletReady" if ready else "KubeletNotReady", message))
    for type, status, reason, text in lines:
        yield {
            "type": type,
            "status": status,
            "reason": reason,
            "message": text,
            "lastHeartbeatTime": now_text(),
            "lastTransitionTime": since,
        }


def lease_body(name: str, uid: str) -> dict[str, Any]:
    """The node's heartbeat Lease, owned by its Node."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASES, "ownerReferences": [owner]},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": micro_text()},
    }


def rebooted_event(boot: Boot, uid: str) -> dict[str, Any]:
    """The event a kubelet writes where the boot-id it finds is not the one of the API."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{boot.name}-", "namespace": "default"},
        "type": "Warning",
        "reason": "Rebooted",
        "action": "Rebooted",
        "note": f"Node {boot.name} has been rebooted, boot id: {boot.boot_id}",
        "regarding": {"apiVersion": "v1", "kind": "Node", "name": boot.name, "uid": uid},
        "reportingController": "kubelet",
        "reportingInstance": boot.name,
        "eventTime": micro_text(),
    }
