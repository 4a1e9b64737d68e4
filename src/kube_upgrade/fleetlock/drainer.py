"""The drains of this replica: tasks owned by the process, not by the requests that wait for them.

A request may come back to a drain that runs, here or in another replica: two replicas may drain one node, since
evictions are idempotent and the state is in the API.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import SystemRandom
from typing import NoReturn

from kube_upgrade.core.backoff import pause
from kube_upgrade.core.eviction import DrainPolicy
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.drain import DrainProgress, DrainResult, drain
from kube_upgrade.kube.errors import KubeError
from kube_upgrade.model.lock import DrainMark
from kube_upgrade.model.node import Node
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import DRAIN_BLOCKED

FIRST_PAUSE, MOST_PAUSE = 0.5, 10.0  # seconds after trouble with the API server

_dice = SystemRandom()
_log = logs.logger("fleetlock.drainer")


@dataclass(slots=True, eq=False, kw_only=True)
class Running:
    """One drain under way; `trouble` is the API server's last refusal, empty when all is well."""

    node: str
    mark: DrainMark
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

    def __init__(self, api: Api, nodes: Callable[[], Iterable[Node]]) -> None:
        self._api = api
        self._nodes = nodes
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
        running = Running(node=node, mark=mark)
        running.task = self._tasks.create_task(self._until_done(running, policy))
        self._running[node] = running
        running.task.add_done_callback(lambda task: self._ended(running))
        return running

    def stop(self, node: str) -> None:
        """Stop the drain of this node, if one runs here."""
        running = self._running.pop(node, None)
        if running is not None and running.task is not None:
            running.task.cancel()

    def _ended(self, running: Running) -> None:
        if self._running.get(running.node) is running:
            del self._running[running.node]
        if running.node not in self._running:
            DRAIN_BLOCKED.labels(running.node).set(0)

    async def _until_done(self, running: Running, policy: DrainPolicy) -> DrainResult:
        failures = 0

        def say(progress: DrainProgress) -> None:
            nonlocal failures
            failures = 0
            self._hear(running, progress)

        while True:
            try:
                return await drain(self._api, running.node, running.mark, policy=policy, others=self._nodes, say=say)
            except KubeError as error:
                failures += 1
                seconds = pause(failures, first=FIRST_PAUSE, most=MOST_PAUSE, dice=_dice.random())
                running.trouble = str(error)
                _log.warning("drain interrupted", node=running.node, reason=str(error), retry_seconds=round(seconds, 1))
                await asyncio.sleep(seconds)

    def _hear(self, running: Running, progress: DrainProgress) -> None:
        if progress.blocked != running.progress.blocked:
            for blocked in progress.blocked:
                _log.info(
                    "pod blocks the drain", node=running.node, pod=blocked.pod, pdb=blocked.pdb, reason=blocked.message
                )
        DRAIN_BLOCKED.labels(running.node).set(1 if progress.blocked else 0)
        running.progress, running.trouble = progress, ""
