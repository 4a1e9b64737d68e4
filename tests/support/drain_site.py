"""Nodes, pods, budgets and lock servers on the real API server with the real disruption controller.

No kubelet runs: the site ends a pod that is being deleted, as a kubelet would, and makes pods and nodes Ready.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from kube_upgrade.core.fleetlock.identity import fleetlock_id
from kube_upgrade.fleetlock_client import FleetLock, Granted
from kube_upgrade.kube import paths
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.clock import stop
from kube_upgrade.kube.cordon import read_node
from kube_upgrade.kube.errors import NotFound
from kube_upgrade.kube.wire.list import Page
from kube_upgrade.model.node import Node
from support.lock_process import a_process

SECONDS = 60.0  # far more than anything here takes; a deadline, not a measurement
GROUPS = ("control-plane", "workers", "others")


@dataclass
class Site:
    """One test's own nodes, pods and servers on the shared control plane."""

    api: KubeApi
    namespace: str
    kubeconfig: Path
    folder: Path
    ends_pods: bool = True
    nodes: list[str] = field(default_factory=list)
    machine_ids: dict[str, str] = field(default_factory=dict)

    async def node(self, name: str, *, control_plane: bool = False, taint: bool = False, ready: bool = True) -> str:
        """A Node of this name with a suffix of its own; returns its full name."""
        name = f"{name}-{self.namespace}"
        self.machine_ids[name] = secrets.token_hex(16)
        key = "node-role.kubernetes.io/control-plane"
        labels = {"name": name} | ({key: ""} if control_plane else {})
        taints = [{"key": key, "effect": "NoSchedule"}] if taint else []
        body = {"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}}
        await self.api.create(paths.NODES, {"apiVersion": "v1", "kind": "Node", **body}, msgspec.Raw)
        self.nodes.append(name)
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {"type": "Ready", "status": str(ready), "lastHeartbeatTime": moment, "lastTransitionTime": moment}
        info = {"machineID": self.machine_ids[name]}
        room = {"pods": "110", "cpu": "8", "memory": "8Gi"}
        status = {
            "conditions": [condition | {"reason": "Test"}],
            "nodeInfo": info,
            "capacity": room,
            "allocatable": room,
        }
        await self.api.patch(paths.node_status(name), {"status": status}, msgspec.Raw)
        return name

    async def pod(self, name: str, node: str, app: str = "web", **spec: object) -> None:
        """A running, Ready pod on this node; bare, since nothing shall come in its place."""
        await self.pending(name, app, **{"nodeName": node, **spec})
        await self.runs(name)

    async def pending(self, name: str, app: str, **spec: object) -> None:
        """A pod that is to be scheduled, unless it names its node."""
        meta = {"name": name, "labels": {"app": app}}
        body = {"containers": [{"name": "c", "image": "x"}], "terminationGracePeriodSeconds": 1}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body | spec}
        await self.api.create(paths.pods(self.namespace), pod, msgspec.Raw)

    async def runs(self, name: str) -> None:
        """What a kubelet says when the pod's containers are up."""
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        await self.api.patch(paths.pod_status(self.namespace, name), {"status": ready}, msgspec.Raw)

    async def replica_set(self, name: str, node: str) -> None:
        """One pod with a controller on this node, where the scheduler puts it."""
        labels = {"app": name}
        pod = {"nodeSelector": {"name": node}, "containers": [{"name": "c", "image": "x"}]}
        template = {"metadata": {"labels": labels}, "spec": pod}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        body = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name}, "spec": spec}
        await self.api.create(f"/apis/apps/v1/namespaces/{self.namespace}/replicasets", body, msgspec.Raw)

    async def pods(self, node: str) -> list[dict[str, Any]]:
        """The node's pods as they are."""
        page = await self.api.get(paths.pods(self.namespace), Page, {"fieldSelector": f"spec.nodeName={node}"})
        return [msgspec.json.decode(raw) for raw in page.items]

    async def kubelets(self) -> None:
        """End pods that are being deleted, until cancelled."""
        while True:
            for node in self.nodes if self.ends_pods else []:
                for pod in await self.pods(node):
                    if "deletionTimestamp" in pod["metadata"]:
                        await self.end(pod["metadata"]["name"])
            await asyncio.sleep(0.05)

    async def end(self, pod: str) -> None:
        """What a kubelet does when the last container has stopped."""
        with suppress(NotFound):
            await self.api.delete(paths.pod(self.namespace, pod), {"gracePeriodSeconds": 0})

    @asynccontextmanager
    async def server(self, hold: float = 5.0, slots: int = 1, **group: object) -> AsyncIterator[str]:
        """One replica as a process of its own; leaving kills it without a goodbye. Yields its URL."""
        config = {
            "kubernetes": {"kubeconfig": str(self.kubeconfig)},
            "namespace": self.namespace,
            "holdSeconds": hold,
            "nodeGoneSeconds": 1,
            "groups": {name: {"slots": slots} | group for name in GROUPS},
        }
        async with a_process(self.folder, config) as url:
            yield url

    def client(self, url: str, node: str, group: str = "workers") -> FleetLock:
        """The FleetLock client of a node."""
        return FleetLock(url, group, fleetlock_id(self.machine_ids[node]))

    async def see(self, node: str) -> Node:
        """The node as it is."""
        return await read_node(self.api, node)


@asynccontextmanager
async def a_drain_site(kubeconfig: Path, namespace: str, folder: Path) -> AsyncIterator[Site]:
    """A site whose nodes and pods are gone afterwards."""
    async with KubeApi.connect(kubeconfig, user_agent="test") as api:
        site = Site(api=api, namespace=namespace, kubeconfig=kubeconfig, folder=folder)
        kubelets = asyncio.create_task(site.kubelets())
        try:
            yield site
        finally:
            await stop(kubelets)
            for node in site.nodes:
                for pod in await site.pods(node):
                    await site.end(pod["metadata"]["name"])
                with suppress(NotFound):
                    await api.delete(paths.node(node))


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Return when it is true; TimeoutError after SECONDS."""
    async with asyncio.timeout(SECONDS):
        while not await true():  # noqa: ASYNC110 - the state is in another process
            await asyncio.sleep(0.02)


def a_pdb(least: int, app: str = "web") -> dict[str, object]:
    """At least this many pods of the app stay; the budget bears the app's name."""
    spec = {"minAvailable": least, "selector": {"matchLabels": {"app": app}}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": app}, "spec": spec}


async def is_terminating(site: Site, node: str) -> bool:
    """True where every pod of the node is being deleted, and there is one."""
    pods = await site.pods(node)
    return bool(pods) and all("deletionTimestamp" in pod["metadata"] for pod in pods)


async def has_pods(site: Site, node: str, count: int) -> bool:
    """True where so many pods are bound to the node."""
    return len(await site.pods(node)) == count


async def budget_counted(site: Site, app: str = "web") -> bool:
    """True where the disruption controller has seen the healthy pod."""
    found = await site.api.get(f"{paths.pdbs(site.namespace)}/{app}", dict[str, Any])
    return bool(found.get("status", {}).get("currentHealthy") == 1)


async def granted(lock: FleetLock) -> Granted:
    """Ask as a daemon does, until granted."""
    async with asyncio.timeout(SECONDS):
        while True:
            answer = await lock.pre_reboot()
            if isinstance(answer, Granted):
                return answer
            await asyncio.sleep(0.05)


async def is_in_service(site: Site, node: str) -> bool:
    """True where the node is neither cordoned nor marked."""
    seen = await site.see(node)
    return not seen.unschedulable and seen.drain is None
