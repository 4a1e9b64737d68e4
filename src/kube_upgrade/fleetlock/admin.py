"""What an administrator asks of a lock server: who holds what, and a slot back. By its Leases, or over HTTP."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kube_upgrade.fleetlock.stores import Interest, StoreUnavailable
from kube_upgrade.fleetlock.stores.kubernetes import LeaseRecords
from kube_upgrade.fleetlock.stores.store import LockStore
from kube_upgrade.fleetlock_client import FleetLock, Refused, ShownHolder, Unreadable, read_locks
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.clock import stop
from kube_upgrade.model.lock import Holder, short
from kube_upgrade.model.moment import time_or_none

FIRST_LIST_SECONDS = 15.0


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
        """Every slot that is held. Raises AdminError."""
        records = LeaseRecords(self.api, self.namespace, {})
        watching = asyncio.create_task(records.run(lambda: None, Interest(waiting=lambda: False)))
        try:
            async with asyncio.timeout(FIRST_LIST_SECONDS):
                await records.synced.wait()
        except TimeoutError:
            reason = f"no list of the Leases in {self.namespace} within {FIRST_LIST_SECONDS:g} s"
            raise AdminError(f"{reason}: is the API server there, and may you list them?") from None
        finally:
            await stop(watching)
        groups = sorted(records.groups().items())
        return [Held(group=name, holder=one, who=one.who) for name, group in groups for one in group.holders]

    async def release(self, group: str, who: str) -> Held:
        """Free the slot of a node (or id). Raises AdminError."""
        found = _one(await self.held(), group, who)
        store = LockStore(LeaseRecords(self.api, self.namespace, {}), lambda: datetime.now(UTC))
        try:
            await store.release(group, found.holder.id, found.holder.since)
        except StoreUnavailable as error:
            raise AdminError(str(error)) from None
        return found


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
        return found


def _shown(group: str, one: ShownHolder) -> Held:
    since = time_or_none(one.since) or datetime.min.replace(tzinfo=UTC)
    holder = Holder(id=one.id, since=since, node=one.node, uid=one.uid, reason=one.reason)
    return Held(group=group, holder=holder, who=one.who)


def _one(held: Iterable[Held], group: str, who: str) -> Held:
    """The slot that is meant: a node's name, what the list shows, or an id."""
    mine = [one for one in held if one.group == group]
    for one in mine:
        if who in (one.holder.node, one.holder.id, one.who) or one.who == short(who):
            return one
    holders = ", ".join(one.who for one in mine) or "nobody"
    raise AdminError(f"group {group}: {who!r} holds no slot; holders: {holders}")
