"""What a lock server does in a cluster, beside slots: knows the nodes, drains them, repairs. Outside there is none."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address

from kube_upgrade.core.eviction import DrainPolicy
from kube_upgrade.fleetlock.announce import Announcer
from kube_upgrade.fleetlock.caretaker import Caretaker
from kube_upgrade.fleetlock.drainer import Drainer
from kube_upgrade.fleetlock.machines import Machines
from kube_upgrade.fleetlock.settings import Settings
from kube_upgrade.fleetlock.stores.store import LockStore
from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.informer import Informer
from kube_upgrade.kube.wire.node import NodeObject, to_node
from kube_upgrade.model.lock import LockGroup
from kube_upgrade.model.node import Node

STALE_SECONDS = 10.0  # a copy of the nodes that may be older than this grants nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    node: Node
    addresses: tuple[str, ...]


class Cluster:
    """`find` and `not_ready` answer while `run` runs; `machines` are the nodes, `drainer` empties them."""

    def __init__(
        self,
        *,
        api: Api,
        store: LockStore,
        settings: Settings,
        announcer: Announcer,
        groups: Callable[[], Mapping[str, LockGroup]],
    ) -> None:
        self.api = api
        self.announcer = announcer
        self.machines = Machines()
        self._settings = settings
        self.drainer = Drainer(api=api, store=store, nodes=self.machines.all, announcer=announcer)
        self._caretaker = Caretaker(
            api=api,
            store=store,
            drainer=self.drainer,
            announcer=announcer,
            nodes=self._nodes_of_ours,
            groups=groups,
            policy=self.policy,
            gone_seconds=settings.gone_seconds,
        )
        self._nodes = Informer(api, paths.NODES, type=NodeObject, value=_member, on_change=self._changed)

    def policy(self, group: str) -> DrainPolicy:
        """How a group drains; the default for one that is no longer configured."""
        found = self._settings.groups.get(group)
        return found.policy if found is not None else DrainPolicy()

    def has_address(self, node: Node, address: str) -> bool:
        """True where this is one of the node's own addresses, as its Node object has them."""
        member = self._nodes.items.get(node.name)
        return member is not None and _plain(address) in {_plain(each) for each in member.addresses}

    def stale_since(self) -> float | None:
        """Since when (monotonic seconds) the copy of the nodes may be old; None while their watch stands."""
        return self._nodes.stale_since

    def not_ready(self, at: float | None = None) -> str | None:
        """Why nothing may be granted at this monotonic moment (now): the nodes are not known, or not as they are."""
        if not self._nodes.synced.is_set():
            return "waiting for the first list of nodes"
        since = self._nodes.stale_since
        old = (time.monotonic() if at is None else at) - since if since is not None else 0.0
        return f"the watch of the nodes is broken for {old:.0f} s" if old > STALE_SECONDS else None

    def _nodes_of_ours(self) -> tuple[Node, ...]:
        """All nodes; what another lock server noted on them is none of our business."""
        return tuple(
            node if node.drain is None or node.drain.of_server(self._settings.server) else replace(node, drain=None)
            for node in self.machines.all()
        )

    def wake(self) -> None:
        """A lock changed."""
        self._caretaker.wake()

    async def run(self) -> None:
        """Work until cancelled; an error that nobody expected ends it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._nodes.run())
            tasks.create_task(self.drainer.run())

    async def look_after(self) -> None:
        """Repair until cancelled; begins when nodes and locks are known."""
        await self._nodes.synced.wait()
        await self._caretaker.run()

    def _changed(self, name: str, old: _Member | None, new: _Member | None) -> None:
        before, after = old.node if old else None, new.node if new else None
        self.machines.changed(name, before, after)
        if before is None or after is None or before.drain != after.drain:
            self._caretaker.wake()


def _member(wire: NodeObject) -> _Member:
    return _Member(node=to_node(wire), addresses=tuple(each.address for each in wire.status.addresses))


def _plain(address: str) -> str:
    """An IPv4 address that came through an IPv6 socket is an IPv4 address; a host name stays as it is."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)
