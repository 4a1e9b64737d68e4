"""Gauges show the last decision, and only when somebody asks."""

from prometheus_client import REGISTRY

from kube_upgrade.controller.publish import Publisher
from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.kube.wire.event import Announcement
from kube_upgrade.model.snapshot import ClusterSnapshot
from support.builders import NOW, a_claim, a_node, a_plan, control_planes_done, said, seen

PLAN = "plan"


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"plan": PLAN} | labels)


def published(*snapshots: ClusterSnapshot) -> Publisher:
    heard: list[Announcement] = []
    publisher = Publisher(heard.append)
    for snapshot in snapshots:
        publisher.publish(snapshot, decide(snapshot))
    publisher.refresh()
    return publisher


def test_nodes_are_counted_by_state_and_by_group_and_phase() -> None:
    published(control_planes_done(a_node("w-1", **said(phase="draining")), plan=a_plan(claims=[a_claim("w-1")])))

    assert value("kube_upgrade_plan_nodes", state="completed") == 3
    assert value("kube_upgrade_plan_nodes", state="in_flight") == 1
    assert value("kube_upgrade_nodes", group="workers", phase="draining") == 1


def test_the_oldest_claim_tells_its_age() -> None:
    claim = a_claim("w-1")
    published(control_planes_done(a_node("w-1", **said()), plan=a_plan(claims=[claim])))

    assert value("kube_upgrade_oldest_claim_timestamp_seconds") == claim.since.timestamp()
    assert claim.since < NOW


def test_holds_are_counted_by_reason_and_go_when_they_are_over() -> None:
    publisher = published(seen(plan=a_plan(paused=True)))
    assert value("kube_upgrade_holds", reason="Paused") == 6

    publisher.forget([])
    publisher.refresh()
    assert value("kube_upgrade_holds", reason="Paused") is None
