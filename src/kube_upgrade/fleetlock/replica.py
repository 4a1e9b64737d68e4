"""One replica of the lock server: store, queues, and the cluster where there is one. HTTP comes on top."""

import asyncio
from collections.abc import Callable
from typing import Any

from kube_upgrade.fleetlock.cluster import Cluster
from kube_upgrade.fleetlock.queue import Queue
from kube_upgrade.fleetlock.service import LockService
from kube_upgrade.fleetlock.settings import Settings
from kube_upgrade.fleetlock.stores import Interest, Records
from kube_upgrade.fleetlock.stores.store import LockStore
from kube_upgrade.model.lock import Holder, LockGroup
from kube_upgrade.model.moment import time_text
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import LOCK_HOLDERS, LOCK_SLOTS, LOCK_WAITING, OLDEST_HOLDER

_log = logs.logger("fleetlock")


class Replica:
    """Everything but HTTP. `service` answers while `run` runs and `not_ready` is None.

    `name` tells this replica from the others on its store; one that bears the name of a dead one takes its place.
    """

    def __init__(
        self, settings: Settings, *, name: str, records: Records, store: LockStore, cluster: Cluster | None
    ) -> None:
        self.store = store
        self.cluster = cluster
        self._records = records
        self._interest = Interest(waiting=lambda: any(map(len, self._queues.values())))
        self._queues = {group: Queue(store, group, name, self._interest.begins.set) for group in settings.groups}
        self.service = LockService(settings=settings, store=store, queues=self._queues, cluster=cluster)

    async def run(self) -> None:
        """Work until cancelled; an error that nobody expected ends it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._records.run(self._locks_changed, self._interest))
            for queue in self._queues.values():
                tasks.create_task(queue.run())
            if self.cluster is not None:
                tasks.create_task(self.cluster.run())
                await self._records.synced.wait()
                tasks.create_task(self.cluster.look_after())

    def not_ready(self) -> str | None:
        """What is missing before requests can be answered; None: nothing."""
        missing = self.cluster.not_ready() if self.cluster is not None else None
        return missing or (None if self._records.synced.is_set() else "waiting for the first list of locks")

    def locks(self, *, secrets: bool) -> dict[str, Any]:
        """Who holds what, as GET /v1/locks shows it. Ids suffice to release: they are among the secrets."""
        turn = self._records.turn()
        show = _whole if secrets else _public
        return {
            "groups": {name: self._shown(name, group, show) for name, group in sorted(self._records.groups().items())},
            "controlPlane": {"group": turn.group, **show(turn.holder)} if turn else None,
        }

    def measure(self) -> None:
        """Bring the gauges up to date; called when somebody asks for the metrics."""
        groups = self._records.groups()
        for gauge in (LOCK_SLOTS, LOCK_HOLDERS, LOCK_WAITING, OLDEST_HOLDER):
            gauge.clear()
        for name, group in groups.items():
            LOCK_SLOTS.labels(name).set(group.slots)
            LOCK_HOLDERS.labels(name).set(len(group.holders))
            LOCK_WAITING.labels(name).set(len(self._queues.get(name, ())))
            if group.holders:
                OLDEST_HOLDER.labels(name).set(min(holder.since for holder in group.holders).timestamp())

    def _shown(self, name: str, group: LockGroup, show: Callable[[Holder], dict[str, str]]) -> dict[str, Any]:
        waiting = len(self._queues.get(name, ()))
        return {"slots": group.slots, "waiting": waiting, "holders": [show(holder) for holder in group.holders]}

    def _locks_changed(self) -> None:
        for queue in self._queues.values():
            queue.wake()
        if self.cluster is not None:
            self.cluster.wake()


def _public(holder: Holder) -> dict[str, str]:
    return {"who": holder.who, "node": holder.node, "since": time_text(holder.since), "reason": holder.reason}


def _whole(holder: Holder) -> dict[str, str]:
    return {**_public(holder), "id": holder.id, "uid": holder.uid}
