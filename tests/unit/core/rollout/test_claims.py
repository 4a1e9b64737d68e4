"""What becomes of a claim: ordered, given up, proven, soaked, released; and orders that have none (ADR 2)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.model.action import OrderNode, PublishStatus, WithdrawOrder
from kube_upgrade.model.node import KubeadmRole, Node, NodeStatus, Order, Report
from kube_upgrade.model.node_config import NodeConfig
from kube_upgrade.model.plan import Freeze, Plan
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import Duration, Hold, Reason
from support.builders import (
    CONTROL,
    HOUR,
    MINUTE,
    NEW,
    NOW,
    OLD,
    SECOND,
    WORKERS,
    a_claim,
    a_cluster,
    a_drain,
    a_group,
    a_node,
    a_plan,
    a_window,
    control_planes_done,
    having,
    replaced,
    said,
    seen,
    static_pods,
    upgraded,
    v,
)
from support.decisions import claims, configured, held, orders, started, withdrawals
from support.world import World, carry_out, turn

TICK = timedelta(microseconds=1)
CLAIMED = a_plan(claims=[a_claim("w-1")])

# --- claim first, order later -------------------------------------------------------------------


def test_a_node_is_claimed_before_it_is_ordered() -> None:
    snapshot = seen()
    decision = decide(snapshot)
    assert started(snapshot) == ["cp-1"]
    claim = decision.status.claims[0]
    first, *others = decision.actions
    assert first == PublishStatus(status=decision.status), "the claim is written, or there is no order"
    assert [each.claim for each in others if isinstance(each, OrderNode)] == [claim]
    assert (claim.node, claim.uid, claim.group, claim.version, claim.since, claim.proven_at) == (
        "cp-1", "cp-1-uid", "control-plane", NEW, NOW, None,
    )  # fmt: skip


def test_a_node_that_has_its_order_already_is_claimed_and_not_ordered_again() -> None:
    """It is where it should be and a mirror pod is away for a moment: an order would lead it through kubeadm again."""
    pods = [pod for i in (1, 2, 3) for pod in static_pods(f"cp-{i}", NEW)]
    pods = [pod for pod in pods if (pod.node, pod.component) != ("cp-2", "kube-scheduler")]
    snapshot = control_planes_done(pods=pods)
    assert started(snapshot) == ["cp-2"]
    assert (orders(snapshot), withdrawals(snapshot)) == ({}, {})


ROLLED_BACK = a_node("w-1", **said(NodeStatus.COMPLETED))


def test_the_order_of_a_node_that_was_rolled_back_is_taken_back_and_then_given_anew() -> None:
    """Its daemon ignores an order that it has completed."""
    snapshot = control_planes_done(
        ROLLED_BACK, a_node("w-2"), plan=a_plan(CONTROL, replace(WORKERS, max_unavailable=2))
    )
    assert withdrawals(snapshot)["w-1"].reason == "no claim stands for this order"
    assert started(snapshot) == ["w-2"], "one with another is not held by it"
    assert held(snapshot, "w-1") is Reason.ORDER_WITHDRAWN
    free = replace(ROLLED_BACK, order=None, withdrawn=NOW)
    again = control_planes_done(free)
    assert (started(again), list(orders(again))) == (["w-1"], ["w-1"])
    lost = replace(again, plan=replace(again.plan, status=decide(again).status))  # a 409 between the two
    assert list(orders(lost)) == ["w-1"]


SOAKING = a_plan(
    CONTROL, replace(WORKERS, soak=5 * MINUTE, max_unavailable=2), claims=[a_claim("w-1", proven_at=NOW - MINUTE)]
)


def test_a_node_that_is_rolled_back_in_its_soak_is_freed_and_ordered_anew() -> None:
    """Its claim would stand for ever, and with it the soak, the budget and in the end a failure."""
    back = control_planes_done(ROLLED_BACK, a_node("w-2"), plan=SOAKING)
    assert withdrawals(back)["w-1"].reason == "it was rolled back: its kubelet is v1.36.3, not v1.37.2"
    assert claims(back) == {"w-1": a_claim("w-1", proven_at=NOW - MINUTE)}, "the Node first; nobody else starts"
    lost = replace(
        back, plan=replace(back.plan, status=decide(back).status), now=NOW + HOUR
    )  # a 409, and the soak ends
    assert list(withdrawals(lost)) == ["w-1"]
    free = replace(ROLLED_BACK, order=None, withdrawn=NOW)
    again = control_planes_done(free, plan=SOAKING)
    assert orders(again)["w-1"].claim == a_claim("w-1", since=NOW + TICK, untimed=True)
    assert decide(again).status.durations == {}


def test_a_node_is_known_to_be_rolled_back_though_it_was_not_ready_in_between() -> None:
    """Its proof is forgotten by then; but its daemon says completed only once the kubelet is there."""
    idle = a_node("w-1", **said(NodeStatus.COMPLETED, phase="idle"))
    for ready in (True, False):
        snapshot = control_planes_done(replace(idle, ready=ready), plan=CLAIMED)
        assert list(withdrawals(snapshot)) == ["w-1"]


def test_a_soaking_node_that_is_not_ready_or_shows_no_version_was_not_rolled_back() -> None:
    for unclear in ({"ready": False}, {"kubelet": None}, {"ready": False, "kubelet": None}):
        node = upgraded("w-1", **unclear)
        idle = replace(node, report=replace(node.report, phase="idle"))
        snapshot = control_planes_done(idle, plan=SOAKING)
        assert (withdrawals(snapshot), held(snapshot, "w-1")) == ({}, Reason.NOT_PROVEN)


@pytest.mark.parametrize("status", [NodeStatus.UPGRADING, NodeStatus.REBASING, NodeStatus.ERROR])
def test_a_proven_node_that_is_at_it_again_was_not_rolled_back(status: NodeStatus) -> None:
    """A person asked its daemon to try again: it finishes what it began."""
    assert withdrawals(control_planes_done(a_node("w-1", **said(status, phase="kubeadm")), plan=SOAKING)) == {}


def test_a_control_plane_node_whose_static_pods_alone_look_old_is_left_to_a_person() -> None:
    """The pods' watch may be late alone: that is no reason to lead a finished node through kubeadm again."""
    pods = [pod for i in (1, 2, 3) for pod in static_pods(f"cp-{i}", OLD if i == 2 else NEW)]
    first = control_planes_done(pods=pods)
    claimed = replace(first, plan=replace(first.plan, status=decide(first).status))
    for snapshot in (first, claimed, replace(claimed, now=NOW + 9 * HOUR)):
        assert (withdrawals(snapshot), orders(snapshot)) == ({}, {})
        assert decide(snapshot).status.summary != "Complete"
    assert started(first) == ["cp-2"]
    assert held(claimed, "cp-2") is Reason.NOT_PROVEN


@pytest.mark.parametrize(
    "snapshot",
    [
        control_planes_done(ROLLED_BACK, plan=CLAIMED),
        control_planes_done(upgraded("w-1", ready=False)),
        control_planes_done(upgraded("w-1")),
        control_planes_done(a_node("w-1", kubelet=None, **said(NodeStatus.COMPLETED))),
    ],
    ids=["claimed: its kubelet's version comes in a moment", "not Ready", "well", "no kubelet version is known"],
)
def test_no_other_completed_order_is_taken_back(snapshot: ClusterSnapshot) -> None:
    assert (withdrawals(snapshot), orders(snapshot)) == ({}, {})


def test_a_standing_claim_is_ordered_with_the_nodes_resource_version() -> None:
    snapshot = control_planes_done(a_node("w-1", resource_version="77"), plan=CLAIMED)
    order = orders(snapshot)["w-1"]
    assert (order.resource_version, order.claim, order.kubeadm) == ("77", a_claim("w-1"), KubeadmRole.NODE)
    assert claims(snapshot)["w-1"] == a_claim("w-1")


@pytest.mark.parametrize("status", list(NodeStatus)[:3])
def test_an_ordered_node_is_not_ordered_again(status: NodeStatus) -> None:
    snapshot = control_planes_done(a_node("w-1", **said(status)), plan=CLAIMED)
    assert (orders(snapshot), withdrawals(snapshot)) == ({}, {})
    began = None if status is NodeStatus.PENDING else NOW
    assert claims(snapshot)["w-1"] == a_claim("w-1", started_at=began, untimed=status is NodeStatus.REBASING)


def test_a_claim_replaces_what_was_ordered_for_an_earlier_version() -> None:
    snapshot = control_planes_done(a_node("w-1", **said(NodeStatus.COMPLETED, OLD)), plan=CLAIMED)
    assert orders(snapshot)["w-1"].claim.version == NEW


# --- kubeadm's role -----------------------------------------------------------------------------


def role(node: Node, *others: Node, **changed: object) -> KubeadmRole:
    plan = a_plan(claims=[a_claim(node)])
    snapshot = seen(*replaced(a_cluster(3, 0), node, *others), plan=plan, **changed)  # type: ignore[arg-type]
    return orders(snapshot)[node.name].kubeadm


APPLIED = upgraded("cp-1", report=Report(status=NodeStatus.COMPLETED, applied=NEW))


def test_the_first_control_plane_node_applies() -> None:
    assert role(a_node("cp-1")) is KubeadmRole.APPLY


def test_the_others_run_node_once_apply_is_proven() -> None:
    assert role(a_node("cp-2"), APPLIED, kubeadm_config=NEW) is KubeadmRole.NODE


def test_apply_is_not_proven_by_kubeadm_config_alone() -> None:
    """kubeadm writes it before it ends: an apply that failed afterwards must be done again."""
    assert role(a_node("cp-2"), upgraded("cp-1"), kubeadm_config=NEW) is KubeadmRole.APPLY


def test_apply_is_not_proven_by_the_nodes_word_alone() -> None:
    assert role(a_node("cp-2"), APPLIED, kubeadm_config=OLD) is KubeadmRole.APPLY


def test_apply_is_not_proven_by_a_node_whose_static_pods_are_old() -> None:
    pods = [pod for name in ("cp-1", "cp-2", "cp-3") for pod in static_pods(name, OLD)]
    stale = replace(APPLIED, kubelet=NEW)
    plan = a_plan(claims=[a_claim("cp-2")], groups=(replace(CONTROL, max_unavailable=2), WORKERS))
    snapshot = seen(*replaced(a_cluster(3, 0), stale), plan=plan, pods=pods, kubeadm_config=NEW)
    assert orders(snapshot)["cp-2"].kubeadm is KubeadmRole.APPLY


def test_an_apply_to_an_earlier_version_proves_nothing() -> None:
    earlier = a_node("cp-1", report=Report(applied=OLD))
    assert role(a_node("cp-2"), earlier) is KubeadmRole.APPLY


def test_a_worker_always_runs_node() -> None:
    assert orders(control_planes_done(a_node("w-1"), plan=CLAIMED))["w-1"].kubeadm is KubeadmRole.NODE


# --- startBefore --------------------------------------------------------------------------------


def test_an_order_carries_the_end_of_the_window() -> None:
    plan = replace(CLAIMED, windows=(a_window("0 7 * * *", 4),))
    assert orders(control_planes_done(plan=plan))["w-1"].start_before == NOW + 3 * HOUR


def test_an_order_outside_of_any_window_setting_has_no_end() -> None:
    assert orders(control_planes_done(plan=CLAIMED))["w-1"].start_before is None


def test_an_order_must_start_before_the_next_freeze_too() -> None:
    plan = replace(CLAIMED, freezes=(Freeze(since=NOW + HOUR, until=NOW + 9 * HOUR),))
    assert orders(control_planes_done(plan=plan))["w-1"].start_before == NOW + HOUR
    plan = replace(plan, windows=(a_window("0 7 * * *", 1.5),))
    assert orders(control_planes_done(plan=plan))["w-1"].start_before == NOW + HOUR / 2


def test_an_order_whose_start_before_has_passed_is_withdrawn_and_given_anew() -> None:
    """Nobody saw the window close; its daemon will never begin with this order."""
    for passed in (NOW - SECOND, NOW):  # it wakes at that very moment, and at no later one
        node = a_node("w-1", **said(start_before=passed))
        assert "w-1" in withdrawals(control_planes_done(node, plan=CLAIMED))
    begun = a_node("w-1", **said(NodeStatus.UPGRADING, start_before=NOW - SECOND))
    assert withdrawals(control_planes_done(begun, plan=CLAIMED)) == {}


@pytest.mark.parametrize(
    ("start_before", "why"),
    [
        (None, "it has no startBefore, and may begin after 09:00 UTC, when starts end now"),
        (NOW + 2 * HOUR, "its startBefore is later than 09:00 UTC, when starts end now"),
    ],
)
def test_an_order_that_may_begin_after_a_close_that_was_added_since_is_withdrawn_and_given_anew(
    start_before: datetime | None, why: str
) -> None:
    """A freeze or a window that a person adds holds for orders that wait already."""
    plan = replace(CLAIMED, freezes=(Freeze(since=NOW + HOUR, until=NOW + 9 * HOUR),))
    late = control_planes_done(a_node("w-1", **said(start_before=start_before)), plan=plan)
    assert withdrawals(late)["w-1"].reason == why
    begun = control_planes_done(a_node("w-1", **said(NodeStatus.UPGRADING, start_before=start_before)), plan=plan)
    assert withdrawals(begun) == {}


def test_an_order_that_ends_in_time_is_not_withdrawn_for_what_was_learned_since() -> None:
    """Else every wait at the lock would begin anew with each node that ends."""
    plan = replace(CLAIMED, windows=(a_window("0 7 * * *", 4),))
    plan = replace(plan, status=replace(plan.status, durations={"workers": Duration(count=9, p50=600, p90=600)}))
    snapshot = control_planes_done(a_node("w-1", **said(start_before=NOW + 3 * HOUR)), plan=plan)
    assert withdrawals(snapshot) == {}


# --- withdrawal ---------------------------------------------------------------------------------

UNWANTED: dict[str, Plan] = {
    "paused": replace(CLAIMED, paused=True),
    "group paused": a_plan(CONTROL, replace(WORKERS, paused=True), claims=[a_claim("w-1")]),
    "deleted": replace(CLAIMED, deleted=True),
    "invalid": replace(CLAIMED, problems=("spec.x: bad",)),
    "another version": replace(CLAIMED, version=v("v1.37.3")),
    "a skipped minor": replace(CLAIMED, version=v("v1.39.0")),
    "window closed": replace(CLAIMED, windows=(a_window("0 2 * * *", 1),)),
    "freeze": replace(CLAIMED, freezes=(Freeze(since=NOW - HOUR, until=NOW + HOUR),)),
    "group gone": a_plan(CONTROL, claims=[a_claim("w-1")]),
}


@pytest.mark.parametrize("change", UNWANTED)
def test_an_order_that_has_not_reached_kubeadm_is_withdrawn_before_its_claim_is_released(change: str) -> None:
    ordered = a_node("w-1", resource_version="9", **said(NodeStatus.PENDING))
    snapshot = control_planes_done(ordered, plan=UNWANTED[change])
    withdrawal = withdrawals(snapshot)["w-1"]
    assert (withdrawal.resource_version, withdrawal.at) == ("9", NOW)
    assert withdrawal.reason
    assert "w-1" in claims(snapshot), "the Node first, the claim afterwards"


@pytest.mark.parametrize("change", UNWANTED)
@pytest.mark.parametrize("status", [NodeStatus.UPGRADING, NodeStatus.REBASING])
def test_from_kubeadm_on_a_node_finishes_whatever_the_plan_says(change: str, status: NodeStatus) -> None:
    snapshot = control_planes_done(a_node("w-1", **said(status)), plan=UNWANTED[change])
    assert withdrawals(snapshot) == {}
    assert "w-1" in claims(snapshot)


@pytest.mark.parametrize("change", UNWANTED)
def test_a_claim_without_an_order_is_fenced_on_the_node_before_it_is_released(change: str) -> None:
    """A paused leader may be about to write the order: only the Node's resourceVersion stops it."""
    snapshot = control_planes_done(a_node("w-1"), plan=UNWANTED[change])
    assert "w-1" in withdrawals(snapshot)
    assert "w-1" in claims(snapshot)
    assert "w-1" not in orders(snapshot)


@pytest.mark.parametrize("change", [name for name, plan in UNWANTED.items() if plan.version == NEW][:-1])
@pytest.mark.parametrize("status", [NodeStatus.ERROR, NodeStatus.COMPLETED])
def test_a_failed_or_unproven_node_keeps_its_claim_whatever_pauses(change: str, status: NodeStatus) -> None:
    snapshot = control_planes_done(a_node("w-1", **said(status)), plan=UNWANTED[change])
    assert withdrawals(snapshot) == {}
    assert "w-1" in claims(snapshot)


def test_a_failed_node_is_taken_back_for_a_corrected_version() -> None:
    plan = replace(CLAIMED, version=v("v1.37.3"))
    assert "w-1" in withdrawals(control_planes_done(a_node("w-1", **said(NodeStatus.ERROR)), plan=plan))


def test_an_order_is_withdrawn_from_a_node_that_a_person_puts_on_hold() -> None:
    assert "w-1" in withdrawals(control_planes_done(a_node("w-1", hold="mine", **said()), plan=CLAIMED))


def test_an_order_is_withdrawn_where_its_way_turns_out_to_lead_down() -> None:
    """Somebody upgraded an API server beyond the target by hand: kubelets follow the oldest, and nothing goes back."""
    ahead = [upgraded("cp-1", v("v1.37.3")), upgraded("cp-2"), upgraded("cp-3")]
    snapshot = seen(*ahead, a_node("w-1", **said()), plan=CLAIMED)
    assert withdrawals(snapshot)["w-1"].reason.endswith("allowDowngrade is false")


def test_a_mirror_pod_that_is_away_for_a_moment_takes_no_order_back() -> None:
    """The kubelet replaces mirror pods when it restarts static pods; nothing about the way has changed."""
    pods = [pod for i in (1, 2) for pod in static_pods(f"cp-{i}", NEW)]
    snapshot = control_planes_done(a_node("w-1", **said()), plan=CLAIMED, pods=pods)
    assert withdrawals(snapshot) == {}
    assert "w-1" in claims(snapshot)


def test_a_claim_as_old_as_its_nodes_withdrawal_is_released_and_never_ordered() -> None:
    claim = a_claim("w-1")
    for withdrawn in (claim.since, claim.since + SECOND):
        snapshot = control_planes_done(
            a_node("w-1", withdrawn=withdrawn), plan=a_plan(CONTROL, replace(WORKERS, paused=True), claims=[claim])
        )
        assert (orders(snapshot), withdrawals(snapshot), claims(snapshot)) == ({}, {}, {})


def test_a_claim_younger_than_its_nodes_withdrawal_is_ordered() -> None:
    claim = a_claim("w-1")
    snapshot = control_planes_done(a_node("w-1", withdrawn=claim.since - TICK), plan=CLAIMED)
    assert "w-1" in orders(snapshot)


def test_a_new_claim_begins_after_the_last_withdrawal_even_if_clocks_differ() -> None:
    ahead = NOW + MINUTE  # another replica's clock
    assert claims(control_planes_done(a_node("w-1", withdrawn=ahead)))["w-1"].since == ahead + TICK
    assert claims(control_planes_done(a_node("w-1", withdrawn=NOW - MINUTE)))["w-1"].since == NOW


def test_a_withdrawal_is_never_before_its_claim_nor_like_the_one_before() -> None:
    """Each must change the Node, and each must fence the claim it is about."""
    late = a_claim("w-1", since=NOW + MINUTE)
    plan = a_plan(paused=True, claims=[late])
    assert withdrawals(control_planes_done(a_node("w-1", **said()), plan=plan))["w-1"].at == NOW + MINUTE
    twice = a_node("w-1", withdrawn=NOW + HOUR, **said())
    assert withdrawals(control_planes_done(twice, plan=plan))["w-1"].at == NOW + HOUR + TICK


def test_a_withdrawn_claim_stays_until_the_lock_server_has_let_the_node_go() -> None:
    """Its cordon is ours: another replica that sees the Node late must not think the budget free."""
    paused = replace(CLAIMED, paused=True)
    drained = a_node(
        "w-1", withdrawn=NOW, unschedulable=True, drain=a_drain(), report=Report(status=NodeStatus.PENDING)
    )
    assert "w-1" in claims(control_planes_done(drained, plan=paused))
    assert claims(control_planes_done(replace(drained, drain=None), plan=paused)) == {}


@pytest.mark.parametrize("status", [NodeStatus.ERROR, NodeStatus.PENDING])
def test_a_withdrawn_node_that_may_start_again_need_not_give_its_lock_back_first(status: NodeStatus) -> None:
    """Broken in kubeadm, it keeps lock and cordon; the corrected plan has to reach it."""
    node = a_node("w-1", withdrawn=NOW, unschedulable=True, drain=a_drain(), report=Report(status=status))
    corrected = replace(CLAIMED, version=v("v1.37.3"))
    pods = [pod for i in (1, 2, 3) for pod in static_pods(f"cp-{i}", v("v1.37.3"))]
    control = [upgraded(f"cp-{i}", v("v1.37.3")) for i in (1, 2, 3)]
    assert claims(seen(*control, node, plan=corrected, pods=pods))["w-1"].version == v("v1.37.3")


def test_a_node_that_began_kubeadm_just_before_the_withdrawal_keeps_its_claim() -> None:
    node = a_node("w-1", withdrawn=NOW, report=Report(status=NodeStatus.UPGRADING))
    snapshot = control_planes_done(node, plan=CLAIMED)
    assert "w-1" in claims(snapshot)
    assert (orders(snapshot), withdrawals(snapshot)) == ({}, {})


def test_a_claim_on_a_node_that_is_there_already_is_fenced_and_not_ordered() -> None:
    there = a_node("w-1", kubelet=NEW)
    snapshot = control_planes_done(there, plan=CLAIMED)
    assert orders(snapshot) == {}
    assert "w-1" in withdrawals(snapshot)


def test_an_inactive_plan_touches_no_node() -> None:
    """Neither its own claims, nor the orders of the other plan, nor settings."""
    plan = a_plan(CONTROL, replace(WORKERS, config=NodeConfig(stream="x")), paused=True, claims=[a_claim("w-1")])
    nodes = (a_node("w-1"), a_node("w-2", **said()), a_node("w-3"))
    assert set(withdrawals(control_planes_done(*nodes, plan=plan))) == {"w-1", "w-2"}
    snapshot = control_planes_done(*nodes, plan=plan, active_plan="older")
    assert (orders(snapshot), withdrawals(snapshot), configured(snapshot)) == ({}, {}, {})


# --- what broke between claim and order ---------------------------------------------------------


def test_a_claim_that_could_not_be_made_now_is_given_up_instead_of_ordered() -> None:
    """So that it blocks nobody: what may start now is asked anew."""
    wide = a_plan(CONTROL, replace(WORKERS, max_unavailable=2), claims=[a_claim("w-1")])
    plans = {"w-1": wide}
    for node, others, changed in (
        (a_node("w-1", ready=False), (), {}),
        (a_node("w-1"), (a_node("w-2", unschedulable=True), a_node("w-3", ready=False)), {}),
        (a_node("w-1"), (), {"pods": [p for i in (1, 2, 3) for p in static_pods(f"cp-{i}", NEW, ready=i != 2)]}),
        (a_node("w-1"), (a_node("cp-4", kubelet=OLD),), {}),
    ):
        snapshot = control_planes_done(node, *others, plan=plans["w-1"], **changed)
        assert "w-1" not in orders(snapshot)
        assert "w-1" in withdrawals(snapshot)
        assert held(snapshot, "w-1") is not None


def test_claims_beyond_a_budget_that_shrank_are_given_up_before_they_are_ordered() -> None:
    plan = a_plan(claims=[a_claim("w-1"), a_claim("w-2")])
    snapshot = control_planes_done(a_node("w-1"), a_node("w-2"), plan=plan)
    assert orders(snapshot) == {}
    assert withdrawals(snapshot)


def test_claims_within_the_budget_are_all_ordered() -> None:
    plan = a_plan(CONTROL, replace(WORKERS, max_unavailable=2), claims=[a_claim("w-1"), a_claim("w-2")])
    assert list(orders(control_planes_done(a_node("w-1"), a_node("w-2"), plan=plan))) == ["w-1", "w-2"]


def test_a_single_members_own_etcd_must_be_healthy_at_its_order() -> None:
    pods = static_pods("cp-1", broken=["etcd"])
    snapshot = seen(a_node("cp-1"), plan=a_plan(CONTROL, claims=[a_claim("cp-1")]), pods=pods)
    assert orders(snapshot) == {}


def test_no_order_after_the_groups_last_bearable_failure() -> None:
    group = replace(WORKERS, max_unavailable=2)
    plan = a_plan(CONTROL, group, claims=[a_claim("w-1"), a_claim("w-2")])
    snapshot = control_planes_done(a_node("w-1", **said(NodeStatus.ERROR)), a_node("w-2"), plan=plan)
    assert orders(snapshot) == {}


# --- the end of a claim -------------------------------------------------------------------------


def test_a_claim_whose_node_object_is_gone_or_was_created_anew_is_over() -> None:
    gone = control_planes_done(a_node("w-2"), plan=CLAIMED)
    assert "w-1" not in claims(gone)
    reborn = control_planes_done(a_node("w-1", uid="another"), plan=CLAIMED)
    assert claims(reborn)["w-1"].uid == "another"
    assert orders(reborn)["w-1"].claim.uid == "another"


def test_what_a_status_rests_on_is_named_with_it() -> None:
    """Nodes whose claims end because they are not there, and nodes whose work under way is adopted."""
    for other in (a_node("w-2"), a_node("w-1", uid="another")):
        gone = control_planes_done(other, plan=CLAIMED)
        (publish,) = [action for action in decide(gone).actions if isinstance(action, PublishStatus)]
        assert (publish.gone, publish.adopts) == ((("w-1", "w-1-uid"),), ())

    busy = a_node("w-1", resource_version="77", **said(NodeStatus.UPGRADING))
    (publish,) = [a for a in decide(control_planes_done(busy)).actions if isinstance(a, PublishStatus)]
    assert (publish.gone, publish.adopts) == ((), (busy,))


def go_on(world: World, until: Callable[[], object]) -> None:
    while not until():
        turn(world)
        for name in sorted(world.machines):
            world.machines[name].step()
        world.now += SECOND


def test_a_late_copy_of_the_nodes_ends_no_claim_by_the_proof_of_the_order_before() -> None:
    """A node that was rolled back is upgraded again; the late copy shows it as it was when it first had ended."""
    world = World(a_plan(), a_cluster(1, 2))
    go_on(world, lambda: world.nodes["w-2"].report.status is NodeStatus.PENDING)
    late = world.state
    assert (late.nodes["w-1"].kubelet, [claim.node for claim in late.plan.status.claims]) == (NEW, ["w-2"])
    go_on(world, lambda: world.plan.status.summary == "Complete")
    world.patch("w-1", kubelet=OLD)
    go_on(world, lambda: world.nodes["w-1"].report.status is NodeStatus.UPGRADING)
    seen_late = world.snapshot(nodes=late)
    for _ in carry_out(world, seen_late, decide(seen_late)):
        pass
    assert "w-1" in {claim.node for claim in world.plan.status.claims}
    go_on(world, lambda: world.plan.status.summary == "Complete")
    assert world.nodes["w-1"].kubelet == NEW


def test_only_a_proof_that_may_be_an_earlier_orders_has_to_be_looked_at_again() -> None:
    """A read for each of thousands of nodes would be too dear."""
    for untimed, looked_at in ((False, ()), (True, (upgraded("w-1"),))):
        ended = control_planes_done(upgraded("w-1"), plan=a_plan(claims=[a_claim("w-1", untimed=untimed)]))
        (publish,) = [action for action in decide(ended).actions if isinstance(action, PublishStatus)]
        assert publish.adopts == looked_at


def test_a_claim_that_was_made_from_a_late_copy_is_marked_before_its_order() -> None:
    free = control_planes_done(replace(ROLLED_BACK, order=None, withdrawn=NOW - HOUR), plan=CLAIMED)
    assert orders(free)["w-1"].claim == claims(free)["w-1"] == a_claim("w-1", untimed=True)


def test_a_claimed_node_on_which_nothing_can_be_written_says_why() -> None:
    snapshot = replace(control_planes_done(a_node("w-1"), plan=CLAIMED), refused={"w-1": "denied", "w-2": "denied"})
    assert decide(snapshot).holds["w-1"] == Hold(
        Reason.PATCH_REFUSED, "the API server refuses what is to be written on it: denied"
    )
    ordered = replace(snapshot, nodes=control_planes_done(a_node("w-1", **said())).nodes)
    assert "w-1" not in decide(ordered).holds
    paused = replace(snapshot, plan=replace(CLAIMED, paused=True))
    assert held(paused, "w-1") is Reason.PAUSED, "what is refused then is that the order is taken back"


def test_of_two_claims_for_one_node_only_one_survives() -> None:
    twin = a_claim("w-1", since=NOW - HOUR)
    snapshot = control_planes_done(a_node("w-1", **said()))
    plan = replace(snapshot.plan, status=replace(snapshot.plan.status, claims=(twin, a_claim("w-1"))))
    assert decide(replace(snapshot, plan=plan)).status.claims == (a_claim("w-1"),)


def test_without_a_soak_a_proven_node_is_released_at_once_and_the_next_one_claimed() -> None:
    snapshot = control_planes_done(upgraded("w-1"), a_node("w-2"), plan=CLAIMED)
    assert list(claims(snapshot)) == ["w-2"]


@pytest.mark.parametrize(
    "lacking",
    [{"ready": False}, {"kubelet": OLD}, {"report": Report(status=NodeStatus.REBASING)}, {"drain": a_drain()}],
)
def test_completed_needs_evidence(lacking: dict[str, Any]) -> None:
    """Kubelet's version, Ready, the daemon's word, and the lock given back."""
    snapshot = control_planes_done(upgraded("w-1", **lacking), a_node("w-2"), plan=CLAIMED)
    assert [(claim.node, claim.since, claim.proven_at) for claim in claims(snapshot).values()] == [
        ("w-1", a_claim("w-1").since, None)
    ]


def test_a_control_plane_node_is_proven_only_with_its_static_pods() -> None:
    plan = a_plan(claims=[a_claim("cp-1")])
    nodes = replaced(a_cluster(3, 0), upgraded("cp-1"))
    ready = [pod for i in (1, 2, 3) for pod in static_pods(f"cp-{i}", NEW if i == 1 else OLD)]
    assert "cp-1" not in claims(seen(*nodes, plan=plan, pods=ready))
    for component in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        for spoiled in ({"version": OLD}, {"ready": False}):
            pods = [
                replace(pod, **spoiled) if (pod.node, pod.component) == ("cp-1", component) else pod for pod in ready
            ]
            assert "cp-1" in claims(seen(*nodes, plan=plan, pods=pods))


def test_a_node_that_says_completed_but_is_not_says_what_is_missing() -> None:
    """Else nothing could happen any more and nobody would read why."""
    for lacking, message in (
        ({"kubelet": OLD}, "the daemon says completed; its kubelet is v1.36.3, not v1.37.2"),
        ({"ready": False}, "the daemon says completed; the node is not Ready"),
    ):
        snapshot = control_planes_done(upgraded("w-1", **lacking), plan=CLAIMED)
        hold = decide(snapshot).holds["w-1"]
        assert (hold.reason, hold.message) == (Reason.NOT_PROVEN, message)
    nodes = replaced(a_cluster(3, 0), upgraded("cp-1"))
    pods = [pod for i in (1, 2, 3) for pod in static_pods(f"cp-{i}", NEW if i == 1 else OLD, broken=["kube-scheduler"])]
    hold = decide(seen(*nodes, plan=a_plan(claims=[a_claim("cp-1")]), pods=pods)).holds["cp-1"]
    assert hold.message == "the daemon says completed; its static pods are not all Ready at v1.37.2"


def test_the_soak_begins_when_the_node_is_proven_and_ends_the_claim() -> None:
    plan = a_plan(CONTROL, replace(WORKERS, soak=5 * MINUTE), claims=[a_claim("w-1")])
    snapshot = control_planes_done(upgraded("w-1"), plan=plan)
    assert claims(snapshot)["w-1"].proven_at == NOW
    plan = replace(plan, status=decide(snapshot).status)
    assert claims(replace(snapshot, plan=plan, now=NOW + 5 * MINUTE - TICK))["w-1"].proven_at == NOW
    assert claims(replace(snapshot, plan=plan, now=NOW + 5 * MINUTE)) == {}


def test_a_node_that_falls_ill_in_its_soak_begins_it_anew() -> None:
    plan = a_plan(CONTROL, replace(WORKERS, soak=5 * MINUTE), claims=[a_claim("w-1", proven_at=NOW - MINUTE)])
    ill = control_planes_done(upgraded("w-1", ready=False), plan=plan)
    assert claims(ill)["w-1"].proven_at is None
    well = control_planes_done(upgraded("w-1"), plan=replace(plan, status=decide(ill).status), now=ill.now + SECOND)
    assert claims(well)["w-1"].proven_at == NOW + SECOND


def test_a_proven_node_that_no_group_selects_any_more_needs_no_soak() -> None:
    assert claims(control_planes_done(upgraded("w-1"), plan=a_plan(CONTROL, claims=[a_claim("w-1")]))) == {}


def test_a_failed_node_keeps_its_claim() -> None:
    snapshot = control_planes_done(a_node("w-1", **said(NodeStatus.ERROR)), a_node("w-2"), plan=CLAIMED)
    assert list(claims(snapshot)) == ["w-1"]


def test_a_claim_follows_its_node_into_another_group() -> None:
    pool = a_group("pool", selector=having("pool", "a"))
    node = a_node("w-1", labels={"pool": "a"}, **said())
    assert claims(control_planes_done(node, plan=a_plan(CONTROL, pool, claims=[a_claim("w-1")])))["w-1"].group == "pool"


# --- orders and work that nobody claimed --------------------------------------------------------


@pytest.mark.parametrize("status", [NodeStatus.UPGRADING, NodeStatus.REBASING, NodeStatus.ERROR])
def test_a_plan_that_is_not_the_active_one_adopts_nothing(status: NodeStatus) -> None:
    """Its nodes are the active plan's; else both would tell how each upgrade went on and ended."""
    busy = control_planes_done(a_node("w-1", **said(status)), active_plan="older")
    decision = decide(busy)
    assert (decision.status.claims, decision.status.summary) == ((), "Waiting")


@pytest.mark.parametrize("status", [NodeStatus.PENDING, None])
def test_an_order_without_a_claim_that_has_not_reached_kubeadm_is_withdrawn(status: NodeStatus | None) -> None:
    """Upstream orders a whole group at once."""
    foreign = [a_node(f"w-{i}", **said(status, kubeadm=None)) for i in (1, 2, 3)]
    assert list(withdrawals(control_planes_done(*foreign))) == ["w-1", "w-2", "w-3"]


def test_an_order_on_a_node_in_two_groups_is_withdrawn_as_well() -> None:
    extra = a_group("gpu", selector=having("gpu", "yes"))
    node = a_node("w-1", labels={"gpu": "yes"}, **said())
    assert "w-1" in withdrawals(control_planes_done(node, plan=a_plan(CONTROL, WORKERS, extra)))


@pytest.mark.parametrize("status", [NodeStatus.PENDING, None])
def test_an_order_of_ours_on_a_node_that_no_group_selects_is_withdrawn(status: NodeStatus | None) -> None:
    """Its plan was deleted while a younger one waited: no claim stands for it any more."""
    stranger = a_node("w-1", **said(status, kubeadm=KubeadmRole.NODE))
    (action,) = withdrawals(control_planes_done(stranger, plan=a_plan(CONTROL))).values()
    assert (action.node, action.reason) == ("w-1", "no claim stands for this order")


def test_an_order_of_upstreams_on_a_node_that_no_group_selects_is_none_of_our_business() -> None:
    stranger = a_node("w-1", **said(kubeadm=None))
    assert withdrawals(control_planes_done(stranger, plan=a_plan(CONTROL))) == {}


@pytest.mark.parametrize("status", [NodeStatus.UPGRADING, NodeStatus.REBASING, NodeStatus.ERROR, NodeStatus.COMPLETED])
def test_a_node_that_no_group_selects_and_that_reached_kubeadm_keeps_its_order(status: NodeStatus) -> None:
    stranger = a_node("w-1", **said(status, kubeadm=KubeadmRole.NODE))
    assert withdrawals(control_planes_done(stranger, plan=a_plan(CONTROL))) == {}


@pytest.mark.parametrize("status", [NodeStatus.UPGRADING, NodeStatus.REBASING])
def test_work_under_way_that_nobody_claimed_is_adopted_and_counts(status: NodeStatus) -> None:
    snapshot = control_planes_done(a_node("w-1", **said(status, v("v1.37.1"))), a_node("w-2"))
    assert (claims(snapshot)["w-1"].version, claims(snapshot)["w-1"].since) == (v("v1.37.1"), NOW)
    assert "w-2" not in claims(snapshot)


@pytest.mark.parametrize("status", [NodeStatus.UPGRADING, NodeStatus.REBASING, NodeStatus.ERROR])
def test_an_open_order_of_an_adopted_node_is_not_taken_back(status: NodeStatus) -> None:
    """Its kubelet is old because it is not done, not because it was rolled back."""
    snapshot = control_planes_done(a_node("w-1", **said(status)))
    assert (list(claims(snapshot)), withdrawals(snapshot)) == (["w-1"], {})


def test_work_under_way_is_adopted_although_its_order_is_gone() -> None:
    snapshot = control_planes_done(a_node("w-1", report=Report(status=NodeStatus.UPGRADING)))
    assert claims(snapshot)["w-1"].version == NEW


def test_adoption_may_go_beyond_the_budget_since_reality_does() -> None:
    flying = [a_node(f"w-{i}", **said(NodeStatus.UPGRADING)) for i in (1, 2, 3)]
    assert list(claims(control_planes_done(*flying, a_node("w-4")))) == ["w-1", "w-2", "w-3"]


def test_a_failed_node_that_nobody_claimed_is_adopted_so_that_it_counts_as_a_failure() -> None:
    snapshot = control_planes_done(a_node("w-1", **said(NodeStatus.ERROR)), a_node("w-2"))
    assert list(claims(snapshot)) == ["w-1"]
    assert held(snapshot, "w-2") is Reason.TOO_MANY_FAILURES


def test_an_error_about_another_version_is_not_adopted() -> None:
    assert started(control_planes_done(a_node("w-1", **said(NodeStatus.ERROR, v("v1.37.1"))))) == ["w-1"]
    stale = a_node("w-1", **said(NodeStatus.ERROR, v("v1.37.1")))
    assert claims(control_planes_done(stale, plan=a_plan(paused=True))) == {}


# --- settings of the daemon ---------------------------------------------------------------------

CONFIGURED = replace(WORKERS, config=NodeConfig(stream="ghcr.io/x/y", fleetlock_group="w"))
WANTED = {"stream": "ghcr.io/x/y", "fleetlock-group": "w"}


def test_settings_are_written_where_they_differ_and_strangers_are_removed() -> None:
    node = a_node("w-1", config={"stream": "old", "fleetlock-group": "w", "check-interval": "1h"})
    plan = a_plan(CONTROL, CONFIGURED, paused=True)
    assert configured(control_planes_done(node, plan=plan))["w-1"].config == {
        "stream": "ghcr.io/x/y",
        "check-interval": None,
    }


def test_settings_that_agree_cost_no_write() -> None:
    wanted = a_node("w-1", config=WANTED)
    snapshot = control_planes_done(wanted, plan=a_plan(CONTROL, replace(CONFIGURED, paused=True)))
    assert "w-1" not in configured(snapshot)


def test_an_order_carries_the_settings_so_that_one_patch_is_enough() -> None:
    snapshot = control_planes_done(a_node("w-1"), plan=a_plan(CONTROL, CONFIGURED, claims=[a_claim("w-1")]))
    assert orders(snapshot)["w-1"].config == WANTED
    assert configured(snapshot) == {}


def test_settings_reach_ordered_nodes_without_a_new_order() -> None:
    plan = a_plan(CONTROL, CONFIGURED, claims=[a_claim("w-1")])
    assert configured(control_planes_done(a_node("w-1", **said()), plan=plan))["w-1"].config == WANTED


def test_a_node_whose_order_is_taken_back_is_configured_by_a_later_patch() -> None:
    """Two patches on one resourceVersion: the second would be refused."""
    plan = a_plan(CONTROL, CONFIGURED, paused=True, claims=[a_claim("w-1")])
    snapshot = control_planes_done(a_node("w-1", **said()), a_node("w-2", **said()), plan=plan)
    assert list(withdrawals(snapshot)) == ["w-1", "w-2"]
    assert configured(snapshot) == {}


def test_no_two_actions_of_one_decision_touch_the_same_node() -> None:
    plan = a_plan(CONTROL, replace(CONFIGURED, max_unavailable=9), claims=[a_claim("w-1"), a_claim("w-2")])
    nodes = (a_node("w-1"), a_node("w-2", hold="x", **said()), a_node("w-3", **said()), a_node("w-4"))
    touched = [a.node for a in decide(control_planes_done(*nodes, plan=plan)).actions if hasattr(a, "node")]
    assert len(touched) == len(set(touched))


def test_the_order_of_an_order_reads_its_version_from_the_claim() -> None:
    """An order for the version before is no order for this claim."""
    node = a_node("w-1", order=Order(version=v("v1.37.1")), report=Report(status=NodeStatus.UPGRADING))
    snapshot = control_planes_done(node, plan=CLAIMED)
    assert (orders(snapshot), withdrawals(snapshot)) == ({}, {})


def test_withdrawals_say_why() -> None:
    ordered = a_node("w-1", **said())
    reasons = {}
    for change, plan in UNWANTED.items():
        action = withdrawals(control_planes_done(ordered, plan=plan))["w-1"]
        assert isinstance(action, WithdrawOrder)
        reasons[change] = action.reason
    assert reasons["paused"] == "the plan is paused: spec.paused"
    assert reasons["group gone"] == "not exactly one group selects this node"
    assert reasons["another version"] == "the plan now goes to v1.37.3"
