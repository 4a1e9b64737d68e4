"""Where slots are kept. Every store writes the results of core.fleetlock.slots by compare-and-swap."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from kube_upgrade.core.fleetlock.slots import Verdict, Wish
from kube_upgrade.model.lock import Holder, LockGroup, Turn


class StoreUnavailable(Exception):
    """The store could not be read or written: nothing may be granted. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the wish of `id` came to: the group as stored, and whose turn is in the way of a control-plane node."""

    id: str
    verdict: Verdict
    group: LockGroup
    busy: Turn | None = None

    @property
    def since(self) -> datetime | None:
        """Which reservation the id holds; None where it holds none."""
        holder = self.group.holder(self.id)
        return holder.since if holder else None


class Store(Protocol):
    """One set of groups with durable holders. Methods raise StoreUnavailable."""

    async def read(self, group: str) -> LockGroup:
        """The group as it is stored now, not as a cache remembers it."""
        ...

    async def reserve(self, group: str, wish: Wish) -> Outcome:
        """Try for a slot once; durable when it returns."""
        ...

    async def release(self, group: str, id: str, since: datetime | None = None) -> Holder | None:
        """Take this id's reservation (with `since`: only that one) away. Returns it, None where there was none."""
        ...
