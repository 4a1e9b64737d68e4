"""Records in the API server: one Lease per group and one for the control planes' turn.

Reads go to the API server itself (a GET without resourceVersion is linearizable), never to the informer's copy.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import NoReturn

from kube_upgrade.fleetlock.stores import TRIES, Interest, StoreUnavailable
from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.errors import Conflict, KubeError, NotFound
from kube_upgrade.kube.informer import Informer
from kube_upgrade.kube.wire import lock as wire
from kube_upgrade.kube.wire.lock import BadLockObject, LockLease
from kube_upgrade.model.lock import LockGroup, Turn
from kube_upgrade.telemetry import logs

_log = logs.logger("fleetlock.leases")


class LeaseRecords:
    """The groups named in `slots` (name to number of slots), and others that have holders, in Leases of `namespace`."""

    def __init__(self, api: Api, namespace: str, slots: Mapping[str, int]) -> None:
        self._api = api
        self._namespace = namespace
        self._slots = slots
        self._writing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # spares this replica its own 409s
        self._own: dict[str, LockLease] = {}  # what was written here last: the informer hears of it later
        self._changed: Callable[[], None] = _nobody
        self._leases = Informer(
            api,
            paths.leases(namespace),
            type=LockLease,
            value=_itself,
            params=wire.SELECTOR,
            on_change=self._heard,
        )

    async def read_group(self, name: str) -> LockGroup:
        """The group as the API server has it; one without a Lease has no holders. Raises StoreUnavailable."""
        async with _named_trouble():
            return await self._read(name)

    async def change_group(
        self, name: str, change: Callable[[LockGroup], LockGroup], *, lag: bool = False
    ) -> tuple[LockGroup, LockGroup]:
        """Read, change, compare-and-swap, until nobody was in between. Raises StoreUnavailable.

        With `lag` the first look is at the informer's copy while its watch stands: one request instead of two where
        it leads to a write.
        """
        async with _named_trouble(), self._writing[name]:
            for attempt in range(TRIES):
                copy = self._copy(name) if lag and attempt == 0 else None
                seen = copy if copy is not None else await self._read(name)
                new = change(seen)
                if new == seen and copy is None:
                    return seen, seen
                if new == seen:
                    continue  # nothing to write, but an old copy is no reason to refuse: what is there decides
                if (written := await self._write(wire.write_group(new, self._namespace))) is not None:
                    self._own[name] = written
                    return seen, wire.read_group(written, name, new.slots)
        raise StoreUnavailable(f"group {name}: lost {TRIES} compare-and-swaps in a row")

    async def read_turn(self) -> tuple[Turn | None, str]:
        """The turn and its resourceVersion. Raises StoreUnavailable."""
        async with _named_trouble():
            try:
                lease = await self._api.get(paths.lease(self._namespace, wire.TURN_NAME), LockLease)
            except NotFound:
                return None, ""
            return wire.read_turn(lease), lease.metadata.resource_version

    async def write_turn(self, turn: Turn | None, revision: str) -> bool:
        """False where the turn has another resourceVersion by now. Raises StoreUnavailable."""
        async with _named_trouble():
            return await self._write(wire.write_turn(turn, self._namespace, revision)) is not None

    def groups(self) -> dict[str, LockGroup]:
        """The informer's copy. A Lease that can't be read is left out: nothing is known of its group."""
        found = {name: LockGroup(name=name, slots=count) for name, count in self._slots.items()}
        for lease in self._leases.items.values():
            name = lease.metadata.annotations.get(wire.GROUP)
            if name is None:
                continue
            try:
                group = wire.read_group(lease, name, self._slots.get(name, 0))
            except BadLockObject as bad:
                _log.warning("unreadable lock", reason=str(bad))
                found.pop(name, None)
                continue
            if name in self._slots or group.holders:
                found[name] = group
        return found

    def turn(self) -> Turn | None:
        """The informer's copy; None too where it can't be read."""
        lease = self._leases.items.get(f"{self._namespace}/{wire.TURN_NAME}")
        with suppress(BadLockObject):
            return wire.read_turn(lease) if lease else None
        return None

    @property
    def synced(self) -> asyncio.Event:
        """Set once the Leases were listed."""
        return self._leases.synced

    async def run(self, changed: Callable[[], None], interest: Interest) -> NoReturn:
        """Watch the Leases until cancelled; a watch is quick whoever is interested."""
        self._changed = changed
        await self._leases.run()

    def _heard(self, key: str, old: LockLease | None, new: LockLease | None) -> None:
        if new is None and old is not None:  # deleted: what was written here is no more
            self._own.pop(old.metadata.annotations.get(wire.GROUP, ""), None)
        self._changed()

    def _copy(self, group: str) -> LockGroup | None:
        """The group as the informer knows it; None where it may not be asked."""
        if not self._leases.synced.is_set() or self._leases.stale_since is not None:
            return None
        known = (self._leases.items.get(f"{self._namespace}/{wire.lease_name(group)}"), self._own.get(group))
        lease = max((lease for lease in known if lease is not None), key=_age, default=None)
        if lease is None:
            return None
        return wire.read_group(lease, group, self._slots.get(group, 0))

    async def _read(self, group: str) -> LockGroup:
        count = self._slots.get(group, 0)
        try:
            lease = await self._api.get(paths.lease(self._namespace, wire.lease_name(group)), LockLease)
        except NotFound:
            return LockGroup(name=group, slots=count)
        return wire.read_group(lease, group, count)

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


def _age(lease: LockLease) -> int:
    """Which of two is newer; a wrong answer costs a conflict."""
    version = lease.metadata.resource_version
    return int(version) if version.isdecimal() else 0


def _itself(lease: LockLease) -> LockLease:
    return lease


def _nobody() -> None:
    """Nobody listens yet."""


@asynccontextmanager
async def _named_trouble() -> AsyncIterator[None]:
    try:
        yield
    except (KubeError, BadLockObject) as error:
        raise StoreUnavailable(f"the API server: {error}") from error
