"""What every node is told besides orders: its group's settings, what to fetch next, when it may update its OS."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from kube_upgrade.core.rollout.fleet import Fleet, order_open, under_way
from kube_upgrade.core.rollout.gates import CLAIMS_FULL, OS_UPDATE_GATES, first_hold
from kube_upgrade.core.rollout.order import candidates
from kube_upgrade.model.action import ConfigureNode, ForgetNode
from kube_upgrade.model.moment import time_or_none
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Group
from kube_upgrade.model.status import Hold, Reason
from kube_upgrade.model.version import KubeVersion

FETCHED_AHEAD = 10  # nodes of one group, at most: enough to keep every slot busy
OS_UPDATES_FOR = timedelta(hours=24)  # a permission is given for so long, and renewed at half time
WORTH_FETCHING = (
    Reason.BUDGET,
    Reason.CONTROL_PLANE_FIRST,
    Reason.DEPENDENCY,
    Reason.SOAKING,
    Reason.OUTSIDE_WINDOW,
)


def upkeep(fleet: Fleet, holds: Mapping[str, Hold], busy: set[str]) -> list[ConfigureNode]:
    """One patch for each node that lacks something. `busy` nodes are written by an order now or next."""
    fetching, quiet = next_in_turn(fleet, holds), fleet.quiet
    found = (
        _lacking(fleet, node, group, fleet.hop if node.name in fetching else None, quiet)
        for node, group in fleet.managed()
        if node.name not in busy and not (holds.get(node.name) == CLAIMS_FULL and _with_its_order(node, fetching))
    )
    return [*(action for action in found if action), *_torn(fleet, busy)]


def _torn(fleet: Fleet, busy: set[str]) -> list[ConfigureNode]:
    """Nodes that several groups select are told nothing; but a permission from before does not stand on."""
    return [
        ConfigureNode(node=name, resource_version=fleet.nodes[name].resource_version, config={}, os_updates="no")
        for name, groups in fleet.members.items()
        if len(groups) > 1 and name not in busy and _given(fleet, fleet.nodes[name])
    ]


def _with_its_order(node: Node, fetching: set[str]) -> bool:
    """True for a node that only waits for room among the claims, and can do nothing before its order comes: that
    brings the settings too, and spares thousands of nodes a patch each."""
    return node.name not in fetching and not node.os_updates and not node.stage


def next_in_turn(fleet: Fleet, holds: Mapping[str, Hold]) -> set[str]:
    """Who fetches the image before its turn: the first of each group that wait for nothing but their turn."""
    chosen: set[str] = set()
    counts: Counter[str] = Counter()
    for node, group in candidates(fleet):
        hold = holds.get(node.name)
        most = min(fleet.tallies[group.name].allowed, FETCHED_AHEAD)
        if hold and hold.reason in WORTH_FETCHING and counts[group.name] < most:
            counts[group.name] += 1
            chosen.add(node.name)
    return chosen


def config_changes(node: Node, wanted: Mapping[str, str]) -> Mapping[str, str | None]:
    """What differs between the node's config annotations and those its group wants; None removes a key."""
    if node.config == wanted:
        return {}
    gone: dict[str, str | None] = dict.fromkeys(node.config.keys() - wanted.keys())
    return gone | {key: value for key, value in wanted.items() if node.config.get(key) != value}


def strangers(fleet: Fleet) -> list[ForgetNode]:
    """Nodes that no group selects any more: what they were told is taken away."""
    return [
        ForgetNode(node=node.name, resource_version=node.resource_version, config=tuple(sorted(node.config)))
        for name, node in fleet.nodes.items()
        if not fleet.members[name] and name not in fleet.claims and told(node) and not under_way(node)
    ]


def told(node: Node) -> bool:
    """True where a controller has left something on the node."""
    return bool(node.order or node.config or node.os_updates or node.stage)


def renewal(fleet: Fleet) -> datetime | None:
    """When the first permission for OS updates is to be renewed."""
    ends = [time_or_none(node.os_updates) for node, _ in fleet.managed() if node.os_updates]
    return min((end - OS_UPDATES_FOR / 2 for end in ends if end and end > fleet.seen.now), default=None)


def _lacking(fleet: Fleet, node: Node, group: Group, stage: KubeVersion | None, quiet: bool) -> ConfigureNode | None:
    config, os_updates = config_changes(node, fleet.settings[group.name]), _os_updates(fleet, node, group, quiet)
    if not config and not os_updates and stage == node.stage:
        return None
    return ConfigureNode(
        node=node.name,
        resource_version=node.resource_version,
        config=config,
        os_updates=os_updates,
        stage=stage if stage != node.stage else None,
        unstage=stage is None and node.stage is not None,
    )


def _os_updates(fleet: Fleet, node: Node, group: Group, quiet: bool) -> datetime | Literal["no"] | None:
    """A new value, or None to leave the old one. Nothing is given while nodes are on their way: slots are theirs."""
    now, until = fleet.seen.now, time_or_none(node.os_updates)
    given = _given(fleet, node)
    if not given and not quiet:
        return None  # the usual case in a rollout: no gate has to be asked
    if order_open(node) or first_hold(fleet, node, group, OS_UPDATE_GATES):
        return "no" if given else None
    if not quiet:
        return None
    wanted = min(filter(None, (now + OS_UPDATES_FOR, fleet.closes)))
    enough = until is not None and until >= min(wanted, now + OS_UPDATES_FOR / 2) and until <= wanted
    return None if enough else wanted


def _given(fleet: Fleet, node: Node) -> bool:
    """True while a permission stands."""
    until = time_or_none(node.os_updates)
    return until is not None and until > fleet.seen.now
