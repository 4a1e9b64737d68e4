"""What the two FleetLock operations do: slot, cordon, drain, grant; uncordon, release.

200 to pre-reboot means: the slot is held *and* the node is drained, both looked at just now. Everything else is a
refusal that says why.
"""

import asyncio
from collections.abc import Mapping

from kube_upgrade.core.fleetlock.protocol import NOTHING_HELD, Answer, Kind, Operation, Request
from kube_upgrade.core.fleetlock.slots import Verdict, Wish
from kube_upgrade.core.fleetlock.upkeep import reserved
from kube_upgrade.fleetlock.announce import Told, about
from kube_upgrade.fleetlock.cluster import Cluster
from kube_upgrade.fleetlock.drainer import Running
from kube_upgrade.fleetlock.queue import Queue
from kube_upgrade.fleetlock.settings import Settings
from kube_upgrade.fleetlock.stores import Outcome, StoreUnavailable
from kube_upgrade.fleetlock.stores.store import LockStore
from kube_upgrade.kube.cordon import MarkedByAnother, restore
from kube_upgrade.kube.drain import Drained, DrainProgress, DrainResult, Overran
from kube_upgrade.kube.errors import KubeError
from kube_upgrade.model.lock import DrainMark, Holder, short
from kube_upgrade.model.node import Node
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import LOCK_REQUESTS

SOON, LATER = 1, 5  # Retry-After: asking again at once costs nothing where requests are held open
MUCH_LATER = 60  # after a drain that was given up: the others may have the slot first
NAMES = 3  # pods named in an answer

_log = logs.logger("fleetlock")


class LockService:
    """Answers requests while a replica's caches, queues and drainer run. Without a cluster nothing is drained."""

    def __init__(
        self, *, settings: Settings, store: LockStore, queues: Mapping[str, Queue], cluster: Cluster | None
    ) -> None:
        self._settings = settings
        self._store = store
        self._queues = queues
        self._cluster = cluster
        self._again = SOON if settings.hold_seconds >= LATER else LATER

    async def answer(self, request: Request, source: str = "") -> Answer:
        """The answer to a request, after holdSeconds at most (and what the store and the API server take).

        `source` is the client's address, looked at where the settings want that.
        """
        try:
            answer = await self._answered(request, source)
        except StoreUnavailable as error:
            answer = Answer(kind=Kind.UNAVAILABLE, value=str(error), retry_after=LATER)
        except KubeError as error:
            answer = Answer(kind=Kind.UNAVAILABLE, value=f"the API server: {error}", retry_after=LATER)
        LOCK_REQUESTS.labels(request.operation, answer.kind).inc()
        _log.info("answering", operation=request.operation, group=request.group, client=self._name(request.id),
                  status=answer.status, kind=answer.kind, reason=answer.value)  # fmt: skip
        return answer

    def _name(self, id: str) -> str:
        """Who asks, for the log: an id suffices to release a slot and does not belong there."""
        nodes = self._cluster.machines.find(id) if self._cluster is not None else ()
        return ",".join(node.name for node in nodes) or short(id)

    async def _answered(self, request: Request, source: str) -> Answer:
        nodes = self._cluster.machines.find(request.id) if self._cluster is not None else ()
        if self._settings.check_source and not self._may_speak_for(nodes, source):
            return _wrong_source(source, [node.name for node in nodes])
        if request.operation is Operation.STEADY_STATE:
            return await self._steady_state(request, [node.name for node in nodes])
        if request.group not in self._queues:
            return _unknown(request)
        if len(nodes) > 1:
            return _duplicate([node.name for node in nodes])
        waiting = sum(len(queue) for queue in self._queues.values())
        if waiting >= self._settings.max_waiting:
            value = f"{waiting} requests wait here already"
            return Answer(kind=Kind.UNAVAILABLE, value=value, retry_after=LATER)
        return await self._pre_reboot(request, nodes[0] if nodes else None)

    def _may_speak_for(self, nodes: tuple[Node, ...], source: str) -> bool:
        """True where one of the nodes has this address; nobody knows the address of a machine outside the cluster."""
        return not nodes or any(self._cluster is not None and self._cluster.has_address(node, source) for node in nodes)

    async def _pre_reboot(self, request: Request, node: Node | None) -> Answer:
        until = asyncio.get_running_loop().time() + self._settings.hold_seconds
        outcome = await self._queues[request.group].take(_wish(request, node), self._settings.hold_seconds)
        if not outcome.verdict.holds or outcome.since is None:
            return self._refusal(outcome)
        if self._cluster is None:
            return Answer(kind=Kind.SUCCESS, value="slot held; this server knows no cluster, nothing is drained")
        if (moved := self._moved(request, node)) is not None:
            return moved
        if node is None:
            return Answer(kind=Kind.SUCCESS, value="slot held; no node of the cluster has this id, nothing to drain")
        mark = DrainMark(group=request.group, id=request.id, since=outcome.since, server=self._settings.server)
        answer = await self._drained(self._cluster, node, mark, until)
        if answer.kind is Kind.NODE_BUSY and outcome.holder is not None:  # not our turn: unless it was asked for again
            await self._store.release(mark.group, mark.id, mark.since, outcome.holder.asks)
        return answer

    def _moved(self, request: Request, node: Node | None) -> Answer | None:
        """A second look after the wait: the slot is held, but the nodes are not, or not known, as they were."""
        if self._cluster is None:
            return None
        if missing := self._cluster.not_ready():
            return Answer(kind=Kind.UNAVAILABLE, value=missing, retry_after=SOON)
        now = [(each.uid, each.control_plane) for each in self._cluster.machines.find(request.id)]
        if now == ([] if node is None else [(node.uid, node.control_plane)]):
            return None
        value = "the node with this id changed while its request waited; ask again"
        return Answer(kind=Kind.UNAVAILABLE, value=value, retry_after=SOON)

    async def _drained(self, cluster: Cluster, node: Node, mark: DrainMark, until: float) -> Answer:
        while True:
            running = cluster.drainer.begin(node.name, mark, cluster.policy(mark.group))
            result = await running.result_within(until - asyncio.get_running_loop().time())
            if not isinstance(result, MarkedByAnother):
                return await self._after(cluster, mark, running, result)
            ours = result.mark.of_server(self._settings.server) and result.mark.group in self._queues
            if not ours or await self._is_reserved(result.mark):
                return _node_busy(node.name, result.mark, self._again)
            # left behind by a server of ours that died
            await restore(cluster.api, node.name, result.mark.same_reservation)

    async def _after(self, cluster: Cluster, mark: DrainMark, running: Running, result: DrainResult | None) -> Answer:
        match result:
            case Drained():
                return await self._grant(cluster, mark, result, running.node)
            case Overran():
                value = f"gave up draining {running.node} at its deadline; it is uncordoned and its slot is free"
                return Answer(kind=Kind.DRAIN_GAVE_UP, value=value, retry_after=MUCH_LATER)
            case _:
                return self._draining(running)

    async def _grant(self, cluster: Cluster, mark: DrainMark, drained: Drained, node: str) -> Answer:
        """The last look at the lock: a release by someone else may have been faster than the drain."""
        if not await self._is_reserved(mark):
            return Answer(
                kind=Kind.DRAINING, value="the slot was released while the node was drained", retry_after=SOON
            )
        if missing := cluster.not_ready():
            return Answer(kind=Kind.UNAVAILABLE, value=missing, retry_after=SOON)
        kind, value = Kind.SUCCESS, f"slot held; {node} is drained"
        if drained.kept:
            kind = Kind.NO_OTHER_NODE
            value = f"NoOtherNode: {node} is cordoned; no other node could take {_some(drained.kept)}"
        cluster.announcer.announce(about(node, Told.GRANTED, f"group {mark.group}: {value}"))
        return Answer(kind=kind, value=value)

    async def _steady_state(self, request: Request, nodes: list[str]) -> Answer:
        """Uncordon, then release: a slot is not free while its node is out of service.

        Of several nodes with this id nobody knows which one asks: the other may be in the middle of its upgrade.
        """
        if self._cluster is None:
            holder = await self._store.release(request.group, request.id)
            if holder is not None and holder.node:
                _log.warning("released without uncordoning: this server knows no cluster", node=holder.node)
        else:
            holder = (await self._store.read(request.group)).holder(request.id)
            if holder is not None and len(nodes) > 1:
                return _duplicate(nodes)
            if holder is not None:
                await self._uncordon(self._cluster, request, holder)
                await self._store.release(request.group, request.id, holder.since)
        if holder is None:
            known = request.group in self._queues
            return Answer(kind=Kind.SUCCESS, value=NOTHING_HELD) if known else _unknown(request)
        for queue in self._queues.values():
            queue.wake()
        return Answer(kind=Kind.SUCCESS, value="slot released")

    async def _uncordon(self, cluster: Cluster, request: Request, holder: Holder) -> None:
        if not holder.node:
            return
        cluster.drainer.stop(holder.node)

        def ours(mark: DrainMark) -> bool:
            """Of this reservation or an older one: where a release stalls, the machine may have the slot anew."""
            same = (mark.group, mark.id) == (request.group, request.id) and mark.of_server(self._settings.server)
            return same and mark.since <= holder.since

        if await restore(cluster.api, holder.node, ours):
            _log.info("back in service", node=holder.node, group=request.group)
            note = f"group {request.group}: back in service, slot released"
            cluster.announcer.announce(about(holder.node, Told.RELEASED, note))

    async def _is_reserved(self, mark: DrainMark) -> bool:
        return reserved(await self._store.read(mark.group), mark)

    def _refusal(self, outcome: Outcome) -> Answer:
        if outcome.verdict is Verdict.CONTROL_PLANE_BUSY and outcome.busy is not None:
            turn = outcome.busy
            value = f"control-plane node {turn.holder.who} holds a slot of group {turn.group}; one at a time"
            return Answer(kind=Kind.CONTROL_PLANE_BUSY, value=value, retry_after=self._again)
        group = outcome.group
        if outcome.verdict is Verdict.QUEUED:
            value = f"clients at other replicas wait longer for a slot of group {group.name}"
            return Answer(kind=Kind.ALL_SLOTS_FULL, value=value, retry_after=self._again)
        holders = ", ".join(holder.who for holder in group.holders[:NAMES])
        more = f" and {len(group.holders) - NAMES} more" if len(group.holders) > NAMES else ""
        value = f"all slots of group {group.name} ({group.slots}) are held: {holders}{more}"
        return Answer(kind=Kind.ALL_SLOTS_FULL, value=value, retry_after=self._again)

    def _draining(self, running: Running) -> Answer:
        progress = running.progress
        if progress.blocked:
            blocked = progress.blocked[0]
            by = f" by PodDisruptionBudget {blocked.pdb}" if blocked.pdb else ""
            value = f"draining {running.node}: {blocked.pod} is held back{by}: {blocked.message}"
            return Answer(kind=Kind.DRAIN_BLOCKED, value=value, retry_after=self._again)
        what = running.trouble or _left(progress)
        return Answer(kind=Kind.DRAINING, value=f"draining {running.node}: {what}", retry_after=self._again)


def _wish(request: Request, node: Node | None) -> Wish:
    if node is None:
        return Wish(id=request.id)
    return Wish(id=request.id, node=node.name, uid=node.uid, control_plane=node.control_plane, reason=_why(node))


def _why(node: Node) -> str:
    """What it wants the slot for, as far as its Node tells: the protocol has no word for it."""
    return f"upgrade to {node.order.version}" if node.order is not None else "reboot"


def _unknown(request: Request) -> Answer:
    return Answer(kind=Kind.UNKNOWN_GROUP, value=f"this server has no group {request.group!r}")


def _duplicate(names: list[str]) -> Answer:
    value = f"nodes {', '.join(names)} have the same machine-id: one of them must get its own"
    return Answer(kind=Kind.DUPLICATE_ID, value=value)


def _wrong_source(source: str, names: list[str]) -> Answer:
    value = f"{source} is no address of {' or '.join(names)}, whose id this is"
    return Answer(kind=Kind.WRONG_SOURCE, value=value)


def _node_busy(node: str, mark: DrainMark, retry_after: int) -> Answer:
    value = f"{node} already holds a slot of group {mark.group}: it must be released first"
    return Answer(kind=Kind.NODE_BUSY, value=value, retry_after=retry_after)


def _left(progress: DrainProgress) -> str:
    return f"{len(progress.left)} pods left: {_some(progress.left)}" if progress.left else "looking at its pods"


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more
