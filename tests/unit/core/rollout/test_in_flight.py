"""Nodes under way: the deadline that counts from kubeadm's start, the lock's words, and a controller not our own."""

from dataclasses import replace

from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.core.rollout.ownership import CONDITION, SILENCE
from kube_upgrade.model.node import NodeStatus, Report
from kube_upgrade.model.status import Hold, PlanStatus, Reason
from support.builders import (
    CONTROL,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    WORKERS,
    a_claim,
    a_drain,
    a_node,
    a_plan,
    control_planes_done,
    said,
    seen,
    upgraded,
)

UNDER_WAY = a_node("w-1", **said(NodeStatus.UPGRADING, message="kubeadm upgrade node to v1.37.2"))


def test_waiting_for_the_lock_has_no_deadline() -> None:
    old = a_claim("w-1", since=NOW - 100 * HOUR)
    status = decide(control_planes_done(a_node("w-1", **said()), plan=a_plan(claims=[old]))).status
    assert status.claims == (old,)
    assert status.nodes.failed == 0


def test_the_deadline_counts_from_the_first_sight_of_kubeadm() -> None:
    status = decide(control_planes_done(UNDER_WAY, plan=a_plan(claims=[a_claim("w-1")]))).status
    assert status.claims == (a_claim("w-1", started_at=NOW),)


def test_past_the_deadline_a_node_is_stalled_keeps_its_claim_and_counts_as_a_failure() -> None:
    claim = a_claim("w-1", since=NOW - HOUR, started_at=NOW - 45 * MINUTE)
    decision = decide(control_planes_done(UNDER_WAY, a_node("w-2"), plan=a_plan(claims=[claim])))
    assert decision.status.claims == (replace(claim, untimed=True),)
    assert decision.status.nodes.failed == 1
    assert decision.holds["w-1"].reason is Reason.STALLED
    assert decision.holds["w-2"].reason is Reason.TOO_MANY_FAILURES
    degraded = next(each for each in decision.status.conditions if each.type == "Degraded")
    assert (degraded.status, degraded.reason) == (True, "Stalled")


def test_it_wakes_at_the_deadline_and_a_second_before_nothing_has_failed() -> None:
    claim = a_claim("w-1", since=NOW - HOUR, started_at=NOW - 45 * MINUTE + SECOND)
    decision = decide(control_planes_done(UNDER_WAY, plan=a_plan(claims=[claim])))
    assert decision.status.nodes.failed == 0
    assert decision.wake_at == NOW + SECOND


def test_a_failed_node_that_tries_anew_counts_anew() -> None:
    claim = a_claim("w-1", started_at=NOW - HOUR)
    retrying = a_node("w-1", **said(NodeStatus.PENDING))
    assert decide(control_planes_done(retrying, plan=a_plan(claims=[claim]))).status.claims[0].started_at is None


def test_a_failed_node_that_is_next_seen_in_kubeadm_counts_anew_too() -> None:
    """It tries anew by itself: nobody has to see it pending in between."""
    claim = a_claim("w-1", since=NOW - 2 * HOUR, started_at=NOW - HOUR)
    broken = control_planes_done(a_node("w-1", **said(NodeStatus.ERROR)), plan=a_plan(claims=[claim]))
    status = decide(broken).status
    assert status.claims[0].started_at is None
    again = decide(control_planes_done(UNDER_WAY, plan=a_plan(status=status)))
    assert (again.status.claims[0].started_at, again.status.nodes.failed, again.holds.get("w-1")) == (NOW, 0, None)


def test_a_node_that_falls_ill_late_in_a_long_soak_has_its_deadline_anew() -> None:
    """kubelet restarts for ten seconds; that is no deadline missed."""
    soaking = a_claim("w-1", since=NOW - HOUR, started_at=NOW - 55 * MINUTE, proven_at=NOW - 45 * MINUTE)
    plan = a_plan(CONTROL, replace(WORKERS, soak=HOUR), claims=[soaking])
    ill = control_planes_done(upgraded("w-1", ready=False), a_node("w-2"), plan=plan)
    decision = decide(ill)
    assert (decision.status.nodes.failed, decision.status.claims[0].started_at) == (0, NOW)
    assert decision.holds["w-1"].reason is Reason.NOT_PROVEN
    later = replace(ill, plan=replace(plan, status=decision.status), now=NOW + 45 * MINUTE)
    assert decide(later).holds["w-1"].reason is Reason.STALLED


def test_a_node_under_way_without_an_order_has_the_same_deadline() -> None:
    """It began just before its order was withdrawn, and may get stuck like any other."""
    stray = a_node("w-1", report=Report(status=NodeStatus.UPGRADING, message="kubeadm upgrade node"))
    first = control_planes_done(stray, a_node("w-2"), plan=a_plan(claims=[a_claim("w-1", since=NOW - 100 * HOUR)]))
    status = decide(first).status
    assert status.claims[0].started_at == NOW
    late = replace(first, plan=replace(first.plan, status=status), now=NOW + 45 * MINUTE)
    decision = decide(late)
    assert decision.holds["w-1"].reason is Reason.STALLED
    assert decision.holds["w-1"].message.endswith("longer than progressDeadline 0:45:00: kubeadm upgrade node")
    assert (decision.status.nodes.failed, decision.holds["w-2"].reason) == (1, Reason.TOO_MANY_FAILURES)
    assert decision.status.claims[0].untimed


def test_a_busy_lock_is_shown_in_the_servers_words() -> None:
    node = a_node("w-1", **said(message="LockBusy: all_slots_full: 1 of 1 slots are held: w-9"))
    hold = decide(control_planes_done(node, plan=a_plan(claims=[a_claim("w-1")]))).holds["w-1"]
    assert (hold.reason, hold.message) == (Reason.LOCK_BUSY, "all_slots_full: 1 of 1 slots are held: w-9")


def test_a_drain_that_does_not_get_on_names_pdb_and_pod() -> None:
    said_so = said(message="LockBusy: draining: default/web-1 is kept by PodDisruptionBudget web")
    node = a_node("w-1", drain=a_drain("w-1"), unschedulable=True, **said_so)
    hold = decide(control_planes_done(node, plan=a_plan(claims=[a_claim("w-1")]))).holds["w-1"]
    assert hold.reason is Reason.DRAIN_BLOCKED
    assert "PodDisruptionBudget web" in hold.message


def test_a_drained_node_whose_lock_server_is_away_waits_for_the_lock() -> None:
    """It confirms its slot before each reboot: nothing is wrong with its pods."""
    drain = replace(a_drain("w-1"), drained=True)
    node = a_node("w-1", drain=drain, unschedulable=True, **said(message="LockBusy: unreachable: connection refused"))
    hold = decide(control_planes_done(node, plan=a_plan(claims=[a_claim("w-1")]))).holds["w-1"]
    assert hold == Hold(Reason.LOCK_BUSY, "unreachable: connection refused")


def test_where_another_controller_overwrites_the_status_nothing_is_started() -> None:
    """Upstream writes summary and groups only: everything else of the status is gone."""
    overwritten = PlanStatus(summary="Progressing: Upgrading groups [workers]", groups={"workers": "Waiting"})
    decision = decide(seen(plan=a_plan(status=overwritten)))
    assert decision.status.claims == ()
    assert {hold.reason for hold in decision.holds.values()} == {Reason.FOREIGN_CONTROLLER}
    assert [each.type for each in decision.status.conditions if each.status][-1] == CONDITION
    assert len(decision.actions) == 1, "the status alone is written"
    assert decision.wake_at == NOW + SILENCE


def test_after_two_silent_minutes_it_goes_on() -> None:
    overwritten = PlanStatus(summary="Waiting")
    status = decide(seen(plan=a_plan(status=overwritten))).status
    later = seen(plan=a_plan(status=status), now=NOW + SILENCE)
    assert [claim.node for claim in decide(later).status.claims] == ["cp-1"]
    assert decide(replace(later, now=NOW + SILENCE - SECOND)).status.claims == ()
