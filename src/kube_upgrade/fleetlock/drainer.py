"""The drains of this replica: tasks owned by the process, not by the requests that wait for them.

A request may come back to a drain that runs, here or in another replica: two replicas may drain one node, since
evictions are idempotent and the state is in the API.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from random import SystemRandom
from typing import NoReturn, TypeVar

from kube_upgrade.core.backoff import pause
from kube_upgrade.core.eviction import DrainPolicy
from kube_upgrade.fleetlock.announce import Announcer, Told, about
from kube_upgrade.fleetlock.stores import StoreUnavailable
from kube_upgrade.fleetlock.stores.store import LockStore
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.cordon import MarkedByAnother, restore
from kube_upgrade.kube.drain import DrainBlocked, Drained, DrainProgress, DrainResult, Overran, Withdrawn, drain
from kube_upgrade.kube.errors import KubeError
from kube_upgrade.model.lock import DrainMark
from kube_upgrade.model.node import Node
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import DRAIN_BLOCKED, DRAINS

T = TypeVar("T")

FIRST_PAUSE, MOST_PAUSE = 0.5, 10.0  # seconds after trouble with the API server
OUTCOMES = {Drained: "drained", Overran: "gave_up", Withdrawn: "withdrawn", MarkedByAnother: "node_busy"}
for _outcome in OUTCOMES.values():
    DRAINS.labels(_outcome)  # at 0 from the start: Prometheus takes a counter that begins at 1 for no increase

_dice = SystemRandom()
_log = logs.logger("fleetlock.drainer")


@dataclass(slots=True, eq=False, kw_only=True)
class Running:
    """One drain under way; `trouble` is the API server's last refusal, empty when all is well."""

    node: str
    mark: DrainMark
    policy: DrainPolicy
    progress: DrainProgress = field(default_factory=DrainProgress)
    trouble: str = ""
    task: asyncio.Task[DrainResult] | None = None

    async def result_within(self, seconds: float) -> DrainResult | None:
        """What it came to; None: it still runs after this time, or was stopped by a release."""
        if self.task is None:
            return None
        await asyncio.wait({self.task}, timeout=max(0.0, seconds))
        return self.task.result() if self.task.done() and not self.task.cancelled() else None


class Drainer:
    """At most one drain per node. `run` must run; `nodes` gives the cluster's nodes as they are now."""

    def __init__(
        self, *, api: Api, store: LockStore, nodes: Callable[[], Iterable[Node]], announcer: Announcer
    ) -> None:
        self._api = api
        self._store = store
        self._nodes = nodes
        self._announcer = announcer
        self._running: dict[str, Running] = {}
        self._tasks = asyncio.TaskGroup()

    async def run(self) -> NoReturn:
        """Own the drains until cancelled, which cancels them: any replica can go on with them."""
        async with self._tasks:
            await asyncio.Event().wait()
        raise AssertionError("waits for ever")

    def begin(self, node: str, mark: DrainMark, policy: DrainPolicy) -> Running:
        """Start draining, or join the drain that runs for this reservation. One for an older reservation is stopped."""
        running = self._running.get(node)
        if running is not None and running.mark.same_reservation(mark):
            return running
        self.stop(node)
        _log.info("draining", node=node, group=mark.group)
        running = Running(node=node, mark=mark, policy=policy)
        running.task = self._tasks.create_task(self._until_done(running))
        self._running[node] = running
        running.task.add_done_callback(lambda task: self._ended(running, task))
        return running

    def drains(self, node: str) -> bool:
        """True while a drain of this node runs here."""
        return node in self._running

    def stop(self, node: str) -> None:
        """Stop the drain of this node, if one runs here."""
        running = self._running.pop(node, None)
        if running is not None and running.task is not None:
            running.task.cancel()

    def _ended(self, running: Running, task: asyncio.Task[DrainResult]) -> None:
        if self._running.get(running.node) is running:
            del self._running[running.node]
        _unblock(running)
        if not task.cancelled() and task.exception() is None:
            DRAINS.labels(OUTCOMES[type(task.result())]).inc()

    async def _until_done(self, running: Running) -> DrainResult:
        mark, policy = running.mark, running.policy

        def say(progress: DrainProgress) -> None:
            self._hear(running, progress)

        async def work() -> DrainResult:
            return await drain(self._api, running.node, mark, policy=policy, others=self._nodes, say=say)

        result = await self._insist(running, work)
        if not isinstance(result, Overran):
            return result
        if not await self._insist(running, lambda: restore(self._api, running.node, _not_done(mark))):
            return Withdrawn()  # another replica saw it empty in this moment, or somebody released it
        await self._insist(running, lambda: self._store.release(mark.group, mark.id, mark.since))
        self._say_gave_up(running, result)
        return result

    async def _insist(self, running: Running, work: Callable[[], Awaitable[T]]) -> T:
        """The result, however long the API server or the store is away."""
        failures, heard = 0, running.progress
        while True:
            try:
                return await work()
            except (KubeError, StoreUnavailable) as error:
                failures = failures + 1 if running.progress is heard else 1
                heard = running.progress
                seconds = pause(failures, first=FIRST_PAUSE, most=MOST_PAUSE, dice=_dice.random())
                running.trouble = str(error)
                _log.warning("drain interrupted", node=running.node, reason=str(error), retry_seconds=round(seconds, 1))
                await asyncio.sleep(seconds)

    def _say_gave_up(self, running: Running, result: Overran) -> None:
        """The node is back in service and its slot free, in this order."""
        minutes = (running.policy.deadline or 0.0) / 60
        note = f"gave up draining after {minutes:g} min; uncordoned; left: {', '.join(result.last.left[:3])}"
        note += "".join(f"; {_held(blocked)}" for blocked in result.last.blocked[:3])
        _log.warning("gave up a drain", node=running.node, group=running.mark.group, reason=note)
        self._announcer.announce(about(running.node, Told.GAVE_UP, note))

    def _hear(self, running: Running, progress: DrainProgress) -> None:
        if progress.blocked != running.progress.blocked:
            _unblock(running)
            for blocked in progress.blocked:
                _log.info(
                    "pod blocks the drain", node=running.node, pod=blocked.pod, pdb=blocked.pdb, reason=blocked.message
                )
                self._announcer.announce(about(running.node, Told.BLOCKED, _held(blocked)))
                DRAIN_BLOCKED.labels(running.node, blocked.pod, blocked.pdb).set(1)
        if progress.deleted != running.progress.deleted:
            note = f"the drain's deadline passed; deleted {', '.join(progress.deleted)}"
            _log.warning("deleted pods", node=running.node, pods=progress.deleted)
            self._announcer.announce(about(running.node, Told.DELETED, note))
        running.progress, running.trouble = progress, ""


def _not_done(mark: DrainMark) -> Callable[[DrainMark], bool]:
    """A mark of this reservation whose node nobody has seen empty: a grant rests on the others."""
    return lambda found: found.same_reservation(mark) and not found.drained


def _held(blocked: DrainBlocked) -> str:
    by = f" by PodDisruptionBudget {blocked.pdb}" if blocked.pdb else ""
    return f"{blocked.pod} is held back{by}: {blocked.message}"


def _unblock(running: Running) -> None:
    for blocked in running.progress.blocked:
        DRAIN_BLOCKED.remove(running.node, blocked.pod, blocked.pdb)
