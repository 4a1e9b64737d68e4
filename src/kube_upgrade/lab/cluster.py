"""A cluster in the lab: what it consists of, and how it is set up before the plan comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kube_upgrade.kube.client import KubeApi
from kube_upgrade.lab import data
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.node import LabNode
from kube_upgrade.lab.nodes import Builder, mark_control_planes, until_in_use
from kube_upgrade.lab.objects import collection, kubeadm_objects, workload_objects
from kube_upgrade.lab.programs import CONTROLLER, LOCKS, NAMESPACE, Programs
from kube_upgrade.lab.registry import Registry
from kube_upgrade.lab.runs import Run
from kube_upgrade.lab.scenario import Scenario
from kube_upgrade.lab.show import Show

DAEMON = "upgraded"
PROGRAMS = (CONTROLLER, DAEMON, LOCKS)
NODES_READY_SECONDS = 60.0


class LabFailed(Exception):
    """The lab itself could not be set up or went to pieces; says nothing about the upgrade."""


@dataclass(slots=True, kw_only=True)
class Lab:
    """One run. `without` names the program that somebody else will start."""

    scenario: Scenario
    run: Run
    plane: ControlPlane
    api: KubeApi
    registry: Registry
    show: Show
    without: str | None = None
    nodes: list[LabNode] = field(default_factory=list)
    programs: Programs = field(init=False)
    builder: Builder = field(init=False)

    def __post_init__(self) -> None:
        self.programs = Programs(self.run, self.plane)
        self.builder = Builder(
            scenario=self.scenario,
            run=self.run,
            plane=self.plane,
            registry=self.registry,
            say=self.show.say,
            with_daemon=self.without != DAEMON,
        )

    async def prepare(self) -> None:
        """deploy/base, and what kubeadm leaves in a cluster."""
        await asyncio.to_thread(self.plane.kubectl, "apply", "--kustomize", str(data.folder("deploy") / "base"))
        crd = "crd/kubeupgradeplans.kubeupgrade.heathcliff.eu"
        await asyncio.to_thread(self.plane.kubectl, "wait", "--for=condition=Established", crd)
        for body in kubeadm_objects(str(self.scenario.start), self.plane.url.removeprefix("https://")):
            await create(self.api, body)
        await self.programs.prepare(self.api)

    async def build_nodes(self) -> None:
        """Disks with the old image on them, and both images in the registry."""
        self.nodes = await asyncio.to_thread(self.builder.build)

    async def nodes_ready(self) -> None:
        """Return when all nodes are marked and take pods. Raises LabFailed."""
        names = [node.name for node in self.nodes]
        taint = self.scenario.taint_control_planes
        async with deadline(NODES_READY_SECONDS, "the nodes are not Ready"):
            await mark_control_planes(self.api, names[: self.scenario.control_planes], taint=taint)
            await until_in_use(self.api, names)

    async def start_workloads(self) -> None:
        """Deployments and PDBs, and wait until they are up."""
        for body in workload_objects(self.scenario.workloads):
            await create(self.api, body)
        for each in self.scenario.workloads:
            args = ("rollout", "status", f"deployment/{each.name}", "--timeout=60s")
            await asyncio.to_thread(self.plane.kubectl, *args, timeout=70.0)

    async def start_programs(self) -> None:
        """Ours, but for the one that is left out."""
        self.programs.configure_locks(self.scenario.slots)
        if self.without != LOCKS:
            await asyncio.to_thread(self.programs.start_locks)
        if self.without != CONTROLLER:
            await asyncio.to_thread(self.programs.start_controller)
        await asyncio.to_thread(self.programs.wait_ready)

    def hand_over(self) -> dict[str, Any]:
        """What an outside replacement of the left-out program needs."""
        return {
            "without": self.without,
            "apiServer": self.plane.url,
            "adminKubeconfig": str(self.plane.admin_kubeconfig),
            "kubeconfigs": {name: str(self.programs.kubeconfig(name)) for name in (CONTROLLER, LOCKS)},
            "configs": {LOCKS: str(self.programs.lock_config)},
            "namespace": NAMESPACE,
            "fleetlockUrl": self.programs.lock_url,
            "binaries": {name: str(path) for name, path in self.plane.binaries.paths.items()},
            "nodes": [node.hand_over() for node in self.nodes],
        }


async def create(api: KubeApi, body: dict[str, Any]) -> None:
    """Create any object by its kind."""
    await api.create(collection(body), body, msgspec.Raw)


@asynccontextmanager
async def deadline(seconds: float, what: str) -> AsyncIterator[None]:
    """Raises LabFailed where the block takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise LabFailed(f"{what} after {seconds:.0f} s") from None
