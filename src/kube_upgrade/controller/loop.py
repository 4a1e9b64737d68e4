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
from kube_upgrade.model.action import Action, Decision, OrderNode, PublishStatus
from kube_upgrade.model.plan import Plan
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import Claim
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import RECONCILE, TURN_FAILURES

FIRST_PAUSE, MOST_PAUSE = 0.2, 15.0  # seconds
# A status with 1,000 claims costs the API server a tenth of a second of CPU: releases wait for one another.
# Orders do not wait: they rest on claims that are written already.
SECONDS_PER_CLAIM = 0.001
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
        self._publish_after: dict[str, float] = {}  # plan → seconds of the event loop's clock

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
        decision, early = self._paced(seen.plan, decide(seen))
        done = await self._actor.carry_out(seen.plan, decision)
        # News is told now or never: the next snapshot shows what was written as if it had always been there.
        if done.status and not early:
            self._publisher.publish(seen, decision)
            rest = len(decision.status.claims) * SECONDS_PER_CLAIM
            self._publish_after[seen.plan.name] = asyncio.get_running_loop().time() + rest
        self._publisher.tell(seen, done.written)
        held = self._held(done)
        if early:
            await asyncio.sleep(0.0 if done.written else early)
        if early or done.written or done.published:
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
            log.info("guards lost in a row: the watch is late or another controller writes", turns=self._lost)
        return pause(self._lost, first=LOST_FIRST_PAUSE, most=LOST_MOST_PAUSE, dice=0.5) if self._lost else 0.0

    def _paced(self, plan: Plan, decision: Decision) -> tuple[Decision, float]:
        """The decision without its status where that would come too early, and the seconds until it may be written.

        Orders on claims that are not written yet stay away with it.
        """
        early = self._publish_after.get(plan.name, 0.0) - asyncio.get_running_loop().time()
        publishes = any(isinstance(action, PublishStatus) for action in decision.actions)
        if early <= 0 or not publishes:
            return decision, 0.0
        standing = set(plan.status.claims)
        kept = tuple(action for action in decision.actions if _may_go_first(action, standing))
        return replace(decision, actions=kept), early

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


def _may_go_first(action: Action, standing: set[Claim]) -> bool:
    """True for what does not rest on a status that is still to be written."""
    match action:
        case PublishStatus():
            return False
        case OrderNode():
            return action.claim in standing
        case _:
            return True
