"""However reads, writes, pauses, lost answers and skewed clocks fall: never two leaders at one moment."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kube_upgrade.core.election import Sighting, may_take, must_stop_at, released, sight, taken
from kube_upgrade.model.lease import LeaseRecord, Terms

TERMS = Terms()
START = datetime(2026, 11, 24, tzinfo=UTC)
Deed = Literal["read", "write", "try", "try, answer lost", "release"]


@dataclass(frozen=True)
class Step:
    who: int
    deed: Deed
    after: float  # seconds of true time since the step before


@dataclass
class Candidate:
    name: str
    offset: float  # of its monotonic clock
    skew: float  # of its wall clock
    seen: Sighting | None = None
    version: int = -1
    began: float = 0.0
    leads_until: float = -1.0


@dataclass
class World:
    """One Lease behind compare-and-swap, and candidates that see it through their own clocks."""

    candidates: list[Candidate]
    now: float = 0.0
    version: int = 0
    record: LeaseRecord = field(default_factory=lambda: LeaseRecord(holder=""))

    def take(self, step: Step) -> None:
        self.now += step.after
        one = self.candidates[step.who]
        if step.deed in ("read", "try", "try, answer lost"):
            one.began, one.version = self.now, self.version
            one.seen = sight(one.seen, self.record, self.now + one.offset)
        if step.deed in ("write", "try", "try, answer lost"):
            self.write(one, lost=step.deed == "try, answer lost")
        if step.deed == "release":
            self.release(one)

    def write(self, one: Candidate, *, lost: bool) -> None:
        if one.seen is None or not may_take(one.seen, one.name, self.now + one.offset, TERMS):
            return
        if one.version != self.version:
            return  # 409
        wall = START + timedelta(seconds=self.now + one.skew, microseconds=self.version)
        self.record, self.version = taken(one.seen.record, one.name, wall, TERMS), self.version + 1
        if not lost:
            one.leads_until = must_stop_at(one.began, TERMS)

    def release(self, one: Candidate) -> None:
        if one.leads_until > self.now:
            one.leads_until = self.now  # the body ends first
            if one.version == self.version - 1:
                self.record, self.version = released(self.record, START), self.version + 1

    def leaders(self) -> list[str]:
        return [one.name for one in self.candidates if self.now < one.leads_until]


steps = st.builds(
    Step,
    who=st.integers(0, 1),
    deed=st.sampled_from(["try"] * 4 + ["try, answer lost", "read", "write", "release"]),
    after=st.sampled_from([0.1, 0.9, 2.0, 2.4, 5.0, 7.1, 20.0]),
)
SLEPT_BEFORE_WRITING = [Step(0, "try", 0.0), Step(0, "read", 9.0), Step(0, "write", 7.0), Step(1, "try", 0.0)]
AS_LATE_AS_IT_LEADS = [Step(0, "try", 0.0), Step(1, "try", 0.0), Step(1, "try", 9.9)]


@settings(max_examples=500)
@given(
    offsets=st.tuples(*[st.floats(-1000, 1000)] * 2),
    skews=st.tuples(*[st.floats(-1000, 1000)] * 2),
    history=st.lists(steps, max_size=40),
)
@example(offsets=(0.0, 0.0), skews=(0.0, 0.0), history=SLEPT_BEFORE_WRITING)
@example(offsets=(0.0, 0.0), skews=(0.0, 0.0), history=AS_LATE_AS_IT_LEADS)
def test_never_two_leaders(offsets: tuple[float, float], skews: tuple[float, float], history: list[Step]) -> None:
    world = World([Candidate(f"c{i}", offsets[i], skews[i]) for i in range(2)])
    for step in history:
        world.take(step)
        assert len(world.leaders()) <= 1, step
