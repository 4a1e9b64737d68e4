"""The judge's eyes: one uninterrupted watch on plans and one on nodes, from before the start to the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.errors import Gone, KubeError, ServerError, TooManyRequests, Unreachable
from kube_upgrade.kube.wire.node import NodeObject, to_node
from kube_upgrade.kube.wire.plan import to_plan
from kube_upgrade.kube.wire.schema import PlanObject
from kube_upgrade.kube.wire.status import to_error
from kube_upgrade.lab.history import History, Revision, World
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Plan

_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE = 2.0
_BEGIN_SECONDS = 30.0


class Event(msgspec.Struct, frozen=True):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


class Bare(msgspec.Struct, frozen=True):
    """Any object, of which only the resourceVersion is wanted."""

    metadata: "BareMeta"


class BareMeta(msgspec.Struct, rename="camel", frozen=True):
    """metadata, reduced to where a watch goes on from."""

    resource_version: str


class Listing(msgspec.Struct, frozen=True):
    """A list whose items are decoded one by one."""

    metadata: BareMeta
    items: list[msgspec.Raw]


@dataclass(slots=True)
class Watched:
    """One kind: where it lives, how it is read, and how far it was seen."""

    path: str
    read: Callable[[bytes | msgspec.Raw], Node | Plan]
    position: str = ""


@dataclass(slots=True)
class Witness:
    """Records what it sees; `world` is the last of it. Broken streams go on where they ended; a 410 is a gap."""

    api: Api
    now: Callable[[], datetime]
    seen: list[Revision] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    world: World = field(default_factory=World)
    moved: asyncio.Event = field(default_factory=asyncio.Event)  # set, and a new one put here, by the next revision

    def history(self) -> History:
        """All that was seen until now."""
        return History(revisions=tuple(self.seen), gaps=tuple(self.gaps))

    @asynccontextmanager
    async def watching(self) -> AsyncIterator["Witness"]:
        """List both kinds, then follow them until the block ends. Raises KubeError where the lists fail for long."""
        kinds = (Watched(paths.NODES, read_node), Watched(paths.PLANS, read_plan))
        for kind in kinds:
            await self._begin(kind)
        tasks = [asyncio.create_task(self._follow(kind)) for kind in kinds]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self, kind: Watched) -> None:
        """The first list: a fresh API server answers 429 while it sets up the storage of a new kind."""
        until = asyncio.get_running_loop().time() + _BEGIN_SECONDS
        while True:
            try:
                return await self._list(kind)
            except (TooManyRequests, ServerError, Unreachable):
                if asyncio.get_running_loop().time() > until:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _follow(self, kind: Watched) -> None:
        pause = _PAUSE_SECONDS
        while True:
            try:
                await self._stream(kind)
                pause = _PAUSE_SECONDS
            except Gone as gone:
                await self._lost(kind, gone)
            except (KubeError, msgspec.MsgspecError) as error:
                if isinstance(error, msgspec.MsgspecError):
                    self.gaps.append(f"{kind.path}: an event that cannot be read: {error}")
                    kind.position = ""
                pause = min(_LONGEST_PAUSE, pause * 2)
            await asyncio.sleep(pause)

    async def _lost(self, kind: Watched, gone: Gone) -> None:
        """What came after `kind.position` is not told any more: begin anew, with a gap."""
        self.gaps.append(f"{kind.path}: {gone}")
        kind.position = ""

    async def _stream(self, kind: Watched) -> None:
        if not kind.position:
            await self._list(kind)
        params = {"resourceVersion": kind.position, "timeoutSeconds": "300"}
        async with aclosing(self.api.watch(kind.path, params)) as lines:
            async for line in lines:
                self._take(kind, msgspec.json.decode(line, type=Event))

    def _take(self, kind: Watched, event: Event) -> None:
        if event.type == "ERROR":
            raise to_error(bytes(event.object))
        if event.type != "BOOKMARK":
            self._record(kind.read(event.object), deleted=event.type == "DELETED")
        kind.position = msgspec.json.decode(event.object, type=Bare).metadata.resource_version

    async def _list(self, kind: Watched) -> None:
        listing = await self.api.get(kind.path, Listing)
        for item in listing.items:
            self._record(kind.read(item))
        kind.position = listing.metadata.resource_version

    def _record(self, subject: Node | Plan, *, deleted: bool = False) -> None:
        revision = Revision(number=int(subject.resource_version), at=self.now(), subject=subject, deleted=deleted)
        self.seen.append(revision)
        self.world = self.world.after(revision)
        self.moved.set()
        self.moved = asyncio.Event()


def read_node(body: bytes | msgspec.Raw) -> Node:
    """A Node's value from its JSON."""
    return to_node(msgspec.json.decode(body, type=NodeObject))


def read_plan(body: bytes | msgspec.Raw) -> Plan:
    """A plan's value from its JSON."""
    return to_plan(msgspec.json.decode(body, type=PlanObject))
