"""Gauges show the last decision, and only when somebody asks."""

from prometheus_client import REGISTRY

from kube_upgrade.controller.publish import Publisher
from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.model.node import Node, Report
from kube_upgrade.model.snapshot import ClusterSnapshot
from support.builders import CONTROL, NOW, a_claim, a_node, a_plan, control_planes_done, said, seen

PLAN = "plan"


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"plan": PLAN} | labels)


class Scraped:
    """A publisher, and the nodes as they are when somebody asks."""

    def __init__(self) -> None:
        self.nodes: tuple[Node, ...] = ()
        self.publisher = Publisher(lambda _: None, lambda: self.nodes)

    def decided(self, snapshot: ClusterSnapshot) -> "Scraped":
        """A decision about this snapshot, and a scrape."""
        self.publisher.publish(snapshot, decide(snapshot))
        return self.shown(*snapshot.nodes)

    def shown(self, *nodes: Node) -> "Scraped":
        """A scrape while the nodes are like this."""
        self.nodes = nodes
        self.publisher.refresh()
        return self


def published(snapshot: ClusterSnapshot) -> Publisher:
    return Scraped().decided(snapshot).publisher


def test_nodes_are_counted_by_state_and_by_group_and_phase() -> None:
    published(control_planes_done(a_node("w-1", **said(phase="draining")), plan=a_plan(claims=[a_claim("w-1")])))

    assert value("kube_upgrade_plan_nodes", state="completed") == 3
    assert value("kube_upgrade_plan_nodes", state="in_flight") == 1
    assert value("kube_upgrade_nodes", group="workers", phase="draining") == 1


def test_a_phase_that_emptied_and_a_group_that_went_are_not_shown_any_more() -> None:
    plan = a_plan(claims=[a_claim("w-1")])
    scraped = Scraped().decided(control_planes_done(a_node("w-1", **said(phase="draining")), plan=plan))
    assert value("kube_upgrade_nodes", group="workers", phase="draining") == 1

    scraped.decided(control_planes_done(a_node("w-1", **said(phase="rebooting")), plan=plan))
    assert value("kube_upgrade_nodes", group="workers", phase="draining") is None
    assert value("kube_upgrade_nodes", group="workers", phase="rebooting") == 1

    scraped.decided(control_planes_done(a_node("w-1"), plan=a_plan(CONTROL)))
    assert value("kube_upgrade_nodes", group="workers", phase="rebooting") is None
    assert value("kube_upgrade_claims", group="workers") is None


def test_a_phase_that_changes_without_any_decision_is_shown_at_the_next_scrape() -> None:
    """A daemon that fetches ahead wakes nobody (observe.matters)."""
    staging, idle = (a_node("w-1", report=Report(phase=phase)) for phase in ("staging", "idle"))
    scraped = Scraped().decided(control_planes_done(staging))

    scraped.shown(idle)

    assert value("kube_upgrade_nodes", group="workers", phase="staging") is None
    assert value("kube_upgrade_nodes", group="workers", phase="idle") == 1


def test_the_oldest_claim_tells_its_age() -> None:
    claim = a_claim("w-1")
    published(control_planes_done(a_node("w-1", **said()), plan=a_plan(claims=[claim])))

    assert value("kube_upgrade_oldest_claim_timestamp_seconds") == claim.since.timestamp()
    assert claim.since < NOW


def test_every_node_that_waits_is_counted_though_the_status_has_room_for_twenty_sentences() -> None:
    published(control_planes_done(*(a_node(f"w-{i:02}", hold=f"ticket {i}") for i in range(30))))

    assert value("kube_upgrade_holds", reason="NodeHold") == 30


def test_holds_are_counted_by_reason_and_go_when_they_are_over() -> None:
    publisher = published(seen(plan=a_plan(paused=True)))
    assert value("kube_upgrade_holds", reason="Paused") == 6

    publisher.forget([])
    publisher.refresh()
    assert value("kube_upgrade_holds", reason="Paused") is None
