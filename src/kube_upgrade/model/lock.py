"""FleetLock's words: groups, slots and who holds them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who owns one slot. `node` and `uid` are empty for a machine that is not in the cluster."""

    id: str
    since: datetime
    node: str = ""
    uid: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockGroup:
    """The slots of one group, and the state version (`revision`) that a compare-and-swap names."""

    name: str
    slots: int
    holders: tuple[Holder, ...] = ()
    revision: str = ""

    def holder(self, id: str) -> Holder | None:
        """The holder with this id, if it has a slot."""
        return next((held for held in self.holders if held.id == id), None)
