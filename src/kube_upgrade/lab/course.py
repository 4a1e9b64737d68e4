"""The course of a run, from the plan to the verdict: the plan applied, what the scenario lets happen, the end seen."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kube_upgrade.lab import audit
from kube_upgrade.lab.cluster import DAEMON, Lab, LabFailed
from kube_upgrade.lab.control_plane import KubectlFailed
from kube_upgrade.lab.judge import judge, unproven
from kube_upgrade.lab.node import peak_rss
from kube_upgrade.lab.objects import plan_object
from kube_upgrade.lab.outcome import Outcome
from kube_upgrade.lab.scenario import BadScenario, Event, Moment
from kube_upgrade.lab.times import node_times
from kube_upgrade.lab.view import phase, view
from kube_upgrade.lab.witness import Witness
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Plan

OUTSIDE_PATIENCE = 3600.0  # seconds for whoever replaces a program by hand
LOOK_AFTER = 1.0  # seconds between two looks after the programs


async def upgrade(lab: Lab) -> Outcome:
    """Apply the plan and watch until it is done or patience ends; then the judge speaks.

    Raises BadScenario where the API server refuses the plan, and LabFailed where an event cannot be made to happen.
    """
    witness = Witness(api=lab.api, now=lambda: datetime.now(UTC))
    async with witness.watching():
        course = Course(lab, witness)
        seconds, missed = await course.run()
    history = witness.history()
    return Outcome(
        verdict=judge(history),
        seconds=seconds,
        target=str(lab.scenario.target),
        nodes=node_times(history, lab.scenario.target),
        memory=memory(lab),
        refused=tuple(str(refusal) for refusal in refusals(lab, course.starts)),
        missed=missed,
    )


@dataclass(slots=True)
class Course:
    """One rollout under way."""

    lab: Lab
    witness: Witness
    starts: list[audit.Span] = field(default_factory=list)  # of the API server, each up to its readiness
    _coming: list[asyncio.Task[None]] = field(default_factory=list)

    async def run(self) -> tuple[float, tuple[str, ...]]:
        """How many seconds it took from the plan on, and the events whose moment never came."""
        started = time.monotonic()
        await self._apply_plan()
        self._coming = [
            asyncio.create_task(self._happen(event), name=str(event)) for event in self.lab.scenario.timeline
        ]
        try:
            with self.lab.show.live():
                await self._follow()
            seconds = time.monotonic() - started
            self._heed_events()
            return seconds, tuple(task.get_name() for task in self._coming if not task.done())
        finally:
            for task in self._coming:
                task.cancel()
            await asyncio.gather(*self._coming, return_exceptions=True)

    async def _apply_plan(self) -> None:
        lab = self.lab
        plan = plan_object(lab.scenario, lab.programs.lock_url, lab.builder.stream)
        try:
            await asyncio.to_thread(lab.plane.kubectl, "apply", "--filename=-", input=json.dumps(plan))
        except KubectlFailed as refused:
            raise BadScenario(f"{lab.scenario.name}: plan: {refused.stderr.strip()}") from refused

    async def _follow(self) -> None:
        """Show what happens until the end, and keep the programs alive as Kubernetes would."""
        lab = self.lab
        patience = OUTSIDE_PATIENCE if lab.without else lab.scenario.pace.patience
        until = time.monotonic() + patience
        while time.monotonic() < until:
            moved = self.witness.moved
            lab.show.picture(view(self.witness.world))
            if ended(self.witness):
                return
            self._heed_events()
            await self._revive()
            try:
                async with asyncio.timeout(LOOK_AFTER):
                    await moved.wait()
            except TimeoutError:
                pass  # look after the programs
        lab.show.say(f"not done after {patience:.0f} s: given up")

    async def _revive(self) -> None:
        programs = self.lab.programs
        for name in programs.dead():
            self.lab.show.say(f"{name} has ended and is started again: {programs.services[name].tail(3)}")
            await asyncio.to_thread(programs.restart, name)

    def _heed_events(self) -> None:
        """An event that could not be made to happen spoils the run: raises its LabFailed."""
        for task in self._coming:
            if task.done():
                task.result()

    async def _happen(self, event: Event) -> None:
        if event.when:
            await self._until(event.when)
        await asyncio.sleep(event.after)
        if event.kubectl:
            await self._kubectl(event.kubectl)
        if event.restart:
            self.lab.show.say(f"{event.restart} is killed")
            await asyncio.to_thread(self.lab.programs.restart, event.restart)
        if event.reboot:
            await next(node for node in self.lab.nodes if node.name == event.reboot).cut_power()
        if event.api_away:
            await self._api_away(event.api_away)

    async def _api_away(self, seconds: float) -> None:
        lab = self.lab
        lab.show.say("kube-apiserver is killed")
        await asyncio.to_thread(lab.plane.stop_apiserver, kill=True)
        await asyncio.sleep(seconds)
        began = datetime.now(UTC)
        await asyncio.to_thread(lab.plane.start_apiserver)
        self.starts.append((began, datetime.now(UTC)))
        lab.show.say(f"kube-apiserver is back after {seconds:g} s")

    async def _until(self, moment: Moment) -> None:
        """Every revision is looked at: a phase that is over in no time is not overlooked."""
        looked_at = 0
        while True:
            moved = self.witness.moved
            fresh = self.witness.seen[looked_at:]
            if any(is_moment(revision.subject, moment) for revision in fresh):
                return
            looked_at += len(fresh)
            await moved.wait()

    async def _kubectl(self, command: str) -> None:
        self.lab.show.say(f"kubectl {command}")
        try:
            await asyncio.to_thread(self.lab.plane.kubectl, *command.split())
        except KubectlFailed as failed:
            raise LabFailed(f"{self.lab.scenario.name}: timeline: {failed}") from failed


def is_moment(subject: Node | Plan, moment: Moment) -> bool:
    """True where this revision is the moment's."""
    return isinstance(subject, Node) and subject.name == moment.node and phase(subject) == moment.phase


def ended(witness: Witness) -> bool:
    """Done, or failed with nobody under way."""
    plans = witness.world.plans.values()
    if not plans:
        return False
    if any(plan.status.summary.startswith("Error") and not plan.status.nodes.in_flight for plan in plans):
        return True
    complete = all(plan.status.summary == "Complete" and not plan.status.claims for plan in plans)
    return complete and not unproven(witness.history().baseline(), witness.world)


def memory(lab: Lab) -> dict[str, float]:
    """The most that each program needed, in MiB; of the daemons the largest."""
    most = {name: peak_rss(service.pid) / 1024 for name, service in lab.programs.services.items()}
    for node in lab.nodes:
        node.note_rss()
    daemons = max((node.peak_rss for node in lab.nodes), default=0)
    if daemons:
        most[DAEMON] = daemons / 1024
    return {name: round(mib, 1) for name, mib in most.items()}


def refusals(lab: Lab, starts: Sequence[audit.Span] = ()) -> list[audit.Refusal]:
    """Calls that were forbidden to our service accounts and to the nodes: nobody else is in the log."""
    return list(audit.refusals((lab.plane.folder / "audit.log").read_bytes().splitlines(), starts))
