"""The loop's pace: a large status is not written too often for the API server, and orders do not wait for it."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from kube_upgrade.controller.loop import Loop
from kube_upgrade.controller.publish import Publisher
from kube_upgrade.model.action import Decision, NodeAction, OrderNode, PublishStatus
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Percent, Plan
from kube_upgrade.model.snapshot import ClusterSnapshot
from support.builders import CONTROL, NOW, WORKERS, a_claim, a_group, a_node, a_plan, control_planes_done, upgraded

NAMES = [f"w-{n:03}" for n in range(400)]  # a fifth of a second between two writes of their claims


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
        return {}


@dataclass
class Hands:
    """Remembers what it was asked to do."""

    done: list[tuple[str, ...]] = field(default_factory=list)

    async def carry_out(self, plan: Plan, decision: Decision) -> bool:
        self.done.append(tuple(sorted({type(action).__name__ for action in decision.actions})))
        return True

    async def tidy(self, actions: list[NodeAction]) -> bool:
        return True


def cluster(*done: str, claimed: Iterator[str] | list[str]) -> ClusterSnapshot:
    wide = a_group("workers", selector=WORKERS.selector, max_unavailable=Percent(100))
    nodes = [upgraded(name) if name in done else a_node(name) for name in NAMES]
    return control_planes_done(*nodes, plan=a_plan(CONTROL, wide, claims=[a_claim(name) for name in claimed]))


async def test_a_large_status_rests_between_two_writes_and_orders_do_not_wait_for_it() -> None:
    eyes, hands = Eyes(cluster(claimed=[])), Hands()
    loop = Loop(eyes, hands, Publisher(lambda _: None, list), changed=asyncio.Event(), clock=lambda: NOW)  # type: ignore[arg-type]

    await loop.turn()
    eyes.shown = cluster(claimed=NAMES)
    await loop.turn()
    eyes.shown = cluster("w-000", claimed=NAMES)
    await loop.turn()

    assert PublishStatus.__name__ in hands.done[0], "400 claims are written"
    assert hands.done[1] == (OrderNode.__name__,), "their orders at once, though the status has news, too"
    assert PublishStatus.__name__ not in hands.done[2], "the first release waits"


@dataclass
class Refused(Hands):
    """Whose every guard is lost until `holds`."""

    holds: bool = False

    async def carry_out(self, plan: Plan, decision: Decision) -> bool:
        await super().carry_out(plan, decision)
        return self.holds


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
