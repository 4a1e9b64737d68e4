"""A node whose control-plane label was taken away is known by what runs on it, and no rule overlooks it (ADR 10)."""

from dataclasses import replace
from typing import Any

import pytest

from kube_upgrade.core.rollout.fleet import survey
from kube_upgrade.core.rollout.gates import quorum_remains, start_hold
from kube_upgrade.core.rollout.path import find_path
from kube_upgrade.model.node import KubeadmRole, Node, NodeStatus
from kube_upgrade.model.plan import Group, Percent
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import Reason
from support.builders import (
    CONTROL,
    NEW,
    OLD,
    WORKERS,
    a_claim,
    a_cluster,
    a_group,
    a_node,
    a_plan,
    control_planes_done,
    having,
    replaced,
    said,
    seen,
    static_pods,
    upgraded,
    v,
)
from support.decisions import claims, held, orders, started, why, withdrawals

POOL = a_group("pool", selector=having("pool", "a"))


def bare(node: Node) -> Node:
    """The node without any label."""
    return replace(node, labels={})


def three(first: Node, *others: Node, **changed: Any) -> ClusterSnapshot:
    """Control planes cp-1 to cp-3, of which the first may have no label; each one's pods at its kubelet's version."""
    nodes = replaced(a_cluster(), first, *others)
    pods = [pod for node in nodes if node.name.startswith("cp") for pod in static_pods(node.name, node.kubelet)]
    return seen(*nodes, **({"pods": pods} | changed))


@pytest.mark.parametrize("other", [WORKERS, POOL], ids=["workers", "none"])
def test_one_that_loses_its_label_in_flight_keeps_the_next_from_starting_whatever_group_selects_it(
    other: Group,
) -> None:
    """A person or a script took it away: two etcd members that reboot at once would be the end of the quorum."""
    flying = bare(a_node("cp-1", **said(NodeStatus.UPGRADING)))
    snapshot = three(flying, plan=a_plan(CONTROL, other, claims=[a_claim("cp-1")]))
    assert (started(snapshot), withdrawals(snapshot)) == ([], {})
    assert why(snapshot, "cp-2") == "control-plane node cp-1 is being upgraded"


def test_it_starts_before_the_workers_and_alone() -> None:
    snapshot = three(bare(a_node("cp-1")))
    assert started(snapshot) == ["cp-1"], "in the group that selects it now"
    assert orders(snapshot)["cp-1"].kubeadm is KubeadmRole.APPLY, "its daemon knows by its disk what it is"
    assert held(snapshot, "w-1") is Reason.CONTROL_PLANE_FIRST


def test_it_counts_as_a_member_of_etcd() -> None:
    pods = [*static_pods("cp-1", broken=["etcd"]), *static_pods("cp-2"), *static_pods("cp-3")]
    snapshot = three(bare(a_node("cp-1")), pods=pods)
    assert why(snapshot, "cp-2") == "etcd on cp-1 is not Ready"
    hold = quorum_remains(survey(snapshot), a_node("cp-2"), CONTROL)
    assert hold is not None
    assert hold.message == "1 other healthy etcd members, 2 needed"


def test_it_does_not_start_where_the_others_would_be_no_quorum() -> None:
    assert held(three(bare(a_node("cp-1")), a_node("cp-3", ready=False)), "cp-1") is Reason.QUORUM_AT_RISK


def test_it_does_not_start_while_nobody_knows_who_is_to_apply() -> None:
    trouble: dict[str, Any] = {"kubeadm_config": None, "kubeadm_config_trouble": "403 Forbidden: no"}
    assert held(three(bare(a_node("cp-1")), **trouble), "cp-1") is Reason.VERSION_UNKNOWN


def test_its_api_server_decides_too_where_the_way_begins() -> None:
    problem = find_path(three(bare(a_node("cp-1", kubelet=v("v1.35.1"))))).problem
    assert problem is not None
    assert problem.reason is Reason.MINOR_SKIPPED


def test_it_skips_no_minor_where_workers_may() -> None:
    behind = bare(a_node("cp-1", kubelet=v("v1.35.1")))
    pods = [pod for i in (1, 2, 3) for pod in static_pods(f"cp-{i}", OLD)]
    assert held(three(behind, plan=a_plan(workers_skip_hops=True), pods=pods), "cp-1") is Reason.MINOR_SKIPPED


def test_it_leaves_out_no_hop_where_workers_may() -> None:
    plan = a_plan(via=(OLD,), workers_skip_hops=True)
    nodes = [a_node(f"cp-{i}", kubelet=v("v1.35.1")) for i in (1, 2, 3)]
    fleet = survey(three(bare(nodes[0]), *nodes[1:], plan=plan))
    assert not fleet.settled(fleet.nodes["cp-1"], OLD)
    assert fleet.settled(replace(a_node("w-1"), kubelet=v("v1.35.1")), OLD)


def test_it_is_proven_only_with_its_static_pods() -> None:
    done = bare(upgraded("cp-1"))
    old = [pod for i in (1, 2, 3) for pod in static_pods(f"cp-{i}", OLD)]
    claimed = a_plan(claims=[a_claim("cp-1")])
    assert "cp-1" in claims(three(done, plan=claimed, pods=old))
    assert "cp-1" not in claims(three(done, plan=claimed))
    assert not survey(three(done, pods=old)).proven(done, NEW)
    assert survey(three(done)).proven(done, NEW)


def test_one_that_is_upgraded_and_has_an_unhealthy_pod_is_not_upgraded_again() -> None:
    pods = [pod for i in (1, 2, 3) for pod in static_pods(f"cp-{i}", NEW, broken=["kube-scheduler"] if i == 1 else [])]
    snapshot = three(bare(upgraded("cp-1")), upgraded("cp-2"), upgraded("cp-3"), pods=pods, kubeadm_config=NEW)
    assert why(snapshot, "cp-1") == "kube-scheduler is not Ready"


def test_it_is_asked_for_itself_in_a_group_with_workers() -> None:
    mixed = a_group("mixed", selector=WORKERS.selector, max_unavailable=Percent(100))
    fleet = survey(seen(a_node("w-1"), bare(a_node("cp-1")), plan=a_plan(mixed), pods=static_pods("cp-1")))
    assert start_hold(fleet, fleet.nodes["w-1"], mixed), "control planes come first"
    assert start_hold(fleet, fleet.nodes["cp-1"], mixed) is None


def test_etcd_alone_makes_no_control_plane() -> None:
    """It may be an external one's, on a node of its own."""
    worker = a_node("w-1")
    seen_there = control_planes_done(worker)
    pods = (*seen_there.static_pods, static_pods("w-1")[-1])
    assert not survey(replace(seen_there, static_pods=pods)).is_control_plane(worker)
