"""The snapshots that tests build are possible ones: each kind of fantasy is refused by name."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kube_upgrade.model.node import KubeadmRole, Report
from kube_upgrade.model.plan import Freeze
from kube_upgrade.model.version import KubeVersion
from support.builders import CONTROL, NEW, NOW, WORKERS, a_claim, a_node, a_plan, said, seen, static_pods
from support.consistency import Impossible

NAIVE = NOW.replace(tzinfo=None)

FANTASIES: dict[str, dict[str, Any]] = {
    "now has no zone": {"now": NAIVE},
    "a plan is not older than itself": {"active_plan": "plan"},
    "node w-1 is there 2 times": {"nodes": (a_node("w-1"), a_node("w-1", uid="x"))},
    "node uid x is there 2 times": {"nodes": (a_node("w-1", uid="x"), a_node("w-2", uid="x"))},
    "w-1 has no uid or no resourceVersion": {"nodes": (a_node("w-1", resource_version=""),)},
    "is not Ready": {"nodes": (a_node("w-1", ready=False, ready_since=NOW),)},
    "worker w-1 reports `kubeadm upgrade apply`": {"nodes": (a_node("w-1", report=Report(applied=NEW)),)},
    "worker w-1 was told to apply": {"nodes": (a_node("w-1", **said(kubeadm=KubeadmRole.APPLY)),)},
    "w-1 has a moment without a zone": {"nodes": (a_node("w-1", withdrawn=NAIVE),)},
    "static pod etcd on cp-1 is there 2 times": {"pods": static_pods("cp-1") * 2},
    "etcd runs on worker w-1": {"pods": static_pods("w-1")[-1:]},
    "group workers is there 2 times": {"plan": a_plan(WORKERS, WORKERS)},
    "depends on unknown ['x']": {"plan": a_plan(replace(WORKERS, depends_on=("x",)))},
    "has a budget below 1": {"plan": a_plan(replace(WORKERS, max_unavailable=0))},
    "soaks for a negative time": {"plan": a_plan(replace(CONTROL, soak=timedelta(-1)))},
    "a freeze ends before it begins": {"plan": a_plan(freezes=(Freeze(since=NOW, until=NOW),))},
    "claim of node w-1 is there 2 times": {"plan": a_plan(claims=[a_claim("w-1"), a_claim("w-1")])},
    "claim of w-1 has no uid": {"plan": a_plan(claims=[a_claim("w-1", uid="")])},
}


@pytest.mark.parametrize("fault", FANTASIES)
def test_a_fantasy_is_refused(fault: str) -> None:
    fantasy = dict(FANTASIES[fault])
    nodes = fantasy.pop("nodes", ())
    with pytest.raises(Impossible) as refused:
        seen(*nodes, **fantasy)
    assert fault in str(refused.value)


def test_what_weather_and_people_bring_about_is_possible() -> None:
    plan = a_plan(claims=[a_claim("gone"), a_claim("w-1", proven_at=NOW - timedelta(days=1))])
    kubelet = KubeVersion.parse("v1.99.0")
    assert seen(a_node("w-1", kubelet=kubelet, **said()), plan=plan, pods=static_pods("cp-gone")).now == NOW
