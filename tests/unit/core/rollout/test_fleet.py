"""What follows from a snapshot before any rule is asked."""

from dataclasses import replace

import pytest

from kube_upgrade.core.rollout.fleet import survey
from kube_upgrade.model.labels import CONTROL_PLANE_LABEL, Operator, Requirement, Selector
from kube_upgrade.model.node import NodeStatus
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


def test_the_pods_of_a_deleted_node_are_nobodys() -> None:
    """A pod informer may be behind the nodes'."""
    pods = [pod for name in ("cp-1", "cp-2", "cp-3", "cp-gone") for pod in static_pods(name)]
    assert list(survey(seen(pods=pods)).pods) == ["cp-1", "cp-2", "cp-3"]


def test_a_node_belongs_to_a_group_only_where_exactly_one_selects_it() -> None:
    plan = a_plan(WORKERS, a_group("gpu", selector=having("gpu", "yes")))
    fleet = survey(seen(*replaced(a_cluster(1, 2), a_node("w-2", labels={"gpu": "yes"})), plan=plan))
    found = {name: group and group.name for name, group in ((n, fleet.group_of(n)) for n in ("cp-1", "w-1", "w-2"))}
    assert found == {"cp-1": None, "w-1": "workers", "w-2": None}
    assert [node.name for node in fleet.selected()] == ["w-1", "w-2"]


def test_nodes_are_told_apart_by_every_label_that_some_selector_asks_about() -> None:
    """An absent one and an empty one too; what no selector asks about makes no difference."""
    empty = Selector((Requirement("gpu", Operator.EXISTS),))
    zoned = Selector((*empty.requirements, Requirement("zone", Operator.IN, ("b",))))
    groups = [("gpu", having("gpu", "yes")), ("any-gpu", empty), ("zoned", zoned), ("workers", WORKERS.selector)]
    plan = a_plan(*(a_group(name, selector=selector) for name, selector in groups))
    labels: list[dict[str, str]] = [
        {},
        {"gpu": ""},
        {"gpu": "yes"},
        {"gpu": "yes", CONTROL_PLANE_LABEL: ""},
        {"gpu": "", "zone": "b", "rack": "7"},
        {"gpu": "", "zone": "a"},
    ]
    nodes = [a_node(f"w-{n:02}", labels=each) for n, each in enumerate(labels * 2)]
    found = [tuple(group.name for group in chosen) for chosen in survey(seen(*nodes, plan=plan)).members.values()]
    assert (
        found
        == [
            ("workers",),
            ("any-gpu", "workers"),
            ("gpu", "any-gpu", "workers"),
            ("gpu", "any-gpu"),
            ("any-gpu", "zoned", "workers"),
            ("any-gpu", "workers"),
        ]
        * 2
    )


@pytest.mark.parametrize(
    ("node", "proven"),
    [
        (upgraded("w-1"), True),
        (a_node("w-1", kubelet=NEW), True),  # never ordered: the evidence is enough
        (upgraded("w-1", ready=False), False),
        (upgraded("w-1", kubelet=OLD), False),
        (upgraded("w-1", kubelet=v("v1.37.3")), False),  # the target must be met exactly
        (upgraded("w-1", **said(NodeStatus.REBASING)), False),  # its order is still open
        (upgraded("w-1", **said(NodeStatus.ERROR)), False),
    ],
)
def test_proven_means_evidence_and_no_open_order(node: object, proven: bool) -> None:
    snapshot = control_planes_done(node)  # type: ignore[arg-type]
    assert survey(snapshot).proven(snapshot.nodes[-1], NEW) is proven


def test_a_claimed_node_is_not_settled_until_its_claim_is_over() -> None:
    snapshot = control_planes_done(upgraded("w-1"), plan=a_plan(claims=[a_claim("w-1")]))
    assert survey(snapshot).settled(snapshot.nodes[-1], NEW) is False
    free = replace(snapshot, plan=a_plan())
    assert survey(free).settled(free.nodes[-1], NEW) is True


def test_a_second_look_with_other_claims_sees_the_same_as_a_first_one() -> None:
    plan = a_plan(CONTROL, replace(WORKERS, max_unavailable=2))
    snapshot = control_planes_done(a_node("w-1"), a_node("w-2", unschedulable=True), plan=plan)
    claimed = replace(snapshot, plan=a_plan(*plan.groups, claims=[a_claim("w-1")]))
    assert survey(claimed, survey(snapshot)) == survey(claimed)
