"""When a rollout is over, and when an event's moment has come."""

from dataclasses import replace

import pytest

from kube_upgrade.lab.course import ended, is_moment
from kube_upgrade.lab.scenario import Moment
from kube_upgrade.lab.witness import Witness
from kube_upgrade.model.node import NodeStatus, Order, Report
from kube_upgrade.model.status import NodeCounts
from support.async_memory_api import AsyncMemoryApi
from support.histories import NEW, START, Story, begin
from support.memory_api import MemoryApi


def over(story: Story) -> bool:
    witness = Witness(api=AsyncMemoryApi(MemoryApi()), now=lambda: START)
    for revision in story.seen:
        witness.seen.append(revision)
        witness.world = witness.world.after(revision)
    return ended(witness)


def summary(story: Story, text: str, *, in_flight: int = 0) -> Story:
    status = story.plan.status
    return story.edit_plan(status=replace(status, summary=text, nodes=NodeCounts(in_flight=in_flight)))


def test_without_a_plan_nothing_is_over() -> None:
    assert not over(Story().node("w-1"))


def test_complete_is_believed_only_where_every_node_is_proven() -> None:
    assert not over(summary(begin("w-1"), "Complete"))
    assert over(summary(begin("w-1").upgrade("w-1"), "Complete"))


@pytest.mark.parametrize(("in_flight", "expected"), [(1, False), (0, True)])
def test_a_failure_is_the_end_once_nobody_is_under_way(in_flight: int, expected: bool) -> None:
    assert over(summary(begin("w-1"), "Error: w-1", in_flight=in_flight)) is expected


def test_a_moment_is_a_phase_of_that_node_while_it_is_ordered() -> None:
    story = begin("w-1", "w-2")
    report = Report(status=NodeStatus.UPGRADING, phase="kubeadm")
    story.node("w-1", report=report)
    story.node("w-1", order=Order(version=NEW), report=report)
    moment = Moment(node="w-1", phase="kubeadm")

    found = [is_moment(revision.subject, moment) for revision in story.seen]

    assert found == [False] * (len(found) - 1) + [True]
    assert not is_moment(story.nodes["w-1"], Moment(node="w-2", phase="kubeadm"))
