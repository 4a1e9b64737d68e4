"""When the last plan is gone: waiting orders are taken back, and nodes forget what they were told."""

from collections.abc import Iterable
from datetime import datetime

from kube_upgrade.core.rollout.fleet import MUTATING, waiting_order
from kube_upgrade.core.rollout.upkeep import told
from kube_upgrade.model.action import ForgetNode, WithdrawOrder
from kube_upgrade.model.moment import TICK
from kube_upgrade.model.node import Node


def farewell(nodes: Iterable[Node], now: datetime) -> list[WithdrawOrder | ForgetNode]:
    """One action for each node that needs one. A node in flight finishes first, and is looked at again then."""
    found: list[WithdrawOrder | ForgetNode] = []
    for node in nodes:
        if waiting_order(node):
            at = max(now, node.withdrawn + TICK) if node.withdrawn else now
            reason = "the plan was deleted"
            found.append(WithdrawOrder(node=node.name, resource_version=node.resource_version, at=at, reason=reason))
        elif told(node) and node.report.status not in MUTATING:
            keys = tuple(sorted(node.config))
            found.append(ForgetNode(node=node.name, resource_version=node.resource_version, config=keys))
    return found
