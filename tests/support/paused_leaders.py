"""Controllers whose every request waits until the test lets it through: real reads, real decisions, real writes.

The API server is support/memory_api.py, which keeps the real one's promises about resourceVersions; what comes of a
run is told as a history for the lab's judge.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from kube_upgrade.controller.act import Actor
from kube_upgrade.controller.observe import to_static_pod
from kube_upgrade.controller.overlay import Overlay
from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.kube import paths
from kube_upgrade.kube.api import NO_PARAMS
from kube_upgrade.kube.wire import node as keys
from kube_upgrade.kube.wire.kubeadm_config import PATH as KUBEADM_CONFIG
from kube_upgrade.kube.wire.kubeadm_config import ConfigMapObject, cluster_version
from kube_upgrade.kube.wire.node import NodeObject, to_node
from kube_upgrade.kube.wire.plan import to_plan
from kube_upgrade.kube.wire.pod import PodObject
from kube_upgrade.kube.wire.schema import PlanObject
from kube_upgrade.lab.history import History, Revision
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Plan
from kube_upgrade.model.snapshot import ClusterSnapshot
from support.async_memory_api import AsyncMemoryApi
from support.memory_api import MemoryApi
from support.reporter import COMPONENTS, mirror_pod, ready_status

T = TypeVar("T")
OLD = "v1.36.3"
START = datetime(2026, 11, 24, 8, tzinfo=UTC)
PLAN = "cluster"


class Gated(AsyncMemoryApi):
    """Each request waits for `open`."""

    def __init__(self, memory: MemoryApi) -> None:
        super().__init__(memory)
        self.waiting: list[asyncio.Future[None]] = []

    async def _enter(self, verb: str, path: str) -> None:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(gate)
        await gate
        await super()._enter(verb, path)

    def open(self) -> None:
        """Let the oldest waiting request through."""
        if self.waiting:
            self.waiting.pop(0).set_result(None)


@dataclass
class Leader:
    """One replica that believes it leads; `step` lets one request of it through."""

    api: Gated
    clock: timedelta = timedelta(0)
    looks: int = 0
    turn: "asyncio.Task[None] | None" = None

    async def step(self) -> None:
        """Begin a turn where none is under way, or go on by one request."""
        if self.turn is None or self.turn.done():
            if self.turn is not None:
                self.turn.result()
            self.turn = asyncio.create_task(self._turn())
        await breathe()
        self.api.open()
        await breathe()

    async def finish(self) -> None:
        """Bring the turn under way to its end."""
        while self.turn is not None and not self.turn.done():
            await self.step()

    async def _turn(self) -> None:
        self.looks += 1
        now = START + self.clock + timedelta(seconds=self.looks)
        nodes = tuple(to_node(each) for each in await self._all(paths.NODES, NodeObject))
        pods = tuple(to_static_pod(each) for each in await self._all(paths.pods("kube-system"), PodObject))
        config = cluster_version(await self.api.get(KUBEADM_CONFIG, ConfigMapObject))
        for wire in await self._all(paths.PLANS, PlanObject):
            plan = to_plan(wire)
            seen = ClusterSnapshot(now=now, plan=plan, nodes=nodes, static_pods=pods, kubeadm_config=config)
            known_nodes: Overlay[Node] = Overlay({})
            known_plans: Overlay[Plan] = Overlay({})
            await Actor(self.api, plans=known_plans, nodes=known_nodes, news=lambda: False).carry_out(
                plan, decide(seen)
            )

    async def _all(self, path: str, type: type[T]) -> list[T]:
        found = await self.api.get(path, dict[str, Any])
        return [msgspec.convert(each, type) for each in found["items"]]


async def breathe() -> None:
    """Let every task run until it waits for the API."""
    for _ in range(6):
        await asyncio.sleep(0)


@dataclass
class Cluster:
    """Control planes cp1…, workers w1… and their daemons, each of which does one thing per step."""

    memory: MemoryApi = field(default_factory=MemoryApi)
    names: list[str] = field(default_factory=list)

    def build(self, control_planes: int, workers: int, budget: int) -> None:
        """All at the old version, and a plan to the new one."""
        self.names = [f"cp{n}" for n in range(1, control_planes + 1)] + [f"w{n}" for n in range(1, workers + 1)]
        document = f"kubernetesVersion: {OLD}\n"
        body = {"metadata": {"name": "kubeadm-config"}, "data": {"ClusterConfiguration": document}}
        self.memory.create(paths.configmaps("kube-system"), body)
        for name in self.names:
            self.add(name)
        self.memory.create(paths.PLANS, {"metadata": {"name": PLAN}, "spec": plan_spec(budget)})

    def add(self, name: str) -> None:
        """A node at the old version, Ready."""
        control_plane = name.startswith("cp")
        labels = {"node-role.kubernetes.io/control-plane": ""} if control_plane else {}
        metadata = {"name": name, "labels": labels}
        self.memory.create(paths.NODES, {"metadata": metadata, "status": ready_status(OLD)})
        for component in COMPONENTS if control_plane else ():
            pod = mirror_pod(name, component, "3.6.8-0" if component == "etcd" else OLD)
            ready = [{"type": "Ready", "status": "True"}]
            self.memory.create(paths.pods("kube-system"), pod | {"status": {"phase": "Running", "conditions": ready}})

    def reborn(self, name: str) -> None:
        """A worker is deleted and created anew under its name, at the old version."""
        if name.startswith("w"):
            self.memory.delete(paths.node(name))
            self.add(name)

    def edit(self, **spec: object) -> None:
        """A person edits the plan."""
        self.memory.patch(paths.plan(PLAN), {"spec": spec})

    def daemon(self, name: str) -> bool:
        """One step of a node's daemon: pending, upgrading, completed. True where it did something."""
        notes = self.memory.get(paths.node(name))["metadata"].get("annotations", {})
        version, status = notes.get(keys.KUBERNETES_VERSION), notes.get(keys.STATUS)
        if status == "upgrading":
            self._finish(name, notes.get("test/version", version))
        elif version and status == "pending":
            self._tell(name, {keys.STATUS: "upgrading", "test/version": version})
        else:
            return False
        return True

    def _finish(self, name: str, version: str) -> None:
        applied = {}
        if name.startswith("cp"):
            for component in COMPONENTS[1:]:
                image = {"containers": [{"name": component, "image": f"registry.k8s.io/{component}:{version}"}]}
                self.memory.patch(paths.pod("kube-system", f"{component}-{name}"), {"spec": image})
            document = {"ClusterConfiguration": f"kubernetesVersion: {version}\n"}
            self.memory.patch(KUBEADM_CONFIG, {"data": document})
            applied = {keys.APPLIED: version}
        self.memory.patch(paths.node_status(name), {"status": ready_status(version)})
        self._tell(name, {keys.STATUS: "completed", **applied})

    def _tell(self, name: str, notes: Mapping[str, str]) -> None:
        self.memory.patch(paths.node(name), {"metadata": {"annotations": dict(notes)}})

    def plan(self) -> Plan:
        """As it stands."""
        return to_plan(msgspec.convert(self.memory.get(paths.plan(PLAN), NO_PARAMS), PlanObject))

    def history(self) -> History:
        """Every write on plans and nodes since the first, for the judge."""
        revisions = [self._revision(event) for path in (paths.NODES, paths.PLANS) for event in self._events(path)]
        return History(revisions=tuple(revisions))

    def _events(self, path: str) -> list[dict[str, Any]]:
        return [event for event in self.memory.past(path, "1") if event["type"] != "BOOKMARK"]

    def _revision(self, event: dict[str, Any]) -> Revision:
        found = event["object"]
        is_plan = "groups" in found.get("spec", {})
        subject = (
            to_plan(msgspec.convert(found, PlanObject)) if is_plan else to_node(msgspec.convert(found, NodeObject))
        )
        number = int(found["metadata"]["resourceVersion"])
        return Revision(number=number, at=START, subject=subject, deleted=event["type"] == "DELETED")


def plan_spec(budget: int) -> dict[str, object]:
    """Control plane first, then workers."""
    label = "node-role.kubernetes.io/control-plane"
    return {
        "kubernetesVersion": "v1.37.2",
        "upgraded": {"fleetlockUrl": "http://locks:8080"},
        "groups": {
            "control-plane": {"selector": {"matchExpressions": [{"key": label, "operator": "Exists"}]}},
            "workers": {
                "selector": {"matchExpressions": [{"key": label, "operator": "DoesNotExist"}]},
                "dependsOn": ["control-plane"],
                "maxUnavailable": budget,
            },
        },
    }
