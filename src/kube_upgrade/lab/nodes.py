"""The nodes of a lab's cluster: their disks made, their marks set, and when all of them are in use."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kube_upgrade.kube import paths
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.errors import NotFound
from kube_upgrade.kube.wire.node import NodeObject, to_node
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.disk import Addresses, Credentials, install
from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Fault
from kube_upgrade.lab.node import LabNode
from kube_upgrade.lab.objects import control_plane_mark
from kube_upgrade.lab.processes import free_port
from kube_upgrade.lab.registry import Registry
from kube_upgrade.lab.runs import Run
from kube_upgrade.lab.scenario import MachineFault, Scenario
from kube_upgrade.model.node import Node

REPOSITORY = "fcos-k8s"
LOOK = 0.1  # seconds between two looks while something settles


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """Makes nodes that have booted the scenario's old version, and publishes both of its images."""

    scenario: Scenario
    run: Run
    plane: ControlPlane
    registry: Registry
    say: Callable[[str], None]
    with_daemon: bool = True

    @property
    def stream(self) -> str:
        """The repository that the plan names."""
        return f"{self.registry.host}/{REPOSITORY}"

    def build(self) -> list[LabNode]:
        """All nodes of the scenario, switched off, with what is to go wrong on them."""
        old, new = str(self.scenario.start), str(self.scenario.target)
        digest = self.registry.publish(REPOSITORY, old)
        self.registry.publish(REPOSITORY, new, build=2)
        control_planes = self.scenario.names[: self.scenario.control_planes]
        nodes = [self._node(name, old, digest, name in control_planes) for name in self.scenario.names]
        machines = {node.name: node.machine for node in nodes}
        for fault in self.scenario.faults:
            machines[fault.node].set_fault(fault.key, machine_fault(fault))
        return nodes

    def _node(self, name: str, version: str, digest: str, control_plane: bool) -> LabNode:
        image = f"ostree-unverified-registry:{self.stream}:{version}"
        folder = self.run.folder / "nodes" / name
        machine = Machine.create(
            folder,
            name,
            image=image,
            version=version,
            digest=digest,
            control_plane=control_plane,
            run=self.run.folder,
        )
        kubelet_port = free_port()
        addresses = Addresses(
            api_server=self.plane.url,
            etcd=self.plane.etcd_url if control_plane else "",
            kubelet_port=kubelet_port,
            probe_port=free_port(),
        )
        install(machine, self._credentials(name, control_plane), addresses, self.scenario.pace)
        return LabNode(
            name=name,
            machine=machine,
            health_port=kubelet_port,
            pace=self.scenario.pace,
            with_daemon=self.with_daemon,
            lab=self.run,
            say=self.say,
        )

    def _credentials(self, name: str, control_plane: bool) -> Credentials:
        plane = self.plane
        return Credentials(
            kubelet=plane.kubeconfig(name, f"system:node:{name}", ["system:nodes"]),
            ca=plane.ca,
            admin=self._kubeadm_admin(name) if control_plane else None,
            etcd_ca=plane.etcd_ca if control_plane else None,
            etcd_client=plane.etcd_client if control_plane else None,
        )

    def _kubeadm_admin(self, name: str) -> Path:
        """admin.conf as kubeadm writes it: a member of kubeadm:cluster-admins."""
        return self.plane.kubeconfig(f"admin-{name}", "kubernetes-admin", ["kubeadm:cluster-admins"])


def machine_fault(fault: MachineFault) -> Fault:
    """The scenario's fault, as the machine keeps it."""
    return Fault(fail=fault.fail, code=fault.code, hang=fault.hang, mode=fault.mode, times=fault.times)


async def mark_control_planes(api: KubeApi, names: Sequence[str], *, taint: bool) -> None:
    """Label (and taint) the control planes as kubeadm's admin does, each as soon as it has registered."""
    for name in names:
        await _patch_when_there(api, name, control_plane_mark(taint=taint))


async def until_in_use(api: KubeApi, names: Sequence[str]) -> None:
    """Return when pods can be scheduled to every one of them."""
    for name in names:
        while not in_use(await _node(api, name)):  # noqa: ASYNC110 - the event is the API server's
            await asyncio.sleep(LOOK)


def in_use(node: Node | None) -> bool:
    """True where pods can be scheduled: the taints of a node that is just starting are gone."""
    return node is not None and node.ready and not any(t.key.startswith("node.kubernetes.io/") for t in node.taints)


async def _patch_when_there(api: KubeApi, name: str, body: dict[str, Any]) -> None:
    while True:
        try:
            await api.patch(paths.node(name), body, msgspec.Raw)
        except NotFound:
            await asyncio.sleep(LOOK)
        else:
            return


async def _node(api: KubeApi, name: str) -> Node | None:
    try:
        return to_node(await api.get(paths.node(name), NodeObject))
    except NotFound:
        return None
