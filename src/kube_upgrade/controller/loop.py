"""Observe, decide, act: on every change, and at the moment the last decision named."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

from kube_upgrade.controller.act import Actor
from kube_upgrade.controller.observe import World
from kube_upgrade.controller.publish import Publisher
from kube_upgrade.core.backoff import pause
from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.core.rollout.farewell import farewell
from kube_upgrade.kube.errors import ApiError, KubeError
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import RECONCILE

FIRST_PAUSE, MOST_PAUSE = 0.2, 15.0  # seconds
LOST_GUARD_PAUSE = 0.1  # somebody was first: the watch shows it within milliseconds, or we look again

log = logs.logger("loop")


class Loop:
    """Runs while this replica leads."""

    def __init__(
        self,
        world: World,
        actor: Actor,
        publisher: Publisher,
        *,
        changed: asyncio.Event,
        clock: Callable[[], datetime],
    ) -> None:
        self._world = world
        self._actor = actor
        self._publisher = publisher
        self._clock = clock
        self._changed = changed  # set by the watches
        self._failures = 0

    async def run(self) -> None:
        """Turn until cancelled."""
        await self._world.synced()
        while True:
            self._changed.clear()
            seconds = await self._guarded_turn()
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                pass  # the moment that the decision named

    async def turn(self) -> float | None:
        """One look at every plan. Returns in how many seconds to look again without a change; None for never."""
        started = time.monotonic()
        waits: list[float] = []
        now = self._clock()
        snapshots = await self._world.snapshots(now)
        self._publisher.forget([seen.plan.name for seen in snapshots])
        if not snapshots and not await self._actor.tidy(farewell(self._world.nodes.values(), now)):
            waits.append(LOST_GUARD_PAUSE)
        for seen in snapshots:
            decision = decide(seen)
            held = await self._actor.carry_out(seen.plan, decision)
            if held:
                self._publisher.publish(seen, decision)
            if decision.actions:
                waits.append(0.0 if held else LOST_GUARD_PAUSE)
            if decision.wake_at:
                waits.append(max(0.0, (decision.wake_at - now).total_seconds()))
        RECONCILE.observe(time.monotonic() - started)
        return min(waits, default=None)

    async def _guarded_turn(self) -> float | None:
        """The loop's boundary: trouble with the API server is logged with its reason, and tried again after a pause."""
        try:
            seconds = await self.turn()
        except KubeError as error:
            self._failures += 1
            wait = pause(self._failures, first=FIRST_PAUSE, most=MOST_PAUSE, dice=0.5)
            if isinstance(error, ApiError) and error.retry_after:
                wait = max(wait, min(error.retry_after, MOST_PAUSE))
            log.warning("turn failed", reason=str(error), retry_seconds=round(wait, 1), failures=self._failures)
            await asyncio.sleep(wait)
            return 0.0
        self._failures = 0
        return seconds
