"""A cluster in the lab: nodes, programs and workloads set up, the plan applied, the outcome judged."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from kube_upgrade.kube import paths
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.errors import NotFound
from kube_upgrade.kube.wire.node import NodeObject, to_node
from kube_upgrade.lab import audit, data
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.judge import judge, unproven
from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Fault
from kube_upgrade.lab.node import Addresses, Credentials, LabNode, install, peak_rss
from kube_upgrade.lab.objects import control_plane_mark, kubeadm_objects, plan_object, workload_objects
from kube_upgrade.lab.outcome import Outcome
from kube_upgrade.lab.processes import free_port
from kube_upgrade.lab.programs import CONTROLLER, LOCKS, NAMESPACE, Programs
from kube_upgrade.lab.registry import Registry
from kube_upgrade.lab.runs import Run
from kube_upgrade.lab.scenario import Event, Scenario
from kube_upgrade.lab.show import Show
from kube_upgrade.lab.times import node_times
from kube_upgrade.lab.view import view
from kube_upgrade.lab.witness import Witness
from kube_upgrade.model.node import Node

T = TypeVar("T")

DAEMON = "upgraded"
PROGRAMS = (CONTROLLER, DAEMON, LOCKS)
REPOSITORY = "fcos-k8s"
NODES_READY_SECONDS = 60.0
LOOK = 0.2  # seconds between two looks while something settles
OUTSIDE_PATIENCE = 3600.0  # for whoever replaces a program by hand


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

    def __post_init__(self) -> None:
        self.programs = Programs(self.run, self.plane)

    @property
    def stream(self) -> str:
        """The repository that the plan names."""
        return f"{self.registry.host}/{REPOSITORY}"

    async def prepare(self) -> None:
        """deploy/base, and what kubeadm leaves in a cluster."""
        await asyncio.to_thread(self.plane.kubectl, "apply", "--kustomize", str(data.folder("deploy") / "base"))
        crd = "crd/kubeupgradeplans.kubeupgrade.heathcliff.eu"
        await asyncio.to_thread(self.plane.kubectl, "wait", "--for=condition=Established", crd)
        for body in kubeadm_objects(str(self.scenario.start), self.plane.url.removeprefix("https://")):
            await create(self.api, body)
        await self.programs.prepare(self.api)

    def build_nodes(self) -> None:
        """Disks with the old image on them, and both images in the registry."""
        old, new = str(self.scenario.start), str(self.scenario.target)
        digest = self.registry.publish(REPOSITORY, old)
        self.registry.publish(REPOSITORY, new, build=2)
        for index, name in enumerate(self.scenario.names):
            self.nodes.append(self._build_node(name, old, digest, index < self.scenario.control_planes))
        for fault in self.scenario.faults:
            machine = next(node.machine for node in self.nodes if node.name == fault.node)
            wrong = Fault(fail=fault.fail, code=fault.code, hang=fault.hang, mode=fault.mode, times=fault.times)
            machine.set_fault(fault.key, wrong)

    def _build_node(self, name: str, version: str, digest: str, control_plane: bool) -> LabNode:
        image = f"ostree-unverified-registry:{self.stream}:{version}"
        folder = self.run.folder / "nodes" / name
        machine = Machine.create(folder, name, image=image, version=version, digest=digest, control_plane=control_plane)
        plane = self.plane
        credentials = Credentials(
            kubelet=plane.kubeconfig(name, f"system:node:{name}", ["system:nodes"]),
            ca=plane.ca,
            admin=self._kubeadm_admin(name) if control_plane else None,
            etcd_ca=plane.etcd_ca if control_plane else None,
            etcd_client=plane.etcd_client if control_plane else None,
        )
        etcd, kubelet_port = plane.etcd_url if control_plane else "", free_port()
        addresses = Addresses(api_server=plane.url, etcd=etcd, kubelet_port=kubelet_port, probe_port=free_port())
        install(machine, credentials, addresses, self.scenario.pace)
        return LabNode(
            name=name,
            machine=machine,
            health_port=kubelet_port,
            pace=self.scenario.pace,
            with_daemon=self.without != DAEMON,
            lab=self.run,
            say=self.show.say,
        )

    def _kubeadm_admin(self, name: str) -> Path:
        """admin.conf as kubeadm writes it: a member of kubeadm:cluster-admins."""
        return self.plane.kubeconfig(f"admin-{name}", "kubernetes-admin", ["kubeadm:cluster-admins"])

    async def nodes_ready(self) -> None:
        """Mark the control planes as kubeadm's admin does, and wait until every node is Ready. Raises LabFailed."""
        marks = control_plane_mark(taint=self.scenario.taint_control_planes)
        async with deadline(NODES_READY_SECONDS, "the nodes are not Ready"):
            for node in self.nodes[: self.scenario.control_planes]:
                await self._patch_when_there(node.name, marks)
            await self._until_all_ready()

    async def _patch_when_there(self, name: str, body: dict[str, Any]) -> None:
        while True:
            try:
                await self.api.patch(paths.node(name), body, msgspec.Raw)
            except NotFound:
                await asyncio.sleep(LOOK)
            else:
                return

    async def _until_all_ready(self) -> None:
        for node in self.nodes:
            while not in_use(await self._node(node.name)):  # noqa: ASYNC110 - the event is the API server's
                await asyncio.sleep(LOOK)

    async def _node(self, name: str) -> Node | None:
        try:
            return to_node(await self.api.get(paths.node(name), NodeObject))
        except NotFound:
            return None

    async def start_workloads(self) -> None:
        """Deployments and PDBs, and wait until they are up."""
        for body in workload_objects(self.scenario.workloads):
            await create(self.api, body)
        for each in self.scenario.workloads:
            args = ("rollout", "status", f"deployment/{each.name}", "--timeout=60s")
            await asyncio.to_thread(self.plane.kubectl, *args, timeout=70.0)

    async def start_programs(self) -> None:
        """Ours, but for the one that is left out."""
        if self.without != LOCKS:
            await asyncio.to_thread(self.programs.start_locks, self.scenario.slots)
        if self.without != CONTROLLER:
            await asyncio.to_thread(self.programs.start_controller)
        await asyncio.to_thread(self.programs.wait_ready)

    async def upgrade(self) -> Outcome:
        """Apply the plan and watch until it is done or patience ends; then the judge speaks."""
        witness = Witness(api=self.api, now=lambda: datetime.now(UTC))
        async with witness.watching():
            started = time.monotonic()
            plan = plan_object(self.scenario, self.programs.lock_url, self.stream)
            await asyncio.to_thread(self.plane.kubectl, "apply", "--filename=-", input=json.dumps(plan))
            timeline = [asyncio.create_task(self._happen(event)) for event in self.scenario.timeline]
            try:
                with self.show.live():
                    await self._follow(witness)
            finally:
                for task in timeline:
                    task.cancel()
                await asyncio.gather(*timeline, return_exceptions=True)
            seconds = time.monotonic() - started
        history = witness.history()
        return Outcome(
            verdict=judge(history),
            seconds=seconds,
            target=str(self.scenario.target),
            nodes=node_times(history, self.scenario.target),
            memory=self._memory(),
            refused=tuple(str(refusal) for refusal in self._refusals()),
        )

    async def _follow(self, witness: Witness) -> None:
        patience = OUTSIDE_PATIENCE if self.without else self.scenario.pace.patience
        until = time.monotonic() + patience
        while not ended(witness) and time.monotonic() < until:
            self.show.picture(view(witness.world))
            witness.moved.clear()
            for name in self.programs.dead():
                self.show.say(f"{name} has ended and is started again: {self.programs.services[name].tail(3)}")
                await asyncio.to_thread(self.programs.restart, name)
            try:
                async with asyncio.timeout(1.0):
                    await witness.moved.wait()
            except TimeoutError:
                pass  # look after the programs
        self.show.picture(view(witness.world))

    async def _happen(self, event: Event) -> None:
        await asyncio.sleep(event.after)
        if event.kubectl:
            self.show.say(f"kubectl {event.kubectl}")
            await asyncio.to_thread(self.plane.kubectl, *event.kubectl.split())
        if event.restart:
            self.show.say(f"{event.restart} is killed")
            await asyncio.to_thread(self.programs.restart, event.restart)
        if event.reboot:
            await next(node for node in self.nodes if node.name == event.reboot).cut_power()

    def _memory(self) -> dict[str, float]:
        """The most that each program needed, in MiB; of the daemons the largest."""
        most = {name: peak_rss(service.pid) / 1024 for name, service in self.programs.services.items()}
        for node in self.nodes:
            node.note_rss()
        daemons = max((node.peak_rss for node in self.nodes), default=0)
        if daemons:
            most[DAEMON] = daemons / 1024
        return {name: round(mib, 1) for name, mib in most.items()}

    def _refusals(self) -> list[audit.Refusal]:
        """Calls that were forbidden to our service accounts."""
        lines = (self.plane.folder / "audit.log").read_bytes().splitlines()
        ours = f"system:serviceaccount:{NAMESPACE}:"
        return [refusal for refusal in audit.refusals(lines) if refusal.user.startswith(ours)]

    def hand_over(self) -> dict[str, Any]:
        """What an outside replacement of the left-out program needs."""
        return {
            "without": self.without,
            "apiServer": self.plane.url,
            "adminKubeconfig": str(self.plane.admin_kubeconfig),
            "kubeconfigs": {name: str(self.programs.kubeconfig(name)) for name in (CONTROLLER, LOCKS)},
            "namespace": NAMESPACE,
            "fleetlockUrl": self.programs.lock_url,
            "binaries": {name: str(path) for name, path in self.plane.binaries.paths.items()},
            "nodes": [
                {"name": node.name, "root": str(node.machine.root), "kubeconfig": str(node.kubeconfig)}
                for node in self.nodes
            ],
        }


def ended(witness: Witness) -> bool:
    """Done, or failed with nobody under way."""
    plans = witness.world.plans.values()
    if not plans:
        return False
    if any(plan.status.summary.startswith("Error") and not plan.status.nodes.in_flight for plan in plans):
        return True
    complete = all(plan.status.summary == "Complete" and not plan.status.claims for plan in plans)
    return complete and not unproven(witness.history().baseline(), witness.world)


def in_use(node: Node | None) -> bool:
    """True where pods can be scheduled: the taints of a node that is just starting are gone."""
    return node is not None and node.ready and not any(t.key.startswith("node.kubernetes.io/") for t in node.taints)


async def create(api: KubeApi, body: dict[str, Any]) -> None:
    """Create any object by its kind."""
    await api.create(collection(body), body, msgspec.Raw)


def collection(body: dict[str, Any]) -> str:
    """Where objects of this kind are posted."""
    version, kind = body["apiVersion"], body["kind"]
    base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    namespace = body["metadata"].get("namespace")
    plural = kind.lower() + "s"
    return f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"


@asynccontextmanager
async def deadline(seconds: float, what: str) -> AsyncIterator[None]:
    """Raises LabFailed where the block takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise LabFailed(f"{what} after {seconds:.0f} s") from None
