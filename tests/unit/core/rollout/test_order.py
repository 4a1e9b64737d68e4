"""Who comes first. A total order: two replicas with one snapshot decide alike."""

import random
from dataclasses import replace

from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.core.rollout.fleet import survey
from kube_upgrade.core.rollout.order import candidates
from kube_upgrade.model.labels import ZONE_LABEL
from kube_upgrade.model.node import NodeStatus
from kube_upgrade.model.snapshot import ClusterSnapshot
from support.builders import (
    CONTROL,
    DAY,
    NOW,
    WORKERS,
    a_claim,
    a_cluster,
    a_node,
    a_plan,
    control_planes_done,
    said,
    seen,
    upgraded,
    v,
)


def ranked(snapshot: ClusterSnapshot) -> list[str]:
    return [node.name for node, _ in candidates(survey(snapshot))]


def test_cordoned_first_then_zone_age_and_name_failed_ones_last_and_the_controllers_own_node_after_all() -> None:
    nodes = (
        a_node("w-1"),  # the controller's
        a_node("w-2", **said(NodeStatus.ERROR, v("v1.37.1"))),
        a_node("w-3", labels={ZONE_LABEL: "b"}),
        a_node("w-4", labels={ZONE_LABEL: "a"}, created=NOW - DAY),
        a_node("w-5", labels={ZONE_LABEL: "a"}, created=NOW - 2 * DAY),
        a_node("w-6", labels={ZONE_LABEL: "a"}, created=NOW - DAY),
        a_node("w-7", labels={ZONE_LABEL: "z"}, unschedulable=True),
    )
    snapshot = control_planes_done(*nodes, controller_node="w-1")
    assert ranked(snapshot) == ["w-7", "w-5", "w-4", "w-6", "w-3", "w-2", "w-1"]


def test_a_cordoned_node_that_is_not_ready_gains_nothing() -> None:
    nodes = (a_node("w-1"), a_node("w-2", unschedulable=True, ready=False))
    assert ranked(control_planes_done(*nodes)) == ["w-1", "w-2"]


def test_the_controllers_own_control_plane_node_is_the_last_of_them() -> None:
    assert ranked(seen(controller_node="cp-1"))[-1] == "cp-1"


def test_proven_and_claimed_nodes_are_no_candidates() -> None:
    plan = a_plan(claims=[a_claim("w-2")])
    assert ranked(control_planes_done(upgraded("w-1"), a_node("w-2"), a_node("w-3"), plan=plan)) == ["w-3"]


def test_the_order_does_not_depend_on_the_order_of_anything_in_the_snapshot() -> None:
    wide = replace(WORKERS, max_unavailable=2)
    snapshot = control_planes_done(*a_cluster(0, 8), plan=a_plan(CONTROL, wide))
    expected = decide(snapshot)
    for seed in range(20):
        nodes, pods = list(snapshot.nodes), list(snapshot.static_pods)
        random.Random(seed).shuffle(nodes)
        random.Random(seed).shuffle(pods)
        shuffled = replace(snapshot, nodes=tuple(nodes), static_pods=tuple(pods))
        assert decide(shuffled).status.claims == expected.status.claims
