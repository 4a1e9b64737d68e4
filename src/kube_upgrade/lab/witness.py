"""The judge's eyes: one watch on plans and one on nodes, from before the start to the end, with no revision left out.

An API server that starts anew answers the next watch with a 410: it has forgotten what etcd still knows. Then every
revision since the last one seen is asked for by itself, as a list at exactly that resourceVersion, so an outage costs
the verdict nothing. Only what etcd has forgotten too (it compacts every five minutes) is a gap.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce

import msgspec

from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.errors import Forbidden, Gone, KubeError, ServerError, TooManyRequests, Unreachable
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
_MOST_ASKED = 5_000  # revisions one by one: some milliseconds each


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
    expired: str = ""  # why the watch cannot go on from `position`
    known: dict[str, Node | Plan] = field(default_factory=dict)  # what is there, by name


@dataclass(slots=True)
class Witness:
    """Records what it sees; `world` is the last of it. Broken streams go on where they ended, after a 410 too."""

    api: Api
    now: Callable[[], datetime]
    seen: list[Revision] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    filled: int = 0  # revisions that no watch brought, asked for one by one
    world: World = field(default_factory=World)
    moved: asyncio.Event = field(default_factory=asyncio.Event)  # set, and a new one put here, by the next revision
    past: list[History] = field(default_factory=list)  # of before etcd was put back, the oldest first
    _found: int = 0  # how many of `seen` tell only how things were when etcd was back
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def history(self) -> History:
        """All that was seen until now, since etcd was put back."""
        start = reduce(World.after, self.seen[: self._found], World())
        before = self.past[-1].baseline() if self.past else {}
        return History(revisions=tuple(self.seen[self._found :]), gaps=tuple(self.gaps), start=start, before=before)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator["Witness"]:
        """List both kinds, then follow them until the block ends. Raises KubeError where the lists fail for long."""
        try:
            await self._watch()
            yield self
        finally:
            await self._rest()

    async def put_back(self, way_back: Awaitable[None]) -> None:
        """`way_back` puts etcd back to an earlier point. What is seen from now on is another history.

        Of the one before nothing is missing but what nobody will ever know: what was written after the last event.
        """
        await self._rest()
        self.past.append(self.history())
        self.seen, self.gaps = [], []
        await way_back
        await self._watch()
        self._found = len(self.seen)

    async def _watch(self) -> None:
        """Both kinds as they were at one revision, and all that follows."""
        nodes, plans = Watched(paths.NODES, read_node), Watched(paths.PLANS, read_plan)
        self.world = World()
        await self._begin(nodes)
        await self._begin(plans, {"resourceVersion": nodes.position, "resourceVersionMatch": "Exact"})
        self._tasks = [asyncio.create_task(self._follow(kind)) for kind in (nodes, plans)]

    async def _rest(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _begin(self, kind: Watched, params: Mapping[str, str] | None = None) -> None:
        """The first list: a fresh API server answers 429 while it sets up the storage of a new kind."""
        until = asyncio.get_running_loop().time() + _BEGIN_SECONDS
        while True:
            try:
                return await self._list(kind, params)
            except (TooManyRequests, ServerError, Unreachable, Forbidden):
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
                kind.expired = gone.message
                pause = min(_LONGEST_PAUSE, pause * 2)
            except (KubeError, msgspec.MsgspecError) as error:
                if isinstance(error, msgspec.MsgspecError):
                    self.gaps.append(f"{kind.path}: an event that cannot be read: {error}")
                    kind.position = kind.expired = ""
                pause = min(_LONGEST_PAUSE, pause * 2)
            await asyncio.sleep(pause)

    async def _stream(self, kind: Watched) -> None:
        if kind.expired:
            await self._catch_up(kind)
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
            self._record(kind, kind.read(event.object), deleted=event.type == "DELETED")
        kind.position = msgspec.json.decode(event.object, type=Bare).metadata.resource_version

    async def _list(self, kind: Watched, params: Mapping[str, str] | None = None) -> None:
        listing = await self.api.get(kind.path, Listing, params or {})
        for item in listing.items:
            self._record(kind, kind.read(item))
        kind.position = listing.metadata.resource_version

    async def _catch_up(self, kind: Watched) -> None:
        """Record what became of this kind at each revision since `position`; where nobody knows any more, a gap."""
        now = int((await self.api.get(kind.path, Listing)).metadata.resource_version)
        missed = range(int(kind.position) + 1, now + 1)
        try:
            if now < int(kind.position) or len(missed) > _MOST_ASKED:
                raise Gone(410, "Expired", f"{kind.expired}; the server is at {now}")
            for number in missed:
                await self._record_at(kind, number)
        except Gone as gone:
            self.gaps.append(f"{kind.path}: {gone}")
            kind.position = ""
        kind.expired = ""

    async def _record_at(self, kind: Watched, number: int) -> None:
        """What this one revision changed."""
        params = {"resourceVersion": str(number), "resourceVersionMatch": "Exact"}
        listing = await self.api.get(kind.path, Listing, params)
        there = {found.name: found for found in map(kind.read, listing.items)}
        for name in kind.known.keys() - there.keys():
            self._record(kind, replace(kind.known[name], resource_version=str(number)), deleted=True)
        for found in there.values():
            if found.resource_version == str(number):
                self._record(kind, found)
        kind.position = str(number)
        self.filled += 1

    def _record(self, kind: Watched, subject: Node | Plan, *, deleted: bool = False) -> None:
        if deleted:
            kind.known.pop(subject.name, None)
        else:
            kind.known[subject.name] = subject
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
