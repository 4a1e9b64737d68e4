"""What the two FleetLock operations do: slot, cordon, drain, grant; uncordon, release.

200 to pre-reboot means: the slot is held *and* the node is drained, both looked at just now. Everything else is a
refusal that says why.
"""

import asyncio
from collections.abc import Mapping

from kube_upgrade.core.fleetlock.protocol import Answer, Kind, Operation, Request
from kube_upgrade.core.fleetlock.slots import Verdict, Wish
from kube_upgrade.core.fleetlock.upkeep import reserved
from kube_upgrade.fleetlock.drainer import Drainer, Running
from kube_upgrade.fleetlock.machines import Machines
from kube_upgrade.fleetlock.queue import Queue
from kube_upgrade.fleetlock.settings import Settings
from kube_upgrade.fleetlock.stores import Outcome, Store, StoreUnavailable
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.cordon import MarkedByAnother, restore
from kube_upgrade.kube.drain import Drained, DrainProgress
from kube_upgrade.kube.errors import KubeError
from kube_upgrade.model.lock import DrainMark, Holder
from kube_upgrade.model.node import Node
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import LOCK_REQUESTS

SOON, LATER = 1, 5  # Retry-After: asking again at once costs nothing where requests are held open
NAMES = 3  # pods named in an answer

_log = logs.logger("fleetlock")


class LockService:
    """Answers requests while a replica's caches, queues and drainer run."""

    def __init__(
        self,
        *,
        settings: Settings,
        api: Api,
        store: Store,
        machines: Machines,
        queues: Mapping[str, Queue],
        drainer: Drainer,
    ) -> None:
        self._settings = settings
        self._api = api
        self._store = store
        self._machines = machines
        self._queues = queues
        self._drainer = drainer
        self._again = SOON if settings.hold_seconds >= LATER else LATER

    async def answer(self, request: Request) -> Answer:
        """The answer to a request, after holdSeconds at most (and what the API server takes)."""
        try:
            answer = await self._answered(request)
        except (StoreUnavailable, KubeError) as error:
            answer = Answer(kind=Kind.UNAVAILABLE, value=f"the API server: {error}", retry_after=LATER)
        LOCK_REQUESTS.labels(request.operation, answer.kind).inc()
        _log.info("answering", operation=request.operation, group=request.group, id=request.id, status=answer.status,
                  kind=answer.kind, reason=answer.value)  # fmt: skip
        return answer

    async def _answered(self, request: Request) -> Answer:
        if request.operation is Operation.STEADY_STATE:
            return await self._steady_state(request)
        if request.group not in self._queues:
            return _unknown(request)
        nodes = self._machines.find(request.id)
        if len(nodes) > 1:
            return _duplicate([node.name for node in nodes])
        return await self._pre_reboot(request, nodes[0] if nodes else None)

    async def _pre_reboot(self, request: Request, node: Node | None) -> Answer:
        until = asyncio.get_running_loop().time() + self._settings.hold_seconds
        outcome = await self._queues[request.group].take(_wish(request, node), self._settings.hold_seconds)
        if not outcome.verdict.holds or outcome.since is None:
            return self._refusal(outcome)
        if node is None:
            return Answer(kind=Kind.SUCCESS, value="slot held; no node of the cluster has this id, nothing to drain")
        mark = DrainMark(group=request.group, id=request.id, since=outcome.since)
        while True:
            running = self._drainer.begin(node.name, mark, self._settings.groups[request.group].policy)
            result = await running.result_within(until - asyncio.get_running_loop().time())
            if isinstance(result, Drained):
                return await self._grant(mark, result, node.name)
            if not isinstance(result, MarkedByAnother):
                return self._draining(running)
            if await self._is_reserved(result.mark):
                await self._store.release(mark.group, mark.id, mark.since)
                return _node_busy(node.name, result.mark, self._again)
            await restore(self._api, node.name, result.mark.__eq__)  # left behind by a server that died

    async def _grant(self, mark: DrainMark, drained: Drained, node: str) -> Answer:
        """The last look at the lock: a release by someone else may have been faster than the drain."""
        if not await self._is_reserved(mark):
            return Answer(
                kind=Kind.DRAINING, value="the slot was released while the node was drained", retry_after=SOON
            )
        if drained.kept:
            value = f"NoOtherNode: {node} is cordoned; no other node could take {_some(drained.kept)}"
            return Answer(kind=Kind.NO_OTHER_NODE, value=value)
        return Answer(kind=Kind.SUCCESS, value=f"slot held; {node} is drained")

    async def _steady_state(self, request: Request) -> Answer:
        """Uncordon, then release: a slot is not free while its node is out of service."""
        group = await self._store.read(request.group)
        holder = group.holder(request.id)
        if holder is None:
            known = request.group in self._queues
            return Answer(kind=Kind.SUCCESS, value="no slot was held") if known else _unknown(request)
        await self._uncordon(request, holder)
        await self._store.release(request.group, request.id, holder.since)
        for queue in self._queues.values():
            queue.wake()
        return Answer(kind=Kind.SUCCESS, value="slot released")

    async def _uncordon(self, request: Request, holder: Holder) -> None:
        if not holder.node:
            return
        self._drainer.stop(holder.node)

        def ours(mark: DrainMark) -> bool:
            return (mark.group, mark.id) == (request.group, request.id)

        if await restore(self._api, holder.node, ours):
            _log.info("back in service", node=holder.node, group=request.group)

    async def _is_reserved(self, mark: DrainMark) -> bool:
        return reserved(await self._store.read(mark.group), mark)

    def _refusal(self, outcome: Outcome) -> Answer:
        if outcome.verdict is Verdict.CONTROL_PLANE_BUSY and outcome.busy is not None:
            turn = outcome.busy
            value = f"control-plane node {_who(turn.holder)} holds a slot of group {turn.group}; one at a time"
            return Answer(kind=Kind.CONTROL_PLANE_BUSY, value=value, retry_after=self._again)
        group = outcome.group
        holders = ", ".join(_who(holder) for holder in group.holders[:NAMES])
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
    return Wish(id=request.id, node=node.name, uid=node.uid, control_plane=node.control_plane)


def _unknown(request: Request) -> Answer:
    return Answer(kind=Kind.UNKNOWN_GROUP, value=f"this server has no group {request.group!r}")


def _duplicate(names: list[str]) -> Answer:
    value = f"nodes {', '.join(names)} have the same machine-id: one of them must get its own"
    return Answer(kind=Kind.DUPLICATE_ID, value=value)


def _node_busy(node: str, mark: DrainMark, retry_after: int) -> Answer:
    value = f"{node} already holds a slot of group {mark.group}: it must be released first"
    return Answer(kind=Kind.NODE_BUSY, value=value, retry_after=retry_after)


def _who(holder: Holder) -> str:
    return holder.node or holder.id


def _left(progress: DrainProgress) -> str:
    return f"{len(progress.left)} pods left: {_some(progress.left)}" if progress.left else "looking at its pods"


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more
