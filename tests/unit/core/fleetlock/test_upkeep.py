"""What a lock server repairs, and what it leaves alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from kube_upgrade.core.fleetlock.upkeep import FreeSlot, ResumeDrain, UndoCordon, repairs, unfinished
from kube_upgrade.model.lock import DrainMark, Holder, LockGroup
from kube_upgrade.model.node import Node

T0 = datetime(2026, 11, 24, tzinfo=UTC)
HOLDER = Holder(id="a", since=T0, node="w1", uid="u1")
MARK = DrainMark(group="workers", id="a", since=T0)
NODE = Node(name="w1", uid="u1", resource_version="1", created=T0, drain=MARK)
HELD = {"workers": LockGroup(name="workers", slots=1, holders=(HOLDER,))}
FREE = {"workers": LockGroup(name="workers", slots=1)}


def test_a_marked_node_with_its_slot_needs_nothing_but_a_resumed_drain() -> None:
    assert repairs([NODE], HELD) == ()
    assert unfinished([NODE], HELD) == (ResumeDrain(node="w1", mark=MARK),)


def test_a_slot_is_freed_when_its_node_object_is_gone_or_another() -> None:
    freed = (FreeSlot(group="workers", holder=HOLDER),)

    assert repairs([], HELD) == freed
    assert repairs([replace(NODE, uid="u2")], HELD) == freed


def test_a_machine_outside_the_cluster_keeps_its_slot_for_ever() -> None:
    zincati = replace(HOLDER, node="", uid="", since=T0 - timedelta(days=365))

    assert repairs([], {"workers": LockGroup(name="workers", slots=1, holders=(zincati,))}) == ()


def test_a_mark_without_its_reservation_is_undone_also_where_the_id_holds_a_later_one() -> None:
    later = replace(HOLDER, since=T0 + timedelta(microseconds=1))
    undone = (UndoCordon(node="w1", mark=MARK),)

    assert repairs([NODE], FREE) == undone
    assert repairs([NODE], {"workers": LockGroup(name="workers", slots=1, holders=(later,))}) == undone
    assert unfinished([NODE], FREE) == ()


def test_a_mark_of_a_group_that_this_server_does_not_know_is_left_alone() -> None:
    assert repairs([NODE], {}) == ()
    assert unfinished([NODE], {}) == ()
