"""Where slots are kept: `Records` are one kind of place, `store.LockStore` is the one way of using them."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn, Protocol

from kube_upgrade.core.fleetlock.slots import Verdict
from kube_upgrade.model.lock import Holder, LockGroup, Turn

TRIES = 20  # compare-and-swaps in a row that may lose to other replicas


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
    def holder(self) -> Holder | None:
        """The reservation that the id holds, if any."""
        return self.group.holder(self.id)

    @property
    def since(self) -> datetime | None:
        """Which reservation the id holds; None where it holds none."""
        return self.holder.since if self.holder else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interest:
    """Whether anybody waits for a change: `waiting` tells, and `begins` is set when somebody comes."""

    waiting: Callable[[], bool]
    begins: asyncio.Event = field(default_factory=asyncio.Event)


class Records(Protocol):
    """One record per group and one for the control planes' turn, each replaced whole by compare-and-swap.

    Methods that write are durable when they return. All raise StoreUnavailable. The reads are linearizable, which the
    proof in core.fleetlock.slots needs; `groups` and `turn` alone are a copy, as new as `run` keeps it.
    """

    async def read_group(self, name: str) -> LockGroup:
        """The group as it is stored now; one without a record has no holders."""
        ...

    async def change_group(
        self, name: str, change: Callable[[LockGroup], LockGroup], *, lag: bool = False
    ) -> tuple[LockGroup, LockGroup]:
        """Read, change, compare-and-swap, until nobody was in between. The group before and after, both as stored.

        With `lag` the first look may be at the copy: what is written is right all the same, since an old copy loses its
        compare-and-swap, but that nothing is to be changed may be old news.
        """
        ...

    async def read_turn(self) -> tuple[Turn | None, str]:
        """Whose turn it is, and the revision for `write_turn`."""
        ...

    async def write_turn(self, turn: Turn | None, revision: str) -> bool:
        """Replace the turn that has this revision (empty: none is stored); False where someone was faster."""
        ...

    def groups(self) -> Mapping[str, LockGroup]:
        """The copy: every configured group and every other that has holders. One that can't be read is left out."""
        ...

    def turn(self) -> Turn | None:
        """The copy of the turn."""
        ...

    @property
    def synced(self) -> asyncio.Event:
        """Set once the copy is filled."""
        ...

    async def run(self, changed: Callable[[], None], interest: Interest) -> NoReturn:
        """Keep the copy until cancelled, and call `changed` after each change: at once while somebody waits for it."""
        ...
