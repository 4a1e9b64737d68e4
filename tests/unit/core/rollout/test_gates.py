"""Each gate: the rule is the test's name. The chain's order is a promise too: the first answer is the one shown."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kube_upgrade.core.rollout.fleet import survey
from kube_upgrade.core.rollout.gates import GATES, first_hold, quorum_remains, start_hold
from kube_upgrade.model.node import Node, NodeStatus, Order, Report
from kube_upgrade.model.plan import Freeze, Group, Percent
from kube_upgrade.model.status import Reason
from support.builders import (
    CONTROL,
    HOUR,
    MINUTE,
    NEW,
    NOW,
    OLD,
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
from support.decisions import held, started, why, withdrawals


def test_nothing_in_the_way_starts_the_first_control_plane_node_and_no_other() -> None:
    assert started(seen()) == ["cp-1"]


# --- the plan as a whole ------------------------------------------------------------------------


def test_only_the_oldest_plan_starts_nodes() -> None:
    snapshot = seen(active_plan="older")
    assert started(snapshot) == []
    assert why(snapshot, "cp-1") == "plan older is older and active"
    assert held(snapshot, "w-1") is Reason.ANOTHER_PLAN_ACTIVE


def test_a_plan_that_is_being_deleted_starts_nothing() -> None:
    snapshot = seen(plan=a_plan(deleted=True))
    assert (started(snapshot), held(snapshot, "cp-1")) == ([], Reason.PLAN_DELETED)


def test_a_paused_plan_starts_nothing() -> None:
    snapshot = seen(plan=a_plan(paused=True))
    assert (started(snapshot), held(snapshot, "cp-1")) == ([], Reason.PAUSED)


def test_a_setting_that_only_we_can_check_stops_everything_and_is_quoted() -> None:
    snapshot = seen(plan=a_plan(problems=("spec.windows[0].timeZone: 'Mars' is no zone", "spec.via[0]: 'x'")))
    assert (started(snapshot), held(snapshot, "w-1")) == ([], Reason.INVALID_SETTING)
    assert why(snapshot, "w-1") == "spec.windows[0].timeZone: 'Mars' is no zone; spec.via[0]: 'x'"


def test_no_node_starts_on_a_way_that_skips_a_minor() -> None:
    snapshot = seen(plan=a_plan(version=v("v1.38.0")))
    assert (started(snapshot), held(snapshot, "w-1")) == ([], Reason.MINOR_SKIPPED)


def test_no_node_starts_while_an_api_servers_version_is_unknown() -> None:
    snapshot = seen(pods=(*static_pods("cp-1"), *static_pods("cp-2")))
    assert (started(snapshot), held(snapshot, "cp-1")) == ([], Reason.VERSION_UNKNOWN)


def test_nodes_start_only_inside_a_window_and_the_hold_says_when_the_next_opens() -> None:
    snapshot = seen(plan=a_plan(windows=(a_window("0 2 * * *", 4),)))
    assert (started(snapshot), held(snapshot, "cp-1")) == ([], Reason.OUTSIDE_WINDOW)
    assert why(snapshot, "cp-1") == "no window is open; the next opens at 2026-11-25 02:00 UTC"
    assert started(replace(snapshot, now=NOW - 4 * HOUR)) == ["cp-1"]


def test_a_plan_without_windows_may_start_at_any_time() -> None:
    assert started(seen(plan=a_plan(windows=()))) == ["cp-1"]


def test_no_node_starts_in_a_freeze_and_the_hold_says_until_when_and_why() -> None:
    freeze = Freeze(since=NOW, until=NOW + 24 * HOUR, reason="holidays")
    snapshot = seen(plan=a_plan(freezes=(freeze,)))
    assert (started(snapshot), held(snapshot, "cp-1")) == ([], Reason.FREEZE)
    assert why(snapshot, "cp-1") == "frozen until 2026-11-25 08:00 UTC (holidays)"
    assert started(replace(snapshot, now=freeze.until)) == ["cp-1"]


def test_a_freeze_without_a_reason_gives_none() -> None:
    snapshot = seen(plan=a_plan(freezes=(Freeze(since=NOW, until=NOW + HOUR),)))
    assert why(snapshot, "cp-1") == "frozen until 2026-11-24 09:00 UTC"


@pytest.mark.parametrize("component", ["kube-apiserver", "etcd"])
def test_no_node_starts_while_an_api_server_or_etcd_member_is_not_ready(component: str) -> None:
    pods = (*static_pods("cp-1"), *static_pods("cp-2", broken=[component]), *static_pods("cp-3"))
    snapshot = seen(pods=pods)
    assert (started(snapshot), held(snapshot, "cp-1")) == ([], Reason.API_UNHEALTHY)
    assert why(snapshot, "cp-1") == f"{component} on cp-2 is not Ready"


def test_the_pods_of_a_node_that_is_just_being_upgraded_may_be_down() -> None:
    node = a_node("cp-1", **said(NodeStatus.UPGRADING))
    plan = a_plan(claims=[a_claim("cp-1")])
    pods = (*static_pods("cp-1", ready=False), *static_pods("cp-2"), *static_pods("cp-3"))
    assert held(seen(*replaced(a_cluster(), node), plan=plan, pods=pods), "cp-2") is Reason.CONTROL_PLANE_FIRST


# --- one group, one node ------------------------------------------------------------------------


def test_a_paused_group_starts_nothing_and_the_others_go_on() -> None:
    snapshot = seen(plan=a_plan(CONTROL, replace(WORKERS, paused=True)))
    assert held(snapshot, "w-1") is Reason.PAUSED
    assert why(snapshot, "w-1") == "group workers is paused"
    assert started(snapshot) == ["cp-1"]


def test_a_node_with_the_hold_annotation_is_left_alone_and_the_next_one_goes() -> None:
    snapshot = seen(*replaced(a_cluster(), a_node("cp-1", hold="until Friday: disk swap")))
    assert started(snapshot) == ["cp-2"]
    assert (held(snapshot, "cp-1"), why(snapshot, "cp-1")) == (
        Reason.NODE_HOLD,
        "annotation hold says 'until Friday: disk swap'",
    )


def test_an_empty_hold_annotation_is_a_hold_as_well() -> None:
    assert held(seen(*replaced(a_cluster(), a_node("cp-1", hold=""))), "cp-1") is Reason.NODE_HOLD


def test_one_nodes_own_kubelet_may_be_too_far_behind() -> None:
    snapshot = control_planes_done(a_node("w-1", kubelet=v("v1.34.1")), a_node("w-2"))
    assert held(snapshot, "w-1") is Reason.MINOR_SKIPPED
    assert started(snapshot) == ["w-2"]


def test_a_node_in_two_groups_is_held_and_both_are_named() -> None:
    extra = a_group("gpu", selector=having("gpu", "yes"))
    nodes = replaced(a_cluster(0, 2), a_node("w-1", labels={"gpu": "yes"}))
    snapshot = control_planes_done(*nodes, plan=a_plan(CONTROL, WORKERS, extra))
    assert held(snapshot, "w-1") is Reason.GROUP_CONFLICT
    assert "workers" in why(snapshot, "w-1")
    assert "gpu" in why(snapshot, "w-1")
    assert started(snapshot) == ["w-2"]


# --- control planes -----------------------------------------------------------------------------


def test_only_one_control_plane_node_at_a_time_whatever_the_budget_and_whatever_the_group() -> None:
    one = a_group("one", selector=having("which", "one"), max_unavailable=5)
    two = a_group("two", selector=having("which", "two"), max_unavailable=Percent(100))
    nodes = [a_node(f"cp-{i}", labels={"which": "one" if i < 3 else "two"}) for i in (1, 2, 3, 4)]
    snapshot = seen(*nodes, plan=a_plan(one, two))
    assert started(snapshot) == ["cp-1"]
    assert {held(snapshot, name) for name in ("cp-2", "cp-3", "cp-4")} == {Reason.CONTROL_PLANE_FIRST}
    assert why(snapshot, "cp-4") == "control-plane node cp-1 is being upgraded"


def test_a_control_plane_node_waits_for_the_soak_of_the_one_before() -> None:
    control = replace(CONTROL, soak=5 * MINUTE)
    plan = a_plan(control, WORKERS, claims=[a_claim("cp-1", proven_at=NOW - MINUTE)])
    snapshot = seen(*replaced(a_cluster(), upgraded("cp-1")), plan=plan)
    assert started(snapshot) == []


def test_a_control_plane_that_is_changed_without_a_claim_and_outside_the_plan_counts_as_busy() -> None:
    alien = a_node("cp-1", labels={"pool": "other"}, **said(NodeStatus.UPGRADING))
    mine = a_group("control-plane", selector=having("pool", "mine"))
    others = [a_node(f"cp-{i}", labels={"pool": "mine"}) for i in (2, 3)]
    assert started(seen(alien, *others, plan=a_plan(mine))) == []


def test_no_worker_starts_before_every_control_plane_node_is_proven() -> None:
    nodes = replaced(a_cluster(), upgraded("cp-1"), upgraded("cp-2"))
    snapshot = seen(*nodes)
    assert held(snapshot, "w-1") is Reason.CONTROL_PLANE_FIRST
    assert why(snapshot, "w-1") == "control-plane node cp-3 is not proven at v1.37.2"


def test_workers_start_once_every_control_plane_node_is_proven() -> None:
    assert started(control_planes_done()) == ["w-1"]


@pytest.mark.parametrize("lacking", [{"ready": False}, {"kubelet": OLD}, {"kubelet": None}])
def test_a_control_plane_node_that_says_completed_without_evidence_releases_no_worker(
    lacking: dict[str, Any],
) -> None:
    nodes = replaced(a_cluster(), *(upgraded(f"cp-{i}") for i in (1, 2)), upgraded("cp-3", **lacking))
    assert started(seen(*nodes, pods=[pod for i in (1, 2, 3) for pod in static_pods(f"cp-{i}", NEW)])) != ["w-1"]


@pytest.mark.parametrize("component", ["kube-apiserver", "kube-controller-manager", "kube-scheduler"])
def test_a_control_plane_node_with_an_old_static_pod_releases_no_worker(component: str) -> None:
    pods = [
        replace(pod, version=OLD) if (pod.node, pod.component) == ("cp-2", component) else pod
        for i in (1, 2, 3)
        for pod in static_pods(f"cp-{i}", NEW)
    ]
    nodes = replaced(a_cluster(), *(upgraded(f"cp-{i}") for i in (1, 2, 3)))
    assert held(seen(*nodes, pods=pods), "w-1") is Reason.CONTROL_PLANE_FIRST


def test_a_control_plane_node_that_no_group_selects_holds_the_workers_and_is_named() -> None:
    snapshot = seen(plan=a_plan(WORKERS))
    assert held(snapshot, "w-1") is Reason.UNMANAGED_CONTROL_PLANE
    assert "cp-1" in why(snapshot, "w-1")


def test_the_role_comes_from_kubeadms_label_and_not_from_the_groups_name() -> None:
    """Upstream trusts the name; a mislabelled group must not let workers overtake."""
    masters = a_group("workers", selector=CONTROL.selector)
    snapshot = seen(plan=a_plan(masters, a_group("control-plane", selector=WORKERS.selector)))
    assert started(snapshot) == ["cp-1"]
    assert held(snapshot, "w-1") is Reason.CONTROL_PLANE_FIRST


def test_no_control_plane_node_starts_while_kubeadm_config_cannot_be_read_and_workers_go_on() -> None:
    """Without it nobody knows whether apply is done; what control planes were told before stands."""
    trouble: dict[str, Any] = {"kubeadm_config": None, "kubeadm_config_trouble": "403 Forbidden: no"}
    snapshot = seen(**trouble)
    assert (started(snapshot), held(snapshot, "cp-1")) == ([], Reason.VERSION_UNKNOWN)
    assert why(snapshot, "cp-1") == "ConfigMap kube-system/kubeadm-config can't be read: 403 Forbidden: no"
    assert started(replace(control_planes_done(), **trouble)) == ["w-1"]
    ordered = seen(
        *replaced(a_cluster(3, 3), a_node("cp-1", **said())), plan=a_plan(claims=[a_claim("cp-1")]), **trouble
    )
    assert withdrawals(ordered) == {}


POOL = a_group("pool", selector=having("pool", "a"))


# --- the skew policy ----------------------------------------------------------------------------


@pytest.mark.parametrize("other", [WORKERS, POOL], ids=["selected", "selected by no group"])
def test_no_api_server_goes_where_a_kubelet_would_be_more_than_three_minors_behind(other: Group) -> None:
    """The version skew policy, and `kubeadm upgrade apply` would refuse it with its lock held."""
    old = a_node("w-9", kubelet=v("v1.33.4"))
    snapshot = seen(*a_cluster(), old, plan=a_plan(CONTROL, other))
    assert (started(snapshot), held(snapshot, "cp-1")) == ([], Reason.KUBELET_TOO_OLD)
    assert why(snapshot, "cp-1") == "kubelets would be more than 3 minors behind v1.37.2: w-9 (v1.33.4)"
    fair = replace(old, kubelet=v("v1.34.0"))
    assert started(seen(*a_cluster(), fair, plan=a_plan(CONTROL, other))) == ["cp-1"]


def test_once_an_api_server_is_there_the_others_follow_whatever_kubelet_joins() -> None:
    """They may be one minor apart, no more; the old kubelet is too far behind already."""
    snapshot = seen(*replaced(a_cluster(), upgraded("cp-1")), a_node("w-9", kubelet=v("v1.33.4")), kubeadm_config=NEW)
    assert started(snapshot) == ["cp-2"]


def test_a_kubelet_that_is_too_old_catches_up_by_the_hops_in_between() -> None:
    """It is not held by the rule that it holds the control planes by."""
    plan = a_plan(via=(v("v1.34.4"), v("v1.35.4"), OLD))
    snapshot = seen(*a_cluster(), a_node("w-9", kubelet=v("v1.33.4")), plan=plan)
    assert started(snapshot) == ["w-9"]


# --- quorum -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "others_down", "starts"),
    [
        (1, 0, True),  # an outage of the API is expected
        (2, 0, True),
        (2, 1, False),  # with one or two, every member must be healthy
        (3, 0, True),
        (3, 1, False),  # one healthy other is no quorum of three
        (4, 1, False),
        (5, 1, True),  # three healthy others are a quorum of five
        (5, 2, False),
    ],
)
def test_the_remaining_healthy_etcd_members_must_be_a_quorum(members: int, others_down: int, starts: bool) -> None:
    """A member is healthy where its node is Ready too: a dead node's mirror pod may still say Ready."""
    down = range(members - others_down + 1, members + 1)
    nodes = [a_node(f"cp-{i}", ready=i not in down) for i in range(1, members + 1)]
    snapshot = seen(*nodes, plan=a_plan(replace(CONTROL, max_unavailable=5)))
    assert (started(snapshot) == ["cp-1"]) is starts
    assert held(snapshot, "cp-1") == (None if starts else Reason.QUORUM_AT_RISK)


def test_a_member_whose_mirror_pod_is_gone_still_counts_as_a_member() -> None:
    """Three members of which one vanished are no cluster of two: stopping a second one loses the quorum."""
    pods = (*static_pods("cp-1"), *static_pods("cp-2", etcd=False), *static_pods("cp-3"))
    snapshot = seen(pods=pods)
    assert (started(snapshot), why(snapshot, "cp-1")) == ([], "etcd on cp-2 is not Ready")
    hold = quorum_remains(survey(snapshot), a_node("cp-1"), CONTROL)
    assert hold is not None
    assert hold.message == "1 other healthy etcd members, 2 needed"


def test_external_etcd_is_not_ours_to_count() -> None:
    pods = [pod for i in (1, 2, 3) for pod in static_pods(f"cp-{i}", etcd=False)]
    assert started(seen(pods=pods)) == ["cp-1"]


def test_workers_are_no_members() -> None:
    """A control-plane node that fell ill after its upgrade: workers wait for it to be proven, not for a quorum."""
    nodes = replaced(a_cluster(), *(upgraded(f"cp-{i}", ready=i < 3) for i in (1, 2, 3)))
    assert held(seen(*nodes), "w-1") is Reason.CONTROL_PLANE_FIRST


# --- dependsOn, failures, soak ------------------------------------------------------------------

POOL_A, POOL_B = (
    a_group("a", selector=having("pool", "a")),
    a_group("b", selector=having("pool", "b"), depends_on=("a",)),
)


def pool(name: str, **changed: Any) -> dict[str, Any]:
    return {"labels": {"pool": name}, **changed}


def test_a_group_waits_until_every_node_it_depends_on_is_proven() -> None:
    workers = (a_node("w-1", **pool("a")), upgraded("w-2", **pool("a")), a_node("w-3", **pool("b")))
    snapshot = control_planes_done(*workers, plan=a_plan(CONTROL, POOL_A, POOL_B))
    assert held(snapshot, "w-3") is Reason.DEPENDENCY
    assert why(snapshot, "w-3") == "group a is not done: w-1"
    assert started(snapshot) == ["w-1"]


def test_a_dependency_is_done_only_after_its_soak() -> None:
    plan = a_plan(CONTROL, replace(POOL_A, soak=5 * MINUTE), POOL_B, claims=[a_claim("w-1", group="a", proven_at=NOW)])
    workers = (upgraded("w-1", **pool("a")), a_node("w-2", **pool("b")))
    snapshot = control_planes_done(*workers, plan=plan)
    assert held(snapshot, "w-2") is Reason.DEPENDENCY
    assert started(replace(snapshot, now=NOW + 5 * MINUTE)) == ["w-2"]


def test_a_dependency_without_nodes_blocks_and_says_so() -> None:
    snapshot = control_planes_done(a_node("w-1", **pool("b")), plan=a_plan(CONTROL, POOL_A, POOL_B))
    assert (held(snapshot, "w-1"), why(snapshot, "w-1")) == (Reason.DEPENDENCY, "group a matches no node")


def test_a_dependency_is_not_done_while_one_of_its_nodes_is_held_in_two_groups() -> None:
    twice = a_group("c", selector=having("twice", "yes"))
    torn = a_node("w-1", labels={"pool": "a", "twice": "yes"})
    workers = (torn, upgraded("w-2", **pool("a")), a_node("w-3", **pool("b")))
    snapshot = control_planes_done(*workers, plan=a_plan(CONTROL, POOL_A, POOL_B, twice))
    assert held(snapshot, "w-3") is Reason.DEPENDENCY


@pytest.mark.parametrize(("failures", "limit", "starts"), [(1, 1, False), (1, 2, True), (2, 2, False)])
def test_at_max_failures_the_group_starts_no_further_node(failures: int, limit: int, starts: bool) -> None:
    group = replace(WORKERS, max_unavailable=5, max_failures=limit)
    broken = [a_node(f"w-{i}", **said(NodeStatus.ERROR, message="disk full")) for i in range(1, failures + 1)]
    plan = a_plan(CONTROL, group, claims=[a_claim(node) for node in broken])
    snapshot = control_planes_done(*broken, a_node("w-9"), plan=plan)
    assert (started(snapshot) == ["w-9"]) is starts
    assert held(snapshot, "w-9") == (None if starts else Reason.TOO_MANY_FAILURES)


def test_failures_of_one_group_do_not_stop_another() -> None:
    broken = a_node("w-1", labels={"pool": "a"}, **said(NodeStatus.ERROR))
    plan = a_plan(CONTROL, POOL_A, replace(POOL_B, depends_on=()), claims=[a_claim(broken, group="a")])
    assert started(control_planes_done(broken, a_node("w-2", **pool("b")), plan=plan)) == ["w-2"]


def test_an_old_error_of_an_earlier_version_is_no_failure_of_this_one() -> None:
    """Claimed for v1.37.2, not ordered yet: what it says is about v1.37.1."""
    stale = a_node("w-1", **said(NodeStatus.ERROR, v("v1.37.1")))
    plan = a_plan(CONTROL, replace(WORKERS, max_unavailable=2), claims=[a_claim("w-1")])
    snapshot = control_planes_done(stale, a_node("w-2"), plan=plan)
    assert started(snapshot) == ["w-2"]


def test_a_finished_node_must_stay_healthy_for_the_soak_before_the_next_starts_even_with_budget_left() -> None:
    group = replace(WORKERS, max_unavailable=3, soak=5 * MINUTE)
    plan = a_plan(CONTROL, group, claims=[a_claim("w-1", proven_at=NOW - MINUTE)])
    snapshot = control_planes_done(upgraded("w-1"), a_node("w-2"), plan=plan)
    assert held(snapshot, "w-2") is Reason.SOAKING
    assert why(snapshot, "w-2") == "w-1 must stay healthy until 08:04:00 UTC"
    assert started(replace(snapshot, now=NOW + 4 * MINUTE)) == ["w-2"]


# --- budget -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "workers", "starts"),
    [
        (1, 4, 1),
        (2, 4, 2),
        (9, 4, 4),
        (Percent(50), 4, 2),
        (Percent(50), 5, 2),  # rounded down
        (Percent(10), 4, 1),  # at least one
        (Percent(100), 4, 4),
    ],
)
def test_at_most_max_unavailable_nodes_are_claimed(budget: int | Percent, workers: int, starts: int) -> None:
    plan = a_plan(CONTROL, replace(WORKERS, max_unavailable=budget))
    snapshot = control_planes_done(*a_cluster(0, workers), plan=plan)
    assert started(snapshot) == [f"w-{i}" for i in range(1, starts + 1)]
    assert all(held(snapshot, f"w-{i}") is Reason.BUDGET for i in range(starts + 1, workers + 1))


@pytest.mark.parametrize("out", [{"ready": False}, {"unschedulable": True}, {"ready": False, "unschedulable": True}])
def test_other_nodes_that_are_cordoned_or_not_ready_use_the_budget_and_are_named(out: dict[str, Any]) -> None:
    snapshot = control_planes_done(upgraded("w-1", **out), a_node("w-2"))
    assert held(snapshot, "w-2") is Reason.BUDGET
    assert why(snapshot, "w-2") == "1 of 1 out of service: w-1"


def test_a_claimed_node_counts_once_although_it_is_cordoned_and_not_ready() -> None:
    flying = a_node("w-1", ready=False, unschedulable=True, **said(NodeStatus.REBASING))
    plan = a_plan(CONTROL, replace(WORKERS, max_unavailable=2), claims=[a_claim("w-1")])
    assert started(control_planes_done(flying, a_node("w-2"), plan=plan)) == ["w-2"]


def test_a_node_that_is_cordoned_already_costs_nothing_more_and_starts_first() -> None:
    assert started(control_planes_done(*replaced(a_cluster(0, 3), a_node("w-3", unschedulable=True)))) == ["w-3"]


def test_of_two_cordoned_nodes_none_starts_with_a_budget_of_one() -> None:
    """One is claimed, the other still out: two would be out by our doing or not."""
    snapshot = control_planes_done(*a_cluster(0, 2, unschedulable=True))
    assert started(snapshot) == []
    assert held(snapshot, "w-1") is Reason.BUDGET


def test_a_node_that_is_not_ready_never_starts() -> None:
    plan = a_plan(CONTROL, replace(WORKERS, max_unavailable=5))
    snapshot = control_planes_done(a_node("w-1", ready=False), a_node("w-2"), plan=plan)
    assert held(snapshot, "w-1") is Reason.NODE_NOT_READY
    assert started(snapshot) == ["w-2"]


def test_nodes_outside_the_group_do_not_use_its_budget() -> None:
    workers = (a_node("w-1", unschedulable=True, **pool("a")), a_node("w-2", **pool("b")))
    plan = a_plan(CONTROL, replace(POOL_B, depends_on=()))
    assert started(control_planes_done(*workers, plan=plan)) == ["w-2"]


def test_a_claimed_node_that_left_its_group_still_uses_that_groups_budget() -> None:
    """Its label changed while kubeadm runs: it is as much out of service as before."""
    gone = a_node("w-1", labels={"pool": "none"}, **said(NodeStatus.UPGRADING))
    plan = a_plan(CONTROL, replace(POOL_B, depends_on=()), claims=[a_claim(gone, group="b")])
    snapshot = control_planes_done(gone, a_node("w-2", **pool("b")), plan=plan)
    assert (started(snapshot), held(snapshot, "w-2")) == ([], Reason.BUDGET)


def test_a_node_in_two_groups_uses_the_budget_of_both_while_it_is_out() -> None:
    torn = a_node("w-1", labels={"pool": "a", "twice": "yes"}, ready=False)
    plan = a_plan(CONTROL, POOL_A, a_group("c", selector=having("twice", "yes")))
    snapshot = control_planes_done(torn, a_node("w-2", **pool("a")), a_node("w-3", labels={"twice": "yes"}), plan=plan)
    assert started(snapshot) == []


def test_an_order_that_nobody_claimed_uses_the_budget_until_it_is_withdrawn() -> None:
    plan = a_plan(CONTROL, WORKERS)
    snapshot = control_planes_done(a_node("w-1"), a_node("w-2", **said(NodeStatus.PENDING)), plan=plan)
    assert started(snapshot) == []


def test_upgraded_nodes_with_an_unhealthy_pod_are_not_upgraded_again() -> None:
    """A scheduler that lost its lease is not mended by draining its node."""
    pods = [pod for i in (1, 2, 3) for pod in static_pods(f"cp-{i}", NEW, broken=["kube-scheduler"] if i == 2 else [])]
    nodes = [upgraded(f"cp-{i}") for i in (1, 2, 3)]
    snapshot = seen(*nodes, *a_cluster(0, 1), pods=pods)
    assert started(snapshot) == []
    assert held(snapshot, "cp-2") is Reason.API_UNHEALTHY
    assert why(snapshot, "cp-2") == "kube-scheduler is not Ready"


def test_the_first_gate_that_speaks_is_the_reason_shown() -> None:
    """In design's order: what a person said before what the cluster says."""
    everything = a_plan(
        replace(CONTROL, paused=True),
        WORKERS,
        paused=True,
        problems=("x",),
        version=v("v1.39.0"),
        windows=(a_window("0 2 * * *", 1),),
        freezes=(Freeze(since=NOW, until=NOW + timedelta(days=1)),),
    )
    snapshot = seen(*replaced(a_cluster(), a_node("cp-1", hold="x", ready=False)), plan=everything)
    expected = [Reason.PAUSED, Reason.PAUSED, Reason.NODE_HOLD, Reason.INVALID_SETTING, Reason.MINOR_SKIPPED]
    expected += [Reason.OUTSIDE_WINDOW, Reason.FREEZE, Reason.NODE_NOT_READY]
    found = [held(snapshot, "cp-1")]
    for changed in (
        {"paused": False},
        {"groups": (CONTROL, WORKERS)},
        {"hold": None},
        {"problems": ()},
        {"version": NEW},
        {"windows": ()},
        {"freezes": ()},
    ):
        if "hold" in changed:
            snapshot = replace(snapshot, nodes=replaced(snapshot.nodes, a_node("cp-1", ready=False)))
        else:
            snapshot = replace(snapshot, plan=replace(snapshot.plan, **changed))
        found.append(held(snapshot, "cp-1"))
    assert found == expected


def test_every_gate_says_what_it_is_for() -> None:
    assert all(gate.__doc__ for gate in GATES)


# --- asked once for all that are alike ----------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        a_node("w-9", unschedulable=True),  # it uses the budget already: no one else's answer is its own
        a_node("w-9", ready=False),
        a_node("w-9", hold="leave me"),
        a_node("w-9", kubelet=v("v1.35.1")),
        a_node("w-9", **said(NodeStatus.PENDING)),
        a_node("w-9", **said(NodeStatus.ERROR)),
        a_node("w-9", report=Report(status=NodeStatus.UPGRADING)),  # somebody took its order away: it is out itself
        a_node("w-9", order=Order(version=NEW)),
    ],
    ids=["cordoned", "not-ready", "held", "older", "ordered", "failed", "under-way", "ordered-only"],
)
def test_a_node_that_differs_is_asked_for_itself(other: Node) -> None:
    """Whatever was said of an ordinary node of its group before."""
    snapshot = control_planes_done(a_node("w-1"), a_node("w-2", unschedulable=True), other)
    fleet, workers = survey(snapshot), WORKERS
    assert start_hold(fleet, fleet.nodes["w-1"], workers), "the cordoned one uses the only place"
    assert start_hold(fleet, other, workers) == first_hold(survey(snapshot), other, workers)


def test_a_claimed_node_is_asked_for_itself_before_it_has_its_order() -> None:
    fleet = survey(control_planes_done(a_node("w-1"), a_node("w-2"), plan=a_plan(claims=[a_claim("w-2")])))
    assert start_hold(fleet, fleet.nodes["w-1"], WORKERS), "the claimed one uses the only place"
    assert start_hold(fleet, fleet.nodes["w-2"], WORKERS) is None


def test_what_holds_one_group_back_is_not_said_of_another() -> None:
    a, b = (a_group(name, selector=having("pool", name)) for name in "ab")
    first, cordoned = a_node("w-1", labels={"pool": "a"}), a_node("w-2", labels={"pool": "a"}, unschedulable=True)
    other = a_node("w-3", labels={"pool": "b"})
    fleet = survey(control_planes_done(first, cordoned, other, plan=a_plan(CONTROL, a, b)))
    assert start_hold(fleet, first, a), "the cordoned one uses the only place"
    assert start_hold(fleet, other, b) is None


def test_a_control_plane_node_is_asked_for_itself_in_a_group_with_workers_too() -> None:
    mixed = a_group("mixed", selector=having("pool", "a"), max_unavailable=Percent(100))
    worker, master = a_node("w-1", labels={"pool": "a"}), a_node("cp-1", labels={"pool": "a"})
    snapshot = seen(worker, master, plan=a_plan(mixed), static_pods=static_pods("cp-1"))
    fleet = survey(snapshot)
    assert start_hold(fleet, worker, mixed), "control planes come first"
    assert start_hold(fleet, master, mixed) is None
