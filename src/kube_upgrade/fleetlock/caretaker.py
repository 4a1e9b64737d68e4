"""Repairs in the background what core.fleetlock.upkeep finds, after a second look at the API server itself.

Every replica does it: all repairs are guarded by a reservation or a resourceVersion, so the second finds nothing to do.
Time is this process's monotonic clock: a slot is freed so long after *this* replica missed its node, a drain is taken
over so long after this replica last saw it noted.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn, assert_never

from kube_upgrade.core.eviction import DrainPolicy
from kube_upgrade.core.fleetlock.upkeep import FreeSlot, ResumeDrain, UndoCordon, repairs, reserved, unfinished
from kube_upgrade.fleetlock.announce import Announcer, Told, about
from kube_upgrade.fleetlock.drainer import Drainer
from kube_upgrade.fleetlock.stores import StoreUnavailable
from kube_upgrade.fleetlock.stores.store import LockStore
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.cordon import BEAT_SECONDS, read_node, restore
from kube_upgrade.kube.errors import KubeError, NotFound
from kube_upgrade.model.lock import LockGroup
from kube_upgrade.model.node import Node
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import FREED

EVERY_SECONDS = 30.0  # a look without news, and the pause after a repair that failed
SETTLE_SECONDS = 0.2  # news come in bursts
TAKE_OVER_SECONDS = 3.0 * BEAT_SECONDS  # a drain that noted nothing for so long has lost its replica

_log = logs.logger("fleetlock.caretaker")


class Caretaker:
    """`nodes` and `groups` are copies that may lag, `policy` a group's rules, `gone_seconds` the grace for a node that
    is gone. `run` must be started when all copies are filled.
    """

    def __init__(
        self,
        *,
        api: Api,
        store: LockStore,
        drainer: Drainer,
        announcer: Announcer,
        nodes: Callable[[], Iterable[Node]],
        groups: Callable[[], Mapping[str, LockGroup]],
        policy: Callable[[str], DrainPolicy],
        gone_seconds: float,
        take_over_seconds: float = TAKE_OVER_SECONDS,
    ) -> None:
        self._api = api
        self._store = store
        self._drainer = drainer
        self._announcer = announcer
        self._nodes = nodes
        self._groups = groups
        self._policy = policy
        self._gone_seconds = gone_seconds
        self._take_over_seconds = take_over_seconds
        self._missed: dict[FreeSlot, float] = {}  # since when
        self._noted: dict[ResumeDrain, float] = {}  # drains of other replicas, and when their mark was last new
        self._news = asyncio.Event()

    def wake(self) -> None:
        """A node or a lock changed."""
        self._news.set()

    async def run(self) -> NoReturn:
        """Resume drains once, then look after everything until cancelled."""
        for resume in unfinished(self._nodes(), self._groups()):
            self._resume(resume)
        while True:
            self._news.clear()
            pause = await self._round()
            try:
                async with asyncio.timeout(pause):
                    await self._news.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(SETTLE_SECONDS)

    async def _round(self) -> float:
        """One look. Returns seconds until something is due without news."""
        now = asyncio.get_running_loop().time()
        nodes, groups = tuple(self._nodes()), self._groups()
        found = repairs(nodes, groups)
        missed = {repair for repair in found if isinstance(repair, FreeSlot)}
        self._missed = {repair: self._missed.get(repair, now) for repair in missed}
        due = [repair for repair in found if isinstance(repair, UndoCordon) or now >= self._due(repair)]
        for repair in due:
            await self._attempt(repair)
        self._take_over(unfinished(nodes, groups), now)
        waits = [self._due(repair) - now for repair in self._missed if repair not in due]
        waits += [since + self._take_over_seconds - now for since in self._noted.values()]
        return max(0.01, min([EVERY_SECONDS, *waits]))

    def _due(self, repair: FreeSlot) -> float:
        return self._missed[repair] + self._gone_seconds

    def _take_over(self, drains: Iterable[ResumeDrain], now: float) -> None:
        """Go on with drains whose replica notes nothing any more."""
        others = {drain for drain in drains if not self._drainer.drains(drain.node)}
        self._noted = {drain: self._noted.get(drain, now) for drain in others}
        for drain, since in list(self._noted.items()):
            if now >= since + self._take_over_seconds:
                del self._noted[drain]
                self._resume(drain)

    def _resume(self, found: ResumeDrain) -> None:
        _log.info("going on with a drain", node=found.node, group=found.mark.group)
        self._drainer.begin(found.node, found.mark, self._policy(found.mark.group))

    async def _attempt(self, repair: FreeSlot | UndoCordon) -> None:
        try:
            match repair:
                case FreeSlot():
                    await self._free(repair)
                case UndoCordon():
                    await self._undo(repair)
                case _:
                    assert_never(repair)
        except (KubeError, StoreUnavailable) as error:
            _log.warning("repair failed", repair=type(repair).__name__, reason=str(error))

    async def _free(self, found: FreeSlot) -> None:
        holder = found.holder
        try:
            if (await read_node(self._api, holder.node)).uid == holder.uid:
                return
        except NotFound:
            pass
        # with `asks`: a machine whose Node was made anew has asked again and keeps its slot
        if await self._store.release(found.group, holder.id, holder.since, holder.asks):
            _log.warning(
                "freed the slot of a node that is gone", node=holder.node, group=found.group, since=holder.since
            )
            FREED.labels(found.group).inc()
            note = f"the node is gone: its slot of group {found.group} is free"
            self._announcer.announce(about(holder.node, Told.FREED, note, holder.uid))

    async def _undo(self, found: UndoCordon) -> None:
        if reserved(await self._store.read(found.mark.group), found.mark):
            return
        self._drainer.stop(found.node)
        if await restore(self._api, found.node, found.mark.same_reservation):
            _log.warning("undid a cordon whose slot is gone", node=found.node, group=found.mark.group)
            note = f"its slot of group {found.mark.group} is gone: the cordon was undone"
            self._announcer.announce(about(found.node, Told.UNCORDONED, note))
