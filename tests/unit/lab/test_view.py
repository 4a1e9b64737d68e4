"""The lab's picture of a run, as a reader sees it."""

from dataclasses import replace

from kube_upgrade.lab.history import World
from kube_upgrade.lab.view import news, text, view
from kube_upgrade.model.lock import DrainMark
from kube_upgrade.model.node import NodeStatus, Order, Report
from kube_upgrade.model.status import HoldSummary, PlanStatus, Reason, VersionStatus
from support.histories import NEW, OLD, START, Story, begin


def world(story: Story) -> World:
    seen = World()
    for revision in story.seen:
        seen = seen.after(revision)
    return seen


def in_the_middle() -> Story:
    story = begin("cp-1", "w-1", "w-2")
    story.node("cp-1", kubelet=NEW, order=Order(version=NEW), report=Report(status=NodeStatus.COMPLETED))
    story.node(
        "w-1",
        unschedulable=True,
        order=Order(version=NEW),
        drain=DrainMark(group="default", id="abc", since=START, cordoned_before=False),
        report=Report(status=NodeStatus.PENDING, phase="draining", message="2 pods are left"),
    )
    status = PlanStatus(
        summary="Progressing: Upgrading groups [workers]",
        groups={"control-plane": "Complete", "workers": "Progressing: 0/2 nodes upgraded"},
        version=VersionStatus(start=OLD, target=NEW, hop=1, hops=1),
        holds=(HoldSummary(reason=Reason.BUDGET, message="w-1 uses the budget of 1", nodes=1, sample=("w-2",)),),
    )
    return story.edit_plan(status=status)


def test_the_picture_shows_groups_nodes_phase_lock_and_what_waits() -> None:
    assert text(view(world(in_the_middle()))) == (
        "plan plan: v1.36.3 → v1.37.2: Progressing: Upgrading groups [workers]\n\n"
        "GROUP           DONE   OUT      STATUS\n"
        "control-plane   1/1    0 of 1   Complete\n"
        "workers         0/2    1 of 1   Progressing: 0/2 nodes upgraded\n\n"
        "NODE   VERSION   SERVICE                    PHASE       LOCK      NOTE\n"
        "cp-1   v1.37.2   Ready                      completed\n"
        "w-1    v1.36.3   Ready,SchedulingDisabled   draining    default   2 pods are left\n"
        "w-2    v1.36.3   Ready\n\n"
        "waiting: w-2: Budget: w-1 uses the budget of 1"
    )


def test_without_a_plan_there_are_only_nodes() -> None:
    assert text(view(world(Story().node("w-1")))) == (
        "no plan yet\n\nNODE   VERSION   SERVICE   PHASE   LOCK   NOTE\nw-1    v1.36.3   Ready"
    )


def test_news_tell_what_changed_and_nothing_else() -> None:
    story = in_the_middle()
    before = view(world(story))
    story.node("w-1", ready=False, report=replace(story.nodes["w-1"].report, phase="rebooting", message=""))
    assert list(news(before, view(world(story)))) == [
        "w-1: rebooting (v1.36.3, NotReady,SchedulingDisabled, holds lock default)"
    ]


def test_a_change_of_the_note_alone_is_no_news() -> None:
    """A daemon counts the pods that are left: every one of them would be a line."""
    story = in_the_middle()
    before = view(world(story))
    story.node("w-1", report=replace(story.nodes["w-1"].report, message="1 pod is left"))
    assert list(news(before, view(world(story)))) == []
