"""The real controller (watches, loop, decisions, writes) over an API in memory, in virtual time, and daemons beside it.

What comes of it is told by the API's own history: what was ordered when, and the lab judge's verdict.
"""

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from kube_upgrade.controller.act import Actor
from kube_upgrade.controller.loop import Loop
from kube_upgrade.controller.main import while_leading
from kube_upgrade.controller.observe import World
from kube_upgrade.controller.publish import Publisher
from kube_upgrade.kube import paths
from kube_upgrade.kube.errors import KubeError, Unreachable, api_error
from kube_upgrade.kube.wire.event import Announcement
from kube_upgrade.lab.judge import Breach, Rule, judge
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Plan
from support.async_memory_api import AsyncMemoryApi
from support.memory_api import MemoryApi
from support.paused_leaders import Cluster
from support.rights import BASE, permit, rights
from support.virtual_time import VirtualClock, in_no_time

DAEMONS_STEP = 1.0  # seconds between two steps of each daemon
PATIENCE = 1200.0  # seconds, all of them virtual
REFUSED = Unreachable("connection refused")
RIGHTS = rights(BASE / "upgrade-controller-rbac.yaml")


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs in virtual time."""

    @functools.wraps(test)
    def run(**given: Any) -> None:
        in_no_time(lambda: test(**given))

    return run


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked, and when."""

    at: float
    verb: str
    path: str


class LiveApi(AsyncMemoryApi):
    """One controller's way to the API server, under its rights. `late` is by how many seconds its watches lag."""

    def __init__(self, memory: MemoryApi, *, late: float = 0.0) -> None:
        super().__init__(memory)
        self.late = late
        self.away = False
        self.asked_at: list[Request] = []
        self.before: Callable[[str, str], None] = lambda verb, path: None  # runs before each request, may refuse it
        self.weather = self._meet

    def _meet(self, verb: str, path: str) -> None:
        self.asked_at.append(Request(asyncio.get_running_loop().time(), verb, path))
        if self.away:
            raise REFUSED
        if not permit(RIGHTS, verb, path):
            raise api_error(403, "Forbidden", f"deploy/base lets no controller {verb} {path}")
        self.before(verb, path)

    def go_away(self) -> None:
        """Refuse everything from now on."""
        self.away = True
        self.break_watches(REFUSED)

    def writes(self, path: str = "") -> list[Request]:
        """Every write that was asked for, below this path."""
        return [each for each in self.asked_at if each.verb not in ("get", "watch") and each.path.startswith(path)]

    async def watch(
        self, path: str, params: Mapping[str, str], *, opened: Callable[[], None] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The same, each event `late`."""
        async for line in super().watch(path, params, opened=opened):
            await asyncio.sleep(self.late)
            yield line


@dataclass
class Controller:
    """One replica that believes it leads while `leading` runs."""

    api: LiveApi
    clock: VirtualClock
    world: World
    publisher: Publisher
    announced: list[Announcement]
    changed: asyncio.Event

    @classmethod
    def over(
        cls, memory: MemoryApi, *, late: float = 0.0, skew: timedelta = timedelta(0), api: type[LiveApi] = LiveApi
    ) -> "Controller":
        """A replica of its own on this API server."""
        return cls.through(api(memory, late=late), skew)

    @classmethod
    def through(cls, api: LiveApi, skew: timedelta = timedelta(0)) -> "Controller":
        """A replica that speaks to the API server this way."""
        changed = asyncio.Event()
        announced: list[Announcement] = []
        world = World(api, changed=changed.set)
        return cls(api, VirtualClock(skew), world, Publisher(announced.append, world.nodes.values), announced, changed)

    async def act(self) -> None:
        """What runs while it leads."""
        actor = Actor(self.api, plans=self.world.plans, nodes=self.world.nodes, news=self.changed.is_set)
        loop = Loop(self.world, actor, self.publisher, changed=self.changed, clock=self.clock.now)
        await while_leading(loop, self.publisher)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator["Controller"]:
        """Its watches stand; it does nothing."""
        async with running(self.world.watch()):
            yield self

    @asynccontextmanager
    async def leading(self) -> AsyncIterator["Controller"]:
        """It watches and acts."""
        async with self.watching(), running(self.act()):
            yield self


@asynccontextmanager
async def running(*works: Coroutine[Any, Any, None], ends: bool = False) -> AsyncIterator[None]:
    """Beside the block; an end before the block's is an error, unless it may be."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
        for task in tasks:
            assert ends or not task.done(), task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Site:
    """A cluster, its daemons, and what is known of it afterwards."""

    cluster: Cluster = field(default_factory=Cluster)
    silent: set[str] = field(default_factory=set)  # nodes whose daemons do nothing

    @classmethod
    def built(cls, control_planes: int = 1, workers: int = 3, budget: int = 1, **spec: object) -> "Site":
        site = cls()
        site.cluster.build(control_planes, workers, budget)
        if spec:
            site.cluster.edit(**spec)
        return site

    @property
    def memory(self) -> MemoryApi:
        return self.cluster.memory

    @property
    def plan(self) -> Plan:
        return self.cluster.plan()

    def notes(self, node: str) -> dict[str, str]:
        """A node's annotations, without their prefix."""
        found = self.memory.get(paths.node(node))["metadata"].get("annotations") or {}
        return {key.rpartition("/")[2]: value for key, value in found.items()}

    def status(self, node: str) -> str:
        return self.notes(node).get("status", "")

    async def daemons(self) -> None:
        """Each node's daemon does its next thing each second. They never stop."""
        while True:
            await asyncio.sleep(DAEMONS_STEP)
            for name in self.cluster.names:
                if name not in self.silent:
                    self.cluster.daemon(name)

    async def until(self, holds: Callable[[], object], within: float = PATIENCE) -> float:
        """Return as soon as this is so, with the seconds it took."""
        clock = asyncio.get_running_loop()
        began = clock.time()
        while not holds():
            assert clock.time() - began < within, f"not within {within:g} s: {self.plan.status}"
            await asyncio.sleep(0.1)
        return clock.time() - began

    async def complete(self, within: float = PATIENCE) -> float:
        """Return when the plan says so, with the seconds it took."""
        return await self.until(lambda: self.plan.status.summary == "Complete", within)

    def orders(self) -> list[tuple[str, str]]:
        """(node, uid) for each time that an order was opened, in order."""
        found: list[tuple[str, str]] = []
        before: dict[str, Node] = {}
        for revision in self.cluster.history().in_order():
            node = revision.subject
            if not isinstance(node, Node):
                continue
            old = before.get(node.uid)
            if node.order and not revision.deleted and (old is None or old.order != node.order):
                found.append((node.name, node.uid))
            before[node.uid] = node
        return found

    def upgrades(self) -> list[str]:
        """The nodes in the order in which their daemons began with kubeadm; once for each time."""
        found: list[str] = []
        before: dict[str, Node] = {}
        for revision in self.cluster.history().in_order():
            node = revision.subject
            if isinstance(node, Node):
                old = before.get(node.uid)
                if node.report.status == "upgrading" and (old is None or old.report.status != "upgrading"):
                    found.append(node.name)
                before[node.uid] = node
        return found

    def ordered(self) -> list[str]:
        """The nodes in the order of their orders."""
        return [name for name, _ in self.orders()]

    def breaches(self) -> list[Breach]:
        """What the lab's judge finds; nodes here do not reboot."""
        return [each for each in judge(self.cluster.history()).breaches if each.rule is not Rule.NODE_PROVEN]


def refusing(error: KubeError, *, times: int, verb: str, below: str) -> Callable[[str, str], None]:
    """Weather that refuses the first so many requests of this kind."""
    left = [times]

    def before(asked: str, path: str) -> None:
        if asked == verb and path.startswith(below) and left[0] > 0:
            left[0] -= 1
            raise error

    return before
