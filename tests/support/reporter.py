"""Nodes that only exist in a real API server, and daemons that answer each order at once: what the controller needs to
be tested alone. The lab runs the real daemon instead."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.errors import Conflict, NotFound
from kube_upgrade.kube.informer import Informer
from kube_upgrade.kube.wire import node as wire
from kube_upgrade.kube.wire.kubeadm_config import PATH as KUBEADM_CONFIG
from kube_upgrade.kube.wire.node import NodeObject, to_node
from kube_upgrade.kube.wire.pod import MIRROR
from kube_upgrade.model.labels import CONTROL_PLANE_LABEL
from kube_upgrade.model.node import KubeadmRole, Node, NodeStatus, Order

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
NOW = "2026-11-24T00:00:00Z"


def ready_status(version: str) -> dict[str, object]:
    """status of a Node that is well."""
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": NOW}
    info = dict.fromkeys(("architecture", "kernelVersion", "osImage", "operatingSystem", "systemUUID"), "x")
    info |= {"kubeletVersion": version, "kubeProxyVersion": "", "containerRuntimeVersion": "x"}
    return {"conditions": [ready], "nodeInfo": info | {"machineID": "", "bootID": "one"}}


def mirror_pod(node: str, component: str, version: str) -> dict[str, object]:
    """A control-plane pod as the kubelet mirrors it."""
    name = f"{component}-{node}"
    container = {"name": component, "image": f"registry.k8s.io/{component}:{version}"}
    metadata = {
        "name": name,
        "namespace": "kube-system",
        "labels": {"tier": "control-plane", "component": component},
        "annotations": {MIRROR: "x"},
    }
    return {"metadata": metadata, "spec": {"nodeName": node, "containers": [container]}}


class Daemons:
    """Creates nodes and answers their orders. `delay` is how long an upgrade takes, in seconds."""

    def __init__(self, api: Api, *, delay: float = 0.0) -> None:
        self._api = api
        self._delay = delay
        self.order: list[str] = []
        self.roles: dict[str, KubeadmRole | None] = {}
        self.most_at_once = 0
        self._flying: set[str] = set()
        self._answered: set[tuple[str, Order | None]] = set()

    async def create_node(self, name: str, version: str, *, control_plane: bool = False) -> None:
        """One Ready node, with its control-plane pods where it has some."""
        labels = {"kubernetes.io/hostname": name} | ({CONTROL_PLANE_LABEL: ""} if control_plane else {})
        node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}}
        await self._api.create(paths.NODES, node, msgspec.Raw)
        await self._api.patch(paths.node_status(name), {"status": ready_status(version)}, msgspec.Raw)
        for component in COMPONENTS if control_plane else ():
            await self._show_pod(name, component, version)

    async def write_kubeadm_config(self, version: str) -> None:
        """What `kubeadm upgrade apply` writes before it ends."""
        data = {"ClusterConfiguration": f"apiVersion: kubeadm.k8s.io/v1beta4\nkubernetesVersion: {version}\n"}
        try:
            await self._api.patch(KUBEADM_CONFIG, {"data": data}, msgspec.Raw)
        except NotFound:
            made = {"metadata": {"name": "kubeadm-config", "namespace": "kube-system"}, "data": data}
            await self._api.create(paths.configmaps("kube-system"), made, msgspec.Raw)

    async def remove(self, nodes: Sequence[str]) -> None:
        """Take the nodes and their pods away."""
        for name in nodes:
            for component in COMPONENTS:
                with suppress(NotFound):
                    pod = paths.pod("kube-system", f"{component}-{name}")
                    await self._api.delete(pod, {"gracePeriodSeconds": 0})
            with suppress(NotFound):
                await self._api.delete(paths.node(name))
        with suppress(NotFound):
            await self._api.delete(KUBEADM_CONFIG)

    async def run(self) -> None:
        """Answer until cancelled."""
        queue: asyncio.Queue[Node] = asyncio.Queue()

        def changed(_key: str, _old: Node | None, new: Node | None) -> None:
            if new is not None and new.order is not None and new.report.status is NodeStatus.PENDING:
                queue.put_nowait(new)

        informer = Informer(self._api, paths.NODES, type=NodeObject, value=to_node, on_change=changed)
        async with asyncio.TaskGroup() as group:
            group.create_task(informer.run())
            while True:
                node = await queue.get()
                if (node.uid, node.order) not in self._answered:
                    self._answered.add((node.uid, node.order))
                    self._flying.add(node.name)
                    self.most_at_once = max(self.most_at_once, len(self._flying))
                    group.create_task(self._upgrade(node))

    async def _upgrade(self, node: Node) -> None:
        assert node.order is not None
        version = str(node.order.version)
        self.order.append(node.name)
        self.roles[node.name] = node.order.kubeadm
        await asyncio.sleep(self._delay)
        if node.control_plane:
            for component in COMPONENTS:
                await self._show_pod(node.name, component, version)
        notes: dict[str, str] = {wire.STATUS: NodeStatus.COMPLETED}
        if node.order.kubeadm is KubeadmRole.APPLY:
            await self.write_kubeadm_config(version)
            notes[wire.APPLIED] = version
        await self._api.patch(paths.node_status(node.name), {"status": ready_status(version)}, msgspec.Raw)
        self._flying.discard(node.name)
        await self._api.patch(paths.node(node.name), {"metadata": {"annotations": notes}}, msgspec.Raw)

    async def _show_pod(self, node: str, component: str, version: str) -> None:
        tag = "3.6.8-0" if component == "etcd" else version
        pod = mirror_pod(node, component, tag)
        path = paths.pod("kube-system", f"{component}-{node}")
        try:
            await self._api.create(paths.pods("kube-system"), pod, msgspec.Raw)
        except Conflict:
            containers = [{"name": component, "image": f"registry.k8s.io/{component}:{tag}"}]
            await self._api.patch(path, {"spec": {"containers": containers}}, msgspec.Raw)
        ready = [{"type": "Ready", "status": "True", "lastTransitionTime": NOW}]
        status = {"status": {"phase": "Running", "conditions": ready}}
        await self._api.patch(paths.pod_status("kube-system", f"{component}-{node}"), status, msgspec.Raw)
