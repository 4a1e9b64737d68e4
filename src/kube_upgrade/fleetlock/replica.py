"""One replica of the lock server, put together: caches, store, queues, drains, repairs. HTTP comes on top."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from kube_upgrade.fleetlock.caretaker import Caretaker
from kube_upgrade.fleetlock.drainer import Drainer
from kube_upgrade.fleetlock.machines import Machines
from kube_upgrade.fleetlock.queue import Queue
from kube_upgrade.fleetlock.service import LockService
from kube_upgrade.fleetlock.settings import Settings
from kube_upgrade.fleetlock.stores.kubernetes import KubernetesStore
from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.informer import Informer
from kube_upgrade.kube.wire import lock as wire
from kube_upgrade.kube.wire.lock import BadLockObject, LockLease
from kube_upgrade.kube.wire.node import NodeObject, to_node
from kube_upgrade.model.lock import Holder, LockGroup, Turn
from kube_upgrade.model.moment import time_text
from kube_upgrade.model.node import Node
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import LOCK_HOLDERS, LOCK_SLOTS

_log = logs.logger("fleetlock")


class Replica:
    """Everything but HTTP. `service` answers while `run` runs and `not_ready` is None."""

    def __init__(self, settings: Settings, api: Api, now: Callable[[], datetime]) -> None:
        self._settings = settings
        slots = {name: group.slots for name, group in settings.groups.items()}
        self._store = KubernetesStore(api, settings.namespace, slots, now)
        self._machines = Machines()
        self._queues = {name: Queue(self._store, name) for name in settings.groups}
        self._drainer = Drainer(api, self._machines.all)
        self._caretaker = Caretaker(
            api=api,
            store=self._store,
            machines=self._machines,
            drainer=self._drainer,
            settings=settings.groups,
            groups=self.groups,
        )
        self._nodes = Informer(api, paths.NODES, type=NodeObject, value=to_node, on_change=self._node_changed)
        self._leases = Informer(
            api,
            paths.leases(settings.namespace),
            type=LockLease,
            value=_itself,
            params={"labelSelector": ",".join(f"{key}={value}" for key, value in wire.LABELS.items())},
            on_change=self._lock_changed,
        )
        self.service = LockService(
            settings=settings,
            api=api,
            store=self._store,
            machines=self._machines,
            queues=self._queues,
            drainer=self._drainer,
        )
        self._measure()

    async def run(self) -> None:
        """Work until cancelled; an error that nobody expected ends it."""
        async with asyncio.TaskGroup() as tasks:
            for informer in (self._nodes, self._leases):
                tasks.create_task(informer.run())
            for queue in self._queues.values():
                tasks.create_task(queue.run())
            tasks.create_task(self._drainer.run())
            await self._nodes.synced.wait()
            await self._leases.synced.wait()
            _log.info("serving", groups=sorted(self._queues), nodes=len(self._machines.all()))
            tasks.create_task(self._caretaker.run())

    def not_ready(self) -> str | None:
        """What is missing before requests can be answered; None: nothing."""
        missing = [
            name for name, cache in (("nodes", self._nodes), ("leases", self._leases)) if not cache.synced.is_set()
        ]
        return f"waiting for the first list of {' and '.join(missing)}" if missing else None

    def groups(self) -> dict[str, LockGroup]:
        """The configured groups as the cache knows them. One that can't be read is left out: nothing is known of it."""
        found = {}
        for name, settings in self._settings.groups.items():
            lease = self._leases.items.get(f"{self._settings.namespace}/{wire.lease_name(name)}")
            try:
                found[name] = wire.read_group(lease, name, settings.slots) if lease else _empty(name, settings.slots)
            except BadLockObject as bad:
                _log.warning("unreadable lock", reason=str(bad))
        return found

    def locks(self) -> dict[str, Any]:
        """Who holds what, as GET /v1/locks shows it."""
        turn = self._turn()
        return {
            "groups": {
                name: {
                    "slots": group.slots,
                    "waiting": len(self._queues[name]),
                    "holders": [_shown(holder) for holder in group.holders],
                }
                for name, group in self.groups().items()
            },
            "controlPlane": {"group": turn.group, **_shown(turn.holder)} if turn else None,
        }

    def _turn(self) -> Turn | None:
        lease = self._leases.items.get(f"{self._settings.namespace}/{wire.TURN_NAME}")
        try:
            return wire.read_turn(lease) if lease else None
        except BadLockObject:
            return None

    def _node_changed(self, name: str, old: Node | None, new: Node | None) -> None:
        self._machines.changed(name, old, new)
        if old is None or new is None or old.drain != new.drain:
            self._caretaker.wake()

    def _lock_changed(self, key: str, old: LockLease | None, new: LockLease | None) -> None:
        for queue in self._queues.values():
            queue.wake()
        self._caretaker.wake()
        self._measure()

    def _measure(self) -> None:
        for name, group in self.groups().items():
            LOCK_SLOTS.labels(name).set(group.slots)
            LOCK_HOLDERS.labels(name).set(len(group.holders))


def _itself(lease: LockLease) -> LockLease:
    return lease


def _empty(name: str, slots: int) -> LockGroup:
    return LockGroup(name=name, slots=slots)


def _shown(holder: Holder) -> dict[str, str]:
    shown = {"id": holder.id, "since": time_text(holder.since), "node": holder.node, "uid": holder.uid}
    return {**shown, "reason": holder.reason}
