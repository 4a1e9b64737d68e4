"""Play a rollout in memory and tell it as a story: who was claimed, ordered, released, and why the others wait."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.model.action import Decision, OrderNode, WithdrawOrder
from kube_upgrade.model.status import Claim, Hold
from support.bounds import Bounds
from support.world import World, carry_out

TICK = timedelta(seconds=10)
LOOKS = 20  # at one moment: more than that is a controller that cannot make up its mind


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens once, as soon as `when` is true."""

    said: str
    when: Callable[[World], bool]
    do: Callable[[World], None]


@dataclass
class Story:
    """One world, one controller, one line per change."""

    world: World
    events: list[Event] = field(default_factory=list)
    seed: int | None = None  # shuffles the order in which daemons step; None keeps their names' order
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._bounds = Bounds(self.world)
        self._waits: list[str] = []
        self._summary = ""
        self._last_day = self.world.now.date()

    def play(self, rounds: int = 1_000) -> "Story":
        """Until nothing happens any more and nothing is going to."""
        for _ in range(rounds):
            wake = self._controller()
            if self._happens() or self._daemons():
                self.world.now += TICK
            elif wake is not None and not self.done:
                self.world.now = max(self.world.now, wake)
            elif not any(event.when(self.world) for event in self.events):
                return self._end()
        raise AssertionError(f"no end after {rounds} rounds:\n{self.text()}")

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    @property
    def done(self) -> bool:
        return self.world.plan.status.summary == "Complete"

    def _controller(self) -> datetime | None:
        for _ in range(LOOKS):
            seen = self.world.snapshot()
            decision = decide(seen)
            self._tell(seen.plan.status.claims, decision)
            if not decision.actions:
                return decision.wake_at
            self._bounds.seen_by = seen
            for _ in carry_out(self.world, seen, decision):
                pass
            self._bounds.seen_by = None
        raise AssertionError(f"still acting after {LOOKS} looks at the same moment:\n{self.text()}")

    def _daemons(self) -> bool:
        names = sorted(self.world.machines)
        if self.seed is not None:
            self._dice.shuffle(names)
            names = names[: self._dice.randint(1, len(names))]
        told = [(name, said) for name in names if (said := self.world.machines[name].step())]
        for name, said in told:
            self._say(name, said)
        return bool(told) or (self.seed is not None and self._somebody_could())

    def _somebody_could(self) -> bool:
        """With dice, those who were not asked may still have something to do."""
        told = [(name, said) for name in sorted(self.world.machines) if (said := self.world.machines[name].step())]
        for name, said in told:
            self._say(name, said)
        return bool(told)

    def _happens(self) -> bool:
        due = [event for event in self.events if event.when(self.world)]
        for event in due:
            self.events.remove(event)
            self._say("***", event.said)
            event.do(self.world)
        return bool(due)

    def _tell(self, before: Sequence[Claim], decision: Decision) -> None:
        self._tell_claims(before, decision)
        for action in decision.actions:
            match action:
                case OrderNode():
                    until = f", to begin before {action.start_before:%H:%M:%S}" if action.start_before else ""
                    self._say("order", f"{action.node} kubeadm upgrade {action.kubeadm} {action.claim.version}{until}")
                case WithdrawOrder():
                    self._say("withdraw", f"{action.node}: {action.reason}")
                case _:
                    pass
        self._tell_waits(decision)

    def _tell_claims(self, before: Sequence[Claim], decision: Decision) -> None:
        old = {(claim.node, claim.since) for claim in before}
        kept = {(claim.node, claim.since): claim for claim in decision.status.claims}
        soaking = {claim.node for claim in before if claim.proven_at}
        for claim in before:
            if (claim.node, claim.since) not in kept:
                self._say("release", claim.node)
        for key, claim in kept.items():
            if key not in old:
                self._say("claim", f"{claim.node} for {claim.version}")
            elif claim.proven_at and claim.node not in soaking:
                self._say("proven", f"{claim.node}, soaks from now on")

    def _tell_waits(self, decision: Decision) -> None:
        by_hold: dict[Hold, list[str]] = {}
        for name in sorted(decision.holds):
            by_hold.setdefault(decision.holds[name], []).append(name)
        waits = sorted(f"{', '.join(names)}: {hold.message} ({hold.reason})" for hold, names in by_hold.items())
        for wait in waits:
            if wait not in self._waits:
                self._say("wait", wait)
        self._waits = waits
        if decision.status.summary != self._summary:
            self._summary = decision.status.summary
            self._say("plan", self._summary)

    def _say(self, who: str, what: str) -> None:
        if self.world.now.date() != self._last_day:
            self._last_day = self.world.now.date()
            self.lines.append(f"--- {self._last_day} ---")
        self.lines.append(f"{self.world.now:%H:%M:%S}  {who:<9} {what}")

    def _end(self) -> "Story":
        nodes = sorted(self.world.nodes.values(), key=lambda node: node.name)
        shown = (f"{node.name} {node.kubelet}" + " (cordoned)" * node.unschedulable for node in nodes)
        self.lines += ["", f"end: {', '.join(shown)}"]
        return self
