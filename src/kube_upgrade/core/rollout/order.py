"""Which node comes first: a total order, so that two replicas with one snapshot decide alike."""

from datetime import datetime

from kube_upgrade.core.rollout.fleet import Fleet
from kube_upgrade.model.node import Node, NodeStatus
from kube_upgrade.model.plan import Group


def candidates(fleet: Fleet) -> list[tuple[Node, Group]]:
    """Every node that still has to make this hop and holds no claim, best first."""
    if fleet.waiting is None:
        fleet.waiting = _sorted(fleet)
    return fleet.waiting


def _sorted(fleet: Fleet) -> list[tuple[Node, Group]]:
    waiting = [
        (fleet.nodes[name], group)
        for group in fleet.seen.plan.groups
        for name in fleet.unsettled[group.name]
        if name not in fleet.claims and fleet.group_of(name)
    ]
    return sorted(waiting, key=lambda pair: _rank(fleet, pair[0]))


def _rank(fleet: Fleet, node: Node) -> tuple[bool, bool, bool, str, datetime, str]:
    return (
        not (node.ready and node.unschedulable),  # cordoned already: costs nothing more
        node.name == fleet.seen.controller_node,  # the controller's own node last
        node.report.status is NodeStatus.ERROR,  # failed before: last among the rest
        node.zone,
        node.created,
        node.name,
    )
