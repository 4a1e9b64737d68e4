"""Lock servers over one in-memory API server, in this process."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeVar

import msgspec

from kube_upgrade.core.fleetlock.identity import fleetlock_id
from kube_upgrade.core.fleetlock.protocol import Answer, Operation, Request
from kube_upgrade.fleetlock import assemble
from kube_upgrade.fleetlock.replica import Replica
from kube_upgrade.fleetlock.settings import GroupSettings, Settings
from kube_upgrade.kube import paths
from kube_upgrade.kube.clock import stop
from kube_upgrade.kube.errors import Cause, TooManyRequests
from kube_upgrade.kube.wire.event import Announcement
from kube_upgrade.kube.wire.node import DRAIN, KUBERNETES_VERSION, NodeObject, to_node, write_drain
from kube_upgrade.model.lock import DrainMark
from kube_upgrade.model.node import Node
from support.async_memory_api import AsyncMemoryApi
from support.memory_api import MemoryApi

T = TypeVar("T")

SECONDS = 10.0  # a deadline, not a measurement
SETTINGS = Settings(hold_seconds=0.2, groups={"workers": GroupSettings()})


@dataclass
class Said:
    """Events, kept in a list."""

    events: list[Announcement]

    def announce(self, said: Announcement) -> None:
        """Take note."""
        self.events.append(said)


class PodApi(AsyncMemoryApi):
    """An API server that also evicts: an evicted pod is gone at once, unless a budget holds it back."""

    def __init__(self, memory: MemoryApi, budgets: dict[str, str]) -> None:
        super().__init__(memory)
        self._budgets = budgets

    async def create(self, path: str, body: object, type: type[T]) -> T:
        """POST; to an eviction as the disruption controller's budget says."""
        pod, eviction, _ = path.partition("/eviction")
        if not eviction:
            return await super().create(path, body, type)
        await self._enter("create", path)
        if budget := self._budgets.get(pod.rpartition("/")[2]):
            cause = Cause(reason="DisruptionBudget", message=f"The disruption budget {budget} needs 1 healthy pods")
            raise TooManyRequests(429, "TooManyRequests", "Cannot evict pod", 10, (cause,))
        self.memory.delete(pod)
        return msgspec.json.decode(b"{}", type=type)


@dataclass
class LockWorld:
    """The API server, its nodes, and what a client would do. `budgets`: pod to the budget that holds it back."""

    memory: MemoryApi = field(default_factory=MemoryApi)
    budgets: dict[str, str] = field(default_factory=dict)
    api: AsyncMemoryApi = field(init=False)
    said: list[Announcement] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.api = self.another_api()

    def another_api(self) -> AsyncMemoryApi:
        """A connection of its own to the same API server, with its own weather."""
        return PodApi(self.memory, self.budgets)

    async def node(
        self,
        name: str,
        *,
        control_plane: bool = False,
        address: str = "127.0.0.1",
        order: str = "",
        machine: str = "",
    ) -> None:
        """A Ready node whose machine-id follows from its name, or from that of the `machine` it is a copy of."""
        labels = {"node-role.kubernetes.io/control-plane": ""} if control_plane else {}
        status = {
            "nodeInfo": {"machineID": machine_id(machine or name)},
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": address}],
        }
        meta = {"name": name, "labels": labels, "annotations": {KUBERNETES_VERSION: order} if order else {}}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": status}
        await self.api.create(paths.NODES, body, msgspec.Raw)

    async def pod(self, name: str, node: str) -> None:
        """A running pod without a controller."""
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"nodeName": node}}
        await self.api.create(paths.pods("default"), body, msgspec.Raw)

    async def mark(self, name: str, mark: DrainMark) -> None:
        """Write the drain mark of a node, as a server did that is gone."""
        body = {"metadata": {"annotations": {DRAIN: write_drain(mark)}}}
        await self.api.patch(paths.node(name), body, msgspec.Raw)

    def see(self, name: str) -> Node:
        """The node as it is stored."""
        raw = msgspec.json.encode(self.memory.get(paths.node(name), {}))
        return to_node(msgspec.json.decode(raw, type=NodeObject))

    @asynccontextmanager
    async def server(
        self, settings: Settings = SETTINGS, api: AsyncMemoryApi | None = None, **changes: Any
    ) -> AsyncIterator[Replica]:
        """A replica that runs and is ready, on the world's connection unless it has its own."""
        replica = assemble.replica(
            replace(settings, **changes),
            name=f"replica-{next(self._numbers)}",
            api=api or self.api,
            announcer=Said(self.said),
            now=lambda: datetime.now(UTC),
        )
        running = asyncio.create_task(replica.run())
        try:
            async with asyncio.timeout(SECONDS):
                while replica.not_ready():  # noqa: ASYNC110 - there is no event for it
                    await asyncio.sleep(0.001)
            yield replica
        finally:
            await stop(running)


def machine_id(name: str) -> str:
    """32 hex digits."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def node_id(name: str) -> str:
    """The FleetLock id of the node that `LockWorld.node` makes."""
    return fleetlock_id(machine_id(name))


async def pre_reboot(replica: Replica, name: str, group: str = "workers") -> Answer:
    """What the node is told."""
    request = Request(operation=Operation.PRE_REBOOT, group=group, id=node_id(name))
    return await replica.service.answer(request)


async def steady_state(replica: Replica, name: str, group: str = "workers") -> Answer:
    """What the node is told."""
    request = Request(operation=Operation.STEADY_STATE, group=group, id=node_id(name))
    return await replica.service.answer(request)
