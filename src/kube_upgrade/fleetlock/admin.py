"""What an administrator asks of a lock server: who holds what, and a slot back. By its Leases, or over HTTP."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from kube_upgrade.core.fleetlock.protocol import NOTHING_HELD
from kube_upgrade.fleetlock.stores import StoreUnavailable
from kube_upgrade.fleetlock.stores.kubernetes import LeaseRecords
from kube_upgrade.fleetlock.stores.store import LockStore
from kube_upgrade.fleetlock_client import FleetLock, Refused, ShownHolder, Unreadable, read_locks
from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.errors import KubeError
from kube_upgrade.kube.wire import lock as wire
from kube_upgrade.kube.wire.lock import BadLockObject, LockLease
from kube_upgrade.model.lock import Holder, short
from kube_upgrade.model.moment import time_or_none


class AdminError(Exception):
    """It could not be done; the text says why, and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One slot that is held. `holder.id` is empty where the server does not show it to us."""

    group: str
    holder: Holder
    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ByLeases:
    """The lock server of a cluster whose slots are in Leases of `namespace`: needs no way to the server itself.

    A released node is uncordoned by the server, which finds a cordon without a slot.
    """

    api: Api
    namespace: str

    async def held(self) -> list[Held]:
        """Every slot that is held. Raises AdminError, also where no lock server ever kept a slot in this namespace."""
        try:
            found = (await self.api.get(paths.leases(self.namespace), _Leases, wire.SELECTOR)).items
            groups = [
                wire.read_group(each, name, 0) for each in found if (name := each.metadata.annotations.get(wire.GROUP))
            ]
        except (KubeError, BadLockObject) as error:
            raise AdminError(f"the Leases in namespace {self.namespace}: {error}") from None
        if not found:
            raise AdminError(
                f"no Lease of a lock server in namespace {self.namespace}: no slot was ever taken there, or the server "
                "keeps them elsewhere: name its namespace with -n, or ask it itself with --server URL"
            )
        groups.sort(key=lambda group: group.name)
        return [Held(group=group.name, holder=one, who=one.who) for group in groups for one in group.holders]

    async def release(self, group: str, who: str) -> Held:
        """Free the slot of a node (or id). Raises AdminError, also where it was free before."""
        found = _one(await self.held(), group, who)
        store = LockStore(LeaseRecords(self.api, self.namespace, {}), lambda: datetime.now(UTC))
        try:
            gone = await store.release(group, found.holder.id, found.holder.since)
        except StoreUnavailable as error:
            raise AdminError(str(error)) from None
        if gone is None:
            raise AdminError(f"group {group}: {found.who} does not hold this slot any more; nothing was freed")
        return found


class _Leases(msgspec.Struct, frozen=True):
    """LeaseList, reduced."""

    items: list[LockLease] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHttp:
    """Any lock server of ours, at `url` (with its secret prefix, if it has one). Ids are shown for a `token`."""

    url: str
    token: str = ""
    ca: Path | None = None

    async def held(self) -> list[Held]:
        """Every slot that is held. Raises AdminError."""
        try:
            groups = await read_locks(self.url, token=self.token, ca=self.ca)
        except (Unreadable, ValueError) as error:
            raise AdminError(str(error)) from None
        return [_shown(name, one) for name, group in sorted(groups.items()) for one in group.holders]

    async def release(self, group: str, who: str) -> Held:
        """Ask the server to release, as the holder would; it uncordons first. Raises AdminError."""
        found = _one(await self.held(), group, who)
        id = found.holder.id or (who if who != found.who else "")
        if not id:
            raise AdminError(f"the server does not show the id of {found.who}: give its read token, or the id itself")
        async with FleetLock(self.url, group, id, ca=self.ca) as lock:
            answer = await lock.steady_state()
        if isinstance(answer, Refused):
            raise AdminError(f"{answer.kind}: {answer.value}")
        if answer.value == NOTHING_HELD:
            raise AdminError(f"group {group}: the server knows no slot of this id; nothing was freed")
        return found


def _shown(group: str, one: ShownHolder) -> Held:
    since = time_or_none(one.since) or datetime.min.replace(tzinfo=UTC)
    holder = Holder(id=one.id, since=since, node=one.node, uid=one.uid, reason=one.reason)
    return Held(group=group, holder=holder, who=one.who)


def _one(held: Iterable[Held], group: str, who: str) -> Held:
    """The slot that is meant: a node's name, what the list shows, or an id. Raises AdminError: none, or several."""
    mine = [one for one in held if one.group == group]
    meant = [one for one in mine if _is(one, who)]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise AdminError(f"group {group}: {who!r} means {len(meant)} holders; give the whole id, with the read token")
    holders = ", ".join(one.who for one in mine) or "nobody"
    raise AdminError(f"group {group}: {who!r} holds no slot; holders: {holders}")


def _is(one: Held, who: str) -> bool:
    """By its beginning an id is known only where the whole is not shown: many may begin so."""
    if who in (one.holder.node, one.holder.id, one.who):
        return True
    return not one.holder.id and one.who == short(who)
