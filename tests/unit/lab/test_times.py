"""Per-node seconds, read from a history in which every revision is one second after the one before."""

from kube_upgrade.lab.times import node_times
from kube_upgrade.model.node import Report
from support.histories import NEW, begin


def test_seconds_count_from_the_order_and_out_of_service_is_cordoned_or_not_ready() -> None:
    story = begin("cp-1", "w-1").claims("w-1").order("w-1")
    story.node("w-1", report=Report(staged="v1.37.2@sha256:1"))
    line = node_times(story.drain("w-1").reboot("w-1").done("w-1").claims().history(), NEW)[1]
    assert (line.name, line.role, line.version) == ("w-1", "worker", "v1.37.2")
    assert (line.staged, line.out, line.total) == (1.0, 4.0, 6.0)
    assert (line.boot_before, line.boot_after) == ("boot-1", "boot-2")


def test_a_node_that_never_got_there_has_no_total() -> None:
    lines = node_times(begin("cp-1", "w-1").claims("cp-1").order("cp-1").history(), NEW)
    assert [(line.name, line.staged, line.total) for line in lines] == [("cp-1", None, None), ("w-1", None, None)]


def test_what_happened_before_the_plan_does_not_count() -> None:
    story = begin().node("w-1", ready=False).node("w-1", ready=True)
    story.add(story.plan)
    assert node_times(story.history(), NEW)[0].out == 1.0  # begin() shows the plan before the node comes up
