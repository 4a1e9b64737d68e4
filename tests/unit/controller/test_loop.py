"""The loop's pace: a large status is not written too often for the API server; lost guards, and news told once."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from kube_upgrade.controller.act import Done
from kube_upgrade.controller.loop import REST_PER_CLAIM, Loop
from kube_upgrade.controller.publish import Publisher
from kube_upgrade.controller.refusals import FIRST_PAUSE, MOST_PAUSE, Refusals
from kube_upgrade.kube.errors import api_error
from kube_upgrade.model.action import Decision, NodeAction, PublishStatus
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Percent, Plan
from kube_upgrade.model.snapshot import ClusterSnapshot
from support.builders import CONTROL, NOW, WORKERS, a_claim, a_group, a_node, a_plan, control_planes_done, upgraded
from support.live import running, virtual

NAMES = [f"w-{n:03}" for n in range(400)]


@dataclass
class Eyes:
    """Shows what it is told to show."""

    shown: ClusterSnapshot

    async def synced(self) -> None:
        return

    async def snapshots(self, now: datetime) -> list[ClusterSnapshot]:
        return [self.shown]

    @property
    def nodes(self) -> dict[str, Node]:
        return {node.name: node for node in self.shown.nodes}


@dataclass
class Hands:
    """Remembers what it was asked to do."""

    done: list[tuple[str, ...]] = field(default_factory=list)
    refusals: Refusals = field(default_factory=Refusals)

    async def carry_out(self, plan: Plan, decision: Decision) -> Done:
        self.done.append(tuple(sorted({type(action).__name__ for action in decision.actions})))
        kinds = [isinstance(action, PublishStatus) for action in decision.actions]
        written = tuple(action for action in decision.actions if not isinstance(action, PublishStatus))
        return Done(published=any(kinds), written=written)

    async def tidy(self, actions: list[NodeAction]) -> Done:
        return Done()


def cluster(*done: str, claimed: Iterator[str] | list[str]) -> ClusterSnapshot:
    wide = a_group("workers", selector=WORKERS.selector, max_unavailable=Percent(100))
    nodes = [upgraded(name) if name in done else a_node(name) for name in NAMES]
    return control_planes_done(*nodes, plan=a_plan(CONTROL, wide, claims=[a_claim(name) for name in claimed]))


@dataclass
class TimedHands(Hands):
    """Remembers when it was asked, in seconds; what it is asked to do takes `seconds`."""

    seconds: float = 0.0
    at: list[float] = field(default_factory=list)

    async def carry_out(self, plan: Plan, decision: Decision) -> Done:
        self.at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.seconds)
        return await super().carry_out(plan, decision)


async def _gap(hands: TimedHands) -> float:
    """Seconds between two turns of which the first claims 400 nodes and orders them, and the second sees one done."""
    eyes = Eyes(cluster(claimed=[]))
    loop = Loop(eyes, hands, Publisher(lambda _: None, list), changed=asyncio.Event(), clock=lambda: NOW)  # type: ignore[arg-type]
    async with running(loop.run()):
        while len(hands.at) < 2:
            eyes.shown = cluster("w-000", claimed=NAMES) if hands.at else eyes.shown
            await asyncio.sleep(0.01)
    return hands.at[1] - hands.at[0]


@virtual
async def test_after_a_large_status_the_loop_rests_before_it_looks_again() -> None:
    """However many nodes report meanwhile: writing it costs the API server, looking costs us."""
    assert await _gap(TimedHands()) == pytest.approx(400 * REST_PER_CLAIM, abs=0.02)


@virtual
async def test_the_time_that_the_orders_took_is_part_of_the_rest() -> None:
    assert await _gap(TimedHands(seconds=1.0)) == pytest.approx(1.0, abs=0.02)


@dataclass
class OneNodeWasFirst(Hands):
    """Whose status is written while some node's guard does not hold."""

    async def carry_out(self, plan: Plan, decision: Decision) -> Done:
        await super().carry_out(plan, decision)
        return Done(lost=True)


async def test_what_the_status_says_is_told_though_a_node_was_changed_by_somebody_first() -> None:
    """The next snapshot does not show it as news any more."""
    loop = Loop(
        Eyes(cluster(claimed=[])),  # type: ignore[arg-type]
        OneNodeWasFirst(),  # type: ignore[arg-type]
        Publisher(lambda said: told.append(said.reason), list),
        changed=asyncio.Event(),
        clock=lambda: NOW,
    )
    told: list[str] = []
    with capture_logs() as lines:
        await loop.turn()
    assert "claiming" in [line["event"] for line in lines]
    assert "Progressing" in told
    assert "UpgradeOrdered" not in told, "an order is told when it is written"


@dataclass
class IdleHands(Hands):
    """Who find everything done."""

    async def carry_out(self, plan: Plan, decision: Decision) -> Done:
        return Done()


@virtual
async def test_a_refusal_on_a_node_that_wants_nothing_any_more_wakes_nobody() -> None:
    """An order that was written though its answer was a 504: no write on that node may ever come again."""
    hands = IdleHands()
    shown = cluster(*NAMES, claimed=[])
    loop = Loop(Eyes(shown), hands, Publisher(lambda _: None, list), changed=asyncio.Event(), clock=lambda: NOW)  # type: ignore[arg-type]
    nothing = await loop.turn()
    hands.refusals.note("w-000", api_error(504, "Timeout", "etcdserver: request timed out"))

    assert 0 < (await loop.turn() or 0.0) <= 2 * FIRST_PAUSE
    await asyncio.sleep(MOST_PAUSE)
    assert await loop.turn() == nothing


@dataclass
class Refused(Hands):
    """Whose every guard is lost until `holds`."""

    holds: bool = False

    async def carry_out(self, plan: Plan, decision: Decision) -> Done:
        done = await super().carry_out(plan, decision)
        return done if self.holds else Done(status=False, lost=True)


async def test_guards_lost_again_and_again_are_tried_less_and_less_often_and_told_once() -> None:
    """Another controller that writes the same objects, or a watch that is late, must not be met at full speed."""
    hands = Refused()
    loop = Loop(
        Eyes(cluster(claimed=[])),  # type: ignore[arg-type]
        hands,  # type: ignore[arg-type]
        Publisher(lambda _: None, list),
        changed=asyncio.Event(),
        clock=lambda: NOW,
    )
    with capture_logs() as lines:
        rests = [await loop.turn() for _ in range(10)]
    assert rests[:3] == [pytest.approx(0.075), pytest.approx(0.15), pytest.approx(0.3)]
    assert rests[-1] == pytest.approx(3.75)
    assert [(line["log_level"], line["turns"]) for line in lines] == [("info", 3)]

    hands.holds = True
    assert await loop.turn() == 0.0, "what was written shows the next step at once"
    hands.holds = False
    assert await loop.turn() == pytest.approx(0.075), "one turn that held ends the row"
