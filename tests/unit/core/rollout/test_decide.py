"""One decision as a whole: total, repeatable, with the moment to look again."""

from dataclasses import replace
from datetime import timedelta

from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.model.action import PublishStatus
from kube_upgrade.model.node import NodeStatus
from kube_upgrade.model.plan import Freeze, Percent
from kube_upgrade.model.status import MAX_CLAIMS, Reason
from support.builders import (
    CONTROL,
    DAY,
    HOUR,
    MINUTE,
    NEW,
    NOW,
    WORKERS,
    a_claim,
    a_cluster,
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
from support.decisions import claims, held, orders, started, status, withdrawals


def test_the_same_snapshot_gives_the_same_decision() -> None:
    assert decide(seen()) == decide(seen())


def test_a_cluster_without_nodes_or_groups_gets_a_decision_too() -> None:
    empty = replace(seen(), nodes=(), static_pods=())
    assert decide(empty).status.summary == "Unknown"
    assert decide(replace(empty, plan=replace(a_plan(), groups=()))).status.summary == "Unknown"


def test_status_comes_first_so_that_claims_are_written_before_anything_rests_on_them() -> None:
    plan = a_plan(claims=[a_claim("w-1")])
    assert isinstance(decide(control_planes_done(plan=plan)).actions[0], PublishStatus)


def test_at_most_a_thousand_claims_are_open_and_the_rest_says_so() -> None:
    plan = a_plan(CONTROL, replace(WORKERS, max_unavailable=Percent(100)))
    snapshot = control_planes_done(*(a_node(f"w-{i:04}") for i in range(1_010)), plan=plan)
    assert len(started(snapshot)) == MAX_CLAIMS == 1_000
    assert held(snapshot, "w-1009") is Reason.BUDGET
    plan = replace(plan, status=decide(snapshot).status)
    assert started(replace(snapshot, plan=plan)) == []


def test_every_node_that_is_not_done_is_claimed_or_says_why_it_waits() -> None:
    for snapshot in (seen(), control_planes_done(), seen(plan=a_plan(paused=True)), seen(plan=a_plan(WORKERS))):
        decision = decide(snapshot)
        claimed = {claim.node for claim in decision.status.claims}
        for name in {node.name for node in snapshot.nodes if node.kubelet != NEW} - claimed:
            assert name in decision.holds


def test_a_finished_cluster_asks_for_nothing() -> None:
    snapshot = control_planes_done(*(upgraded(f"w-{i}") for i in (1, 2, 3)))
    snapshot = replace(
        snapshot,
        plan=replace(snapshot.plan, status=decide(snapshot).status),
        nodes=tuple(replace(node, os_updates=(NOW + DAY).isoformat()) for node in snapshot.nodes),
    )
    decision = decide(snapshot)
    assert (decision.actions, decision.holds) == ((), {})
    assert decision.wake_at == NOW + DAY / 2, "the permission for OS updates is renewed at half time"


# --- when to look again -------------------------------------------------------------------------


def test_without_clocks_in_the_plan_only_events_wake() -> None:
    assert decide(seen()).wake_at is None


def test_it_wakes_when_the_next_window_opens() -> None:
    plan = a_plan(windows=(a_window("0 20 * * *", 2),))
    assert decide(seen(plan=plan)).wake_at == NOW + 12 * HOUR


def test_it_wakes_when_the_open_window_closes_to_take_orders_back() -> None:
    plan = a_plan(windows=(a_window("0 7 * * *", 2),))
    assert decide(seen(plan=plan)).wake_at == NOW + HOUR


def test_it_wakes_when_a_freeze_begins_and_when_it_ends() -> None:
    plan = a_plan(freezes=(Freeze(since=NOW + HOUR, until=NOW + 2 * HOUR),))
    assert decide(seen(plan=plan)).wake_at == NOW + HOUR
    assert decide(seen(plan=plan, now=NOW + HOUR)).wake_at == NOW + 2 * HOUR


def test_it_wakes_when_the_first_soak_ends() -> None:
    group = replace(WORKERS, soak=5 * MINUTE, max_unavailable=2)
    soaking = [a_claim("w-1", since=NOW - HOUR, proven_at=NOW - MINUTE),
               a_claim("w-2", since=NOW - HOUR, proven_at=NOW - 2 * MINUTE)]  # fmt: skip
    snapshot = control_planes_done(upgraded("w-1"), upgraded("w-2"), plan=a_plan(CONTROL, group, claims=soaking))
    assert decide(snapshot).wake_at == NOW + 3 * MINUTE


def test_it_wakes_for_a_soak_that_begins_with_this_decision() -> None:
    plan = a_plan(CONTROL, replace(WORKERS, soak=5 * MINUTE), claims=[a_claim("w-1")])
    assert decide(control_planes_done(upgraded("w-1"), plan=plan)).wake_at == NOW + 5 * MINUTE


def test_it_wakes_when_an_orders_start_before_passes() -> None:
    """The window was made longer since: the order must be given anew then."""
    ordered = a_node("w-1", **said(start_before=NOW + MINUTE))
    plan = a_plan(windows=(a_window("0 7 * * *", 9),), claims=[a_claim("w-1")])
    assert decide(control_planes_done(ordered, plan=plan)).wake_at == NOW + MINUTE


# --- several hops -------------------------------------------------------------------------------

V35, V36, V37 = v("v1.35.9"), v("v1.36.4"), NEW
THREE = a_plan(version=V37, via=(V35, V36))


def hop(*nodes: object, plan: object = THREE, **changed: object) -> object:
    return decide(seen(*nodes, plan=plan, **changed)).hop  # type: ignore[arg-type]


def test_one_full_pass_of_the_cluster_per_hop() -> None:
    cluster = a_cluster(kubelet=v("v1.34.5"))
    assert hop(*cluster) == V35
    assert hop(*replaced(cluster, *(upgraded(f"cp-{i}", V35) for i in (1, 2, 3)))) == V35
    assert hop(*(upgraded(node.name, V35) for node in cluster)) == V36
    assert hop(*(upgraded(node.name, V36) for node in cluster)) == V37
    assert hop(*(upgraded(node.name, V37) for node in cluster)) == V37


def test_a_claim_for_the_next_hop_does_not_lead_back_to_the_one_before() -> None:
    cluster = [upgraded(node.name, V35) for node in a_cluster()]
    plan = replace(THREE, status=replace(THREE.status, claims=(a_claim("cp-1", version=V36),)))
    snapshot = seen(*cluster, plan=plan)
    assert decide(snapshot).hop == V36
    assert list(orders(snapshot)) == ["cp-1"]
    assert withdrawals(snapshot) == {}


def test_a_node_that_reboots_into_the_next_hop_does_not_lead_back_to_the_one_before() -> None:
    cluster = [upgraded(node.name, V35) for node in a_cluster()]
    rebooting = a_node("cp-1", kubelet=V35, ready=False, **said(NodeStatus.REBASING, V36))
    plan = replace(THREE, status=replace(THREE.status, claims=(a_claim("cp-1", version=V36),)))
    pods = [pod for i in (1, 2, 3) for pod in static_pods(f"cp-{i}", V36 if i == 1 else V35, ready=i > 1)]
    assert hop(*replaced(cluster, rebooting), plan=plan, pods=pods) == V36


def test_another_node_that_falls_ill_during_a_hop_does_not_lead_back_and_takes_no_order_back() -> None:
    cluster = [upgraded(node.name, V35) for node in a_cluster()]
    nodes = replaced(cluster, upgraded("cp-1", V36), a_node("cp-2", kubelet=V35, **said(version=V36)),
                     upgraded("w-3", V35, ready=False))  # fmt: skip
    plan = replace(THREE, status=replace(THREE.status, claims=(a_claim("cp-2", version=V36),)))
    snapshot = seen(*nodes, plan=plan)
    assert (decide(snapshot).hop, withdrawals(snapshot)) == (V36, {})


def test_between_two_claims_an_ill_node_does_not_lead_back_either() -> None:
    """An API server at the hop is enough to know that it has begun."""
    cluster = [upgraded(node.name, V35) for node in a_cluster()]
    nodes = replaced(cluster, upgraded("cp-1", V36), upgraded("w-3", V35, ready=False))
    assert hop(*nodes) == V36


def test_a_node_beyond_the_hop_does_not_hold_it_up() -> None:
    """Whatever it says about a version further on."""
    cluster = [upgraded(node.name, V35) for node in a_cluster()]
    assert hop(*replaced(cluster, upgraded("w-1", V36, **said(NodeStatus.ERROR, V36)))) == V36


def test_a_hop_does_not_begin_before_everything_is_ready_at_the_one_before() -> None:
    cluster = [upgraded(node.name, V35) for node in a_cluster()]
    snapshot = seen(*replaced(cluster, upgraded("w-3", V35, ready=False)), plan=THREE)
    assert (decide(snapshot).hop, started(snapshot)) == (V35, [])
    assert held(snapshot, "w-3") is Reason.NODE_NOT_READY


def test_a_node_beyond_the_hop_is_left_alone() -> None:
    """A worker that came with a newer image waits for the rest; it is never sent back."""
    cluster = a_cluster(kubelet=v("v1.34.5"))
    early = upgraded("w-1", V36, **said(NodeStatus.ERROR, V36))
    snapshot = seen(*replaced(cluster, early), plan=replace(THREE, allow_downgrade=True))
    assert "w-1" not in claims(snapshot)


def test_workers_that_may_skip_hops_go_once_and_directly() -> None:
    plan = replace(THREE, workers_skip_hops=True)
    control = [upgraded(f"cp-{i}", V35) for i in (1, 2, 3)]
    workers = a_cluster(0, 3, kubelet=v("v1.34.5"))
    assert hop(*control, *workers, plan=plan) == V36
    control = [upgraded(f"cp-{i}", V37) for i in (1, 2, 3)]
    snapshot = seen(*control, *workers, plan=plan)
    assert [claims(snapshot)[name].version for name in started(snapshot)] == [V37]


def test_workers_skip_no_hop_that_would_leave_them_four_minors_behind_the_next() -> None:
    plan = replace(THREE, workers_skip_hops=True)
    control = [upgraded(f"cp-{i}", V36) for i in (1, 2, 3)]
    old, fair = a_node("w-1", kubelet=v("v1.33.5")), a_node("w-2", kubelet=v("v1.34.5"))
    snapshot = seen(*control, old, fair, plan=plan)
    assert (decide(snapshot).hop, started(snapshot)) == (V36, ["w-1"])


def test_a_control_plane_node_outside_the_plan_holds_its_hop_for_all_and_says_so() -> None:
    """API servers may be one minor apart, no more."""
    mine = a_group("control-plane", selector=having("pool", "mine"))
    nodes = [upgraded(f"cp-{i}", V35, labels={"pool": "mine"}) for i in (1, 2)]
    snapshot = seen(*nodes, a_node("cp-3", kubelet=v("v1.34.5")), plan=replace(THREE, groups=(mine,)))
    assert (decide(snapshot).hop, started(snapshot)) == (V35, [])
    assert held(snapshot, "cp-3") is Reason.UNMANAGED_CONTROL_PLANE


def test_a_node_in_two_groups_holds_the_hop() -> None:
    plan = replace(THREE, groups=(CONTROL, WORKERS, a_group("gpu", selector=having("gpu", "yes"))))
    nodes = [upgraded(node.name, V35) for node in a_cluster(3, 1)]
    torn = a_node("w-2", kubelet=v("v1.34.5"), labels={"gpu": "yes"})
    snapshot = seen(*nodes, torn, plan=plan)
    assert (decide(snapshot).hop, started(snapshot)) == (V35, [])
    assert held(snapshot, "w-2") is Reason.GROUP_CONFLICT


def test_the_target_may_change_while_a_hop_is_under_way() -> None:
    cluster = [upgraded(node.name, V35) for node in a_cluster()]
    ordered = a_node("cp-1", kubelet=V35, **said(version=V36))
    plan = replace(THREE, via=(V35,), version=v("v1.36.9"))
    plan = replace(plan, status=replace(plan.status, claims=(a_claim("cp-1", version=V36),)))
    snapshot = seen(*replaced(cluster, ordered), plan=plan)
    assert decide(snapshot).hop == v("v1.36.9")
    assert list(withdrawals(snapshot)) == ["cp-1"]


def test_a_completed_hop_publishes_progress() -> None:
    cluster = [upgraded(node.name, V35) for node in a_cluster()]
    found = status(seen(*cluster, plan=THREE)).version
    assert found is not None
    assert (found.hop, found.hops) == (2, 3)


def test_a_downgrade_must_be_met_exactly() -> None:
    plan = a_plan(version=v("v1.37.1"), allow_downgrade=True)
    snapshot = seen(*a_cluster(kubelet=NEW), plan=plan)
    assert started(snapshot) == ["cp-1"]
    assert decide(snapshot).status.claims[0].version == v("v1.37.1")


def test_time_alone_changes_nothing() -> None:
    snapshot = seen()
    snapshot = replace(snapshot, plan=replace(snapshot.plan, status=decide(snapshot).status))
    later = replace(snapshot, now=NOW + timedelta(days=30))
    assert decide(later).status == decide(snapshot).status
