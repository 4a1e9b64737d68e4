"""Slots in the API server: one Lease per group and one for the control planes' turn, each written by compare-and-swap.

Reads go to the API server itself (a GET without resourceVersion is linearizable), never to a cache: the proof in
core.fleetlock.slots needs a group that is read after the turn to be as new as the turn.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime

from kube_upgrade.core.fleetlock import slots
from kube_upgrade.core.fleetlock.slots import Verdict, Wish
from kube_upgrade.fleetlock.stores import Outcome, StoreUnavailable
from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.errors import Conflict, KubeError, NotFound
from kube_upgrade.kube.wire import lock as wire
from kube_upgrade.kube.wire.lock import BadLockObject, LockLease
from kube_upgrade.model.lock import Holder, LockGroup, Turn

TRIES = 20  # compare-and-swaps in a row that may lose to other replicas


class KubernetesStore:
    """The groups named in `slots` (name to number of slots), kept in Leases of `namespace`; `now` is the wall clock."""

    def __init__(self, api: Api, namespace: str, slots: Mapping[str, int], now: Callable[[], datetime]) -> None:
        self._api = api
        self._namespace = namespace
        self._slots = slots
        self._now = now
        self._writing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # spares this replica its own 409s

    async def read(self, group: str) -> LockGroup:
        """The group as the API server has it; one without a Lease has no holders. Raises StoreUnavailable."""
        async with _named_trouble():
            return await self._read(group)

    async def reserve(self, group: str, wish: Wish) -> Outcome:
        """Try for a slot once. A control-plane node holds it only together with the turn. Raises StoreUnavailable."""
        async with _named_trouble():
            if wish.control_plane and (busy := await self._other_turn(group, wish.id)):
                return _busy(wish.id, await self._read(group), busy)
            now = self._now()
            before, stored = await self._change(group, lambda seen: slots.reserve(seen, wish, now)[0])
            verdict = slots.reserve(before, wish, now)[1]
            holder = stored.holder(wish.id)
            if not wish.control_plane or holder is None:
                return Outcome(id=wish.id, verdict=verdict, group=stored)
            return await self._with_turn(stored, verdict, holder)

    async def release(self, group: str, id: str, since: datetime | None = None) -> Holder | None:
        """Free the slot, then the turn that went with it. Raises StoreUnavailable."""
        async with _named_trouble():
            before, after = await self._change(group, lambda seen: slots.release(seen, id, since))
            gone = before.holder(id) if after != before else None
            if gone is not None:
                await self._end_turn(Turn(group=group, holder=gone))
            return gone

    async def _with_turn(self, stored: LockGroup, verdict: Verdict, holder: Holder) -> Outcome:
        """The reservation together with the turn; without it a new reservation is given back."""
        busy = await self._take_turn(Turn(group=stored.name, holder=holder))
        if busy is None:
            return Outcome(id=holder.id, verdict=verdict, group=stored)
        if verdict is Verdict.TAKEN:
            _, stored = await self._change(stored.name, lambda seen: slots.release(seen, holder.id, holder.since))
        return _busy(holder.id, stored, busy)

    async def _other_turn(self, group: str, id: str) -> Turn | None:
        """A backed turn of someone else: a look before the leap, so that a busy turn costs no write."""
        turn, _ = await self._read_turn()
        if turn is None or (turn.group, turn.holder.id) == (group, id):
            return None
        return turn if slots.backed(turn, await self._read(turn.group)) else None

    async def _take_turn(self, mine: Turn) -> Turn | None:
        """None: the turn is this reservation's. Otherwise whose it is."""
        for _ in range(TRIES):
            turn, revision = await self._read_turn()
            if slots.names(turn, mine.group, mine.holder):
                return None
            if turn is not None and slots.backed(turn, await self._read(turn.group)):
                return turn
            if await self._write(wire.write_turn(mine, self._namespace, revision)) is not None:
                return None
        raise StoreUnavailable(f"{wire.TURN_NAME}: lost {TRIES} compare-and-swaps in a row")

    async def _end_turn(self, mine: Turn) -> None:
        """Leave the turn to the next. Whoever is faster may take it: it is not backed any more."""
        turn, revision = await self._read_turn()
        if slots.names(turn, mine.group, mine.holder):
            await self._write(wire.write_turn(None, self._namespace, revision))

    async def _change(self, group: str, change: Callable[[LockGroup], LockGroup]) -> tuple[LockGroup, LockGroup]:
        """Read, change, compare-and-swap, until nobody was in between. Returns the group before and after."""
        async with self._writing[group]:
            for _ in range(TRIES):
                seen = await self._read(group)
                new = change(seen)
                if new == seen:
                    return seen, seen
                if (written := await self._write(wire.write_group(new, self._namespace))) is not None:
                    return seen, wire.read_group(written, group, new.slots)
        raise StoreUnavailable(f"group {group}: lost {TRIES} compare-and-swaps in a row")

    async def _read(self, group: str) -> LockGroup:
        count = self._slots.get(group, 0)
        try:
            lease = await self._api.get(paths.lease(self._namespace, wire.lease_name(group)), LockLease)
        except NotFound:
            return LockGroup(name=group, slots=count)
        return wire.read_group(lease, group, count)

    async def _read_turn(self) -> tuple[Turn | None, str]:
        try:
            lease = await self._api.get(paths.lease(self._namespace, wire.TURN_NAME), LockLease)
        except NotFound:
            return None, ""
        return wire.read_turn(lease), lease.metadata.resource_version

    async def _write(self, lease: LockLease) -> LockLease | None:
        """The Lease as written; None where someone else was first, or deleted it: the next read sees what is left."""
        meta = lease.metadata
        try:
            if not meta.resource_version:
                return await self._api.create(paths.leases(self._namespace), lease, LockLease)
            with suppress(NotFound):
                return await self._api.replace(paths.lease(self._namespace, meta.name), lease, LockLease)
        except Conflict:
            pass
        return None


def _busy(id: str, group: LockGroup, turn: Turn) -> Outcome:
    return Outcome(id=id, verdict=Verdict.CONTROL_PLANE_BUSY, group=group, busy=turn)


@asynccontextmanager
async def _named_trouble() -> AsyncIterator[None]:
    try:
        yield
    except (KubeError, BadLockObject) as error:
        raise StoreUnavailable(str(error)) from error
