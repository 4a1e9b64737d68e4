"""Repairs in the background what core.fleetlock.upkeep finds, after a second look at the API server itself.

Every replica does it: all repairs are guarded by a reservation or a resourceVersion, so the second finds nothing to do.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import NoReturn, assert_never

from kube_upgrade.core.fleetlock.upkeep import FreeSlot, ResumeDrain, UndoCordon, repairs, reserved, unfinished
from kube_upgrade.fleetlock.drainer import Drainer
from kube_upgrade.fleetlock.machines import Machines
from kube_upgrade.fleetlock.settings import GroupSettings
from kube_upgrade.fleetlock.stores import Store, StoreUnavailable
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.cordon import read_node, restore
from kube_upgrade.kube.errors import KubeError, NotFound
from kube_upgrade.model.lock import LockGroup
from kube_upgrade.telemetry import logs

EVERY_SECONDS = 30.0  # a look without news, and the pause after a repair that failed
SETTLE_SECONDS = 0.2  # news come in bursts

_log = logs.logger("fleetlock.caretaker")


class Caretaker:
    """`groups` gives the stored groups as the informer knows them. `run` must be started when all caches are filled."""

    def __init__(
        self,
        *,
        api: Api,
        store: Store,
        machines: Machines,
        drainer: Drainer,
        settings: Mapping[str, GroupSettings],
        groups: Callable[[], Mapping[str, LockGroup]],
    ) -> None:
        self._api = api
        self._store = store
        self._machines = machines
        self._drainer = drainer
        self._settings = settings
        self._groups = groups
        self._news = asyncio.Event()

    def wake(self) -> None:
        """A node or a lock changed."""
        self._news.set()

    async def run(self) -> NoReturn:
        """Resume drains once, then repair until cancelled."""
        for resume in unfinished(self._machines.all(), self._groups()):
            self._resume(resume)
        while True:
            self._news.clear()
            for repair in repairs(self._machines.all(), self._groups()):
                await self._attempt(repair)
            try:
                async with asyncio.timeout(EVERY_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(SETTLE_SECONDS)

    def _resume(self, found: ResumeDrain) -> None:
        _log.info("going on with a drain", node=found.node, group=found.mark.group)
        self._drainer.begin(found.node, found.mark, self._settings[found.mark.group].policy)

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
        if await self._store.release(found.group, holder.id, holder.since):
            _log.warning(
                "freed the slot of a node that is gone", node=holder.node, group=found.group, since=holder.since
            )

    async def _undo(self, found: UndoCordon) -> None:
        if reserved(await self._store.read(found.mark.group), found.mark):
            return
        self._drainer.stop(found.node)
        if await restore(self._api, found.node, lambda mark: mark == found.mark):
            _log.warning("undid a cordon whose slot is gone", node=found.node, group=found.mark.group)
