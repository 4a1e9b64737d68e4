"""Observe, decide, act: on every change, and at the moment the last decision named."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from kube_upgrade.controller.act import Actor, Done
from kube_upgrade.controller.observe import World
from kube_upgrade.controller.publish import Publisher
from kube_upgrade.core.backoff import pause
from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.core.rollout.farewell import farewell
from kube_upgrade.kube.errors import ApiError, KubeError
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import RECONCILE, TURN_FAILURES

FIRST_PAUSE, MOST_PAUSE = 0.2, 15.0  # seconds
# A status with 1,000 claims costs the API server a tenth of a second of CPU, a look at 5,000 nodes costs us as much:
# releases wait for one another. What the orders take is part of that rest.
REST_PER_CLAIM = 0.002  # seconds
# Somebody was first: the watch shows it within milliseconds. Lost again and again, the watch is late or another
# controller writes the same objects.
LOST_FIRST_PAUSE, LOST_MOST_PAUSE, LOST_TELLS = 0.1, 5.0, 3

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
        self._lost = 0  # turns in a row in which a guard did not hold
        self._rest_until = 0.0  # seconds of the event loop's clock

    async def run(self) -> None:
        """Turn until cancelled."""
        await self._world.synced()
        while True:
            await asyncio.sleep(self._rest_until - asyncio.get_running_loop().time())
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
        now = self._clock()
        snapshots = await self._world.snapshots(now)
        self._publisher.forget([seen.plan.name for seen in snapshots])
        waits: list[float] = []
        refusals = self._actor.refusals
        refusals.keep(node.name for node in self._world.nodes.values())
        held = bool(snapshots) or self._held(await self._actor.tidy(farewell(self._world.nodes.values(), now)))
        for seen in snapshots:
            held = await self._carry_out(replace(seen, refused=refusals.told()), waits) and held
        RECONCILE.observe(time.monotonic() - started)
        if (seconds := refusals.seconds()) is not None:
            waits.append(seconds)
        lost = self._after_loss(held)
        return max(min(waits, default=lost), lost) if lost else min(waits, default=None)

    async def _carry_out(self, seen: ClusterSnapshot, waits: list[float]) -> bool:
        """Decide for one plan and do it; adds when to look again. True where every guard held."""
        decision, began = decide(seen), asyncio.get_running_loop().time()
        done = await self._actor.carry_out(seen.plan, decision)
        # News is told now or never: the next snapshot shows what was written as if it had always been there.
        if done.status:
            self._publisher.publish(seen, decision)
        if done.published:
            rest = len(decision.status.claims) * REST_PER_CLAIM
            self._rest_until = max(self._rest_until, began + rest)
        self._publisher.tell(seen, done.written)
        held = self._held(done)
        if done.written or done.published:
            waits.append(0.0)  # what was written may show the next step
        if decision.wake_at:
            waits.append(max(0.0, (decision.wake_at - seen.now).total_seconds()))
        return held

    def _held(self, done: Done) -> bool:
        """True where nobody was first anywhere. Raises what ended it early."""
        if done.trouble is not None:
            raise done.trouble
        return not done.lost

    def _after_loss(self, held: bool) -> float:
        """Seconds to rest after a turn in which a guard did not hold, longer each time in a row; 0 where all held."""
        self._lost = 0 if held else self._lost + 1
        if self._lost == LOST_TELLS:
            log.info(
                "guards lost in a row: the watch is late, another controller writes, or what is written is not kept",
                turns=self._lost,
            )
        return pause(self._lost, first=LOST_FIRST_PAUSE, most=LOST_MOST_PAUSE, dice=0.5) if self._lost else 0.0

    async def _guarded_turn(self) -> float | None:
        """The loop's boundary: trouble with the API server is logged with its reason, and tried again after a pause."""
        try:
            seconds = await self.turn()
        except KubeError as error:
            self._failures += 1
            TURN_FAILURES.inc()
            wait = pause(self._failures, first=FIRST_PAUSE, most=MOST_PAUSE, dice=0.5)
            if isinstance(error, ApiError) and error.retry_after:
                wait = max(wait, min(error.retry_after, MOST_PAUSE))
            log.warning("turn failed", reason=str(error), retry_seconds=round(wait, 1), failures=self._failures)
            await asyncio.sleep(wait)
            return 0.0
        self._failures = 0
        return seconds
