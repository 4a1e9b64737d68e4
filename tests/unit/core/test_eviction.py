"""Which pods a drain moves, by table."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kube_upgrade.core.eviction import (
    Await,
    DrainPolicy,
    Evict,
    Judgement,
    Postpone,
    Refuse,
    Skip,
    Stay,
    judge,
    tolerates,
)
from kube_upgrade.model.lock import DrainMark
from kube_upgrade.model.node import Node, Taint
from kube_upgrade.model.pod import Pod, Toleration

T0 = datetime(2026, 11, 24, tzinfo=UTC)
POD = Pod(namespace="shop", name="web-1", uid="u1", node="w1", owner=("ReplicaSet", "web"))
WORKER = Node(name="w2", uid="n2", resource_version="1", created=T0, ready=True)
CONTROL_PLANE = replace(WORKER, name="cp1", taints=(Taint("node-role.kubernetes.io/control-plane"),))
DAEMON = replace(POD, owner=("DaemonSet", "cni"))
TOLERATES_ALL = (Toleration(operator="Exists"),)
POLICY = DrainPolicy()
MARK = DrainMark(group="workers", id="i2", since=T0)
CORDONED = Taint("node.kubernetes.io/unschedulable")
GONE = replace(WORKER, ready=False, taints=(Taint("node.kubernetes.io/unreachable", effect="NoExecute"),))


@pytest.mark.parametrize(
    ("pod", "judgement"),
    [
        (POD, Evict()),
        (replace(POD, owner=None), Evict()),
        (replace(POD, empty_dir=True), Evict()),
        (replace(POD, owner=("StatefulSet", "db")), Evict()),
        (replace(POD, phase="Pending"), Evict()),
        (replace(POD, deleted_at=T0), Await()),
        (replace(POD, mirror=True, owner=("Node", "w1")), Skip(Stay.MIRROR)),
        (DAEMON, Skip(Stay.DAEMON_SET)),
        (replace(DAEMON, deleted_at=T0), Skip(Stay.DAEMON_SET)),
        (replace(POD, phase="Succeeded"), Skip(Stay.FINISHED)),
        (replace(POD, phase="Failed", owner=None), Skip(Stay.FINISHED)),
    ],
)
def test_pods_with_another_worker_beside(pod: Pod, judgement: Judgement) -> None:
    assert judge(pod, [WORKER], POLICY) == judgement


@pytest.mark.parametrize(
    ("others", "stays"),
    [
        ([], True),
        ([CONTROL_PLANE], True),
        ([replace(WORKER, unschedulable=True)], True),
        ([replace(WORKER, taints=(Taint("gpu", "yes", "NoExecute"),))], True),
        ([replace(WORKER, taints=(Taint("spot", "", "PreferNoSchedule"),))], False),
        ([CONTROL_PLANE, WORKER], False),
    ],
)
def test_a_pod_stays_where_no_other_node_could_take_it(others: list[Node], stays: bool) -> None:
    assert judge(POD, others, POLICY) == (Skip(Stay.NO_OTHER_NODE) if stays else Evict())


def test_a_node_that_is_not_ready_is_waited_for_until_it_is_lost() -> None:
    """The API server was away for seconds: neither is the pod stopped nor the node called empty with it."""
    away = replace(GONE, uid="n3")
    assert judge(POD, [away], POLICY) == Postpone()
    assert judge(POD, [away, CONTROL_PLANE], POLICY) == Postpone()
    assert judge(POD, [away], POLICY, {away.uid}) == Skip(Stay.NO_OTHER_NODE)
    assert judge(POD, [away, WORKER], POLICY) == Evict()


@pytest.mark.parametrize("ready", [True, False])
def test_a_node_that_only_we_have_cordoned_could_take_pods_again(ready: bool) -> None:
    """Two workers drain at once: neither is the last node for the other."""
    ours = replace(WORKER, ready=ready, unschedulable=True, taints=(CORDONED,), drain=MARK)
    assert judge(POD, [ours], POLICY) == Evict()
    by_a_person = replace(ours, drain=replace(MARK, cordoned_before=True))
    assert judge(POD, [by_a_person], POLICY) == Skip(Stay.NO_OTHER_NODE)


def test_a_pod_that_tolerates_the_control_plane_goes_there() -> None:
    assert judge(replace(POD, tolerations=TOLERATES_ALL), [CONTROL_PLANE], POLICY) == Evict()


def test_a_pod_that_is_being_deleted_is_awaited_on_a_single_node_too() -> None:
    assert judge(replace(POD, deleted_at=T0), [], POLICY) == Await()


def test_the_policy_can_insist_on_eviction_and_keep_bare_and_scratch_pods() -> None:
    strict = DrainPolicy(bare_pods=False, empty_dir=False, no_other_node=False)

    assert judge(POD, [], strict) == Evict()
    for kept in (replace(POD, owner=None), replace(POD, empty_dir=True)):
        refused = judge(kept, [WORKER], strict)
        assert isinstance(refused, Refuse)
        assert "shop/web-1" in refused.message


TAINT = Taint("key", "value", "NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        (Toleration("key", "Equal", "value", "NoSchedule"), True),
        (Toleration("key", "Equal", "value"), True),
        (Toleration("key", "", "value"), True),
        (Toleration("key", "Exists"), True),
        (Toleration("", "Exists"), True),
        (Toleration("key", "Equal", "other"), False),
        (Toleration("other", "Exists"), False),
        (Toleration("key", "Exists", "", "NoExecute"), False),
        (Toleration("key", "Gt", "5"), False),
    ],
)
def test_tolerations_match_as_the_scheduler_matches_them(toleration: Toleration, expected: bool) -> None:
    assert tolerates((toleration,), TAINT) is expected


def test_without_tolerations_only_soft_taints_are_tolerated() -> None:
    assert not tolerates((), TAINT)
    assert tolerates((), Taint("key", "value", "PreferNoSchedule"))
