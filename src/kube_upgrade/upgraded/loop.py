"""The daemon's life: look, decide, report, act; then look again. Between turns it sleeps until something changes."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from kube_upgrade.core.backoff import pause
from kube_upgrade.core.node_steps.decide import decide, unsure
from kube_upgrade.core.node_steps.report import report
from kube_upgrade.fleetlock_client import server_of
from kube_upgrade.host.identity import NoIdentity
from kube_upgrade.kube.errors import Conflict, KubeError
from kube_upgrade.model.host import Facts, HostSnapshot
from kube_upgrade.model.node import Node, Report
from kube_upgrade.model.step import AcceptRetry, Effect, Failed, Idle, ReportCompleted, RunKubeadm, Step, Wait
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import STEP_SECONDS, STEPS
from kube_upgrade.upgraded.act import Actor, State
from kube_upgrade.upgraded.pace import LONGEST_SLEEP, Pace
from kube_upgrade.upgraded.readiness import Readiness

SHORTEST_SLEEP = 0.02
UNREPORTED_PAUSE = 2.0
_log = logs.logger("upgraded")


class World(Protocol):
    """What is looked at and told."""

    async def look(self, facts: Facts) -> HostSnapshot:
        """One look at everything."""

    def acted(self) -> None:
        """An effect was tried: look anew."""

    async def report(self, node: Node, wanted: Report) -> None:
        """Let the Node object say this. Raises KubeError."""


@dataclass(slots=True, kw_only=True)
class Loop:
    """`changed` is set by the Node's informer."""

    observer: World
    actor: Actor
    state: State
    changed: asyncio.Event
    clock: Callable[[], datetime]
    version: str
    pace: Pace = field(default_factory=Pace)
    readiness: Readiness = field(default_factory=Readiness)
    _said: tuple[str, str] = ("", "")

    async def run(self) -> None:
        """Until cancelled. What no turn could foresee is logged here and tried again after a pause."""
        failures = 0
        while True:
            self.changed.clear()
            try:
                sleep = await self.turn()
                failures = 0
            except (NoIdentity, OSError, ValueError) as error:
                failures += 1
                self.readiness.wrong = f"{type(error).__name__}: {error}"
                sleep = pause(failures, first=1.0, most=60.0, dice=0.5)
                _log.error("turn failed", reason=f"{type(error).__name__}: {error}", again_in=sleep)
            await self._sleep(sleep)

    async def turn(self) -> float:
        """One look and at most one effect. Gives the seconds until the next turn."""
        seen = await self.observer.look(self.state.facts)
        self.readiness.looked(seen)
        step = decide(seen)
        self._tell(step)
        reported = await self._report(seen, step)
        match step:
            case Idle() | Wait() | Failed():
                return self.pace.rest(step, max(seen.now, self.clock()), seen.rules.poll)
            case RunKubeadm() | ReportCompleted() if not reported:
                return UNREPORTED_PAUSE  # not a thing is done that the cluster was not told of
            case _:
                await self._act(step, seen)
                return self.pace.brake(step)

    async def _act(self, step: Effect, seen: HostSnapshot) -> None:
        name, begun = type(step).__name__, time.monotonic()
        failures = sum(tried.count for tried in self.state.facts.tries.values())
        try:
            await self.actor.act(step, seen)
        finally:
            self.observer.acted()
        worse = sum(tried.count for tried in self.state.facts.tries.values()) > failures
        STEPS.labels(name, "failed" if worse else "done").inc()
        STEP_SECONDS.labels(name).observe(time.monotonic() - begun)

    async def _report(self, seen: HostSnapshot, step: Step) -> bool:
        """True where the Node object says what it should."""
        node = seen.node
        doubt = unsure(seen)
        if node is None or (isinstance(doubt, Wait) and not isinstance(step, AcceptRetry)):
            return False
        wanted = replace(report(seen, step), daemon=self.version)
        try:
            await self.observer.report(node, wanted)
        except Conflict:
            self.changed.set()  # somebody wrote in between: look again
            return False
        except KubeError as error:
            _log.debug("not reported", reason=str(error))
            return False
        return True

    def _tell(self, step: Step) -> None:
        """Each step once: a wait that goes on is not news."""
        reason = step.reason if isinstance(step, Wait | Failed) else ""
        said = (type(step).__name__, getattr(step, "message", "") or reason)
        if said == self._said:
            return
        self._said = said
        log = _log.error if isinstance(step, Failed) else _log.info
        log(type(step).__name__, **_fields(step))

    async def _sleep(self, seconds: float) -> None:
        bounded = min(max(seconds, SHORTEST_SLEEP), LONGEST_SLEEP)
        if seconds <= 0.0:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.changed.wait(), bounded)


def _fields(step: Step) -> dict[str, str]:
    """The step's own values, as text, for the log line. Of a lock server's URL the path may be a secret."""
    names = getattr(type(step), "__dataclass_fields__", {})
    said = {name: str(value) for name in names if (value := getattr(step, name)) is not None}
    return said | ({"url": server_of(said["url"])} if "url" in said else {})
