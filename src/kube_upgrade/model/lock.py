"""FleetLock's words: groups, slots and who holds them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who owns one slot. `node` and `uid` are empty for a machine that is not in the cluster.

    (group, id, since) names one reservation for ever: a later one of the same id has a later `since`.
    `asks` counts how often it was asked for: whoever gives a slot back for a client that hung up names the ask that
    it answers, and frees nothing where the client has asked again meanwhile, here or at another replica.
    """

    id: str
    since: datetime
    node: str = ""
    uid: str = ""
    reason: str = ""
    asks: int = 1

    @property
    def who(self) -> str:
        """A name for people: the node's, or the beginning of the id, which alone is not enough to release a slot."""
        return self.node or short(self.id)


def short(id: str) -> str:
    """Enough of an id to recognise it in a list, and not enough to use it."""
    return f"{id[: min(8, len(id) // 4)]}…"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockGroup:
    """The slots of one group, and the state version (`revision`) that a compare-and-swap names.

    `waiting` names the replicas at which clients wait, whose turn is next first; each stands there once.
    """

    name: str
    slots: int
    holders: tuple[Holder, ...] = ()
    revision: str = ""
    waiting: tuple[str, ...] = ()
    last: datetime | None = None  # the highest `since` ever given here: no two reservations of a group share theirs

    def holder(self, id: str) -> Holder | None:
        """The holder with this id, if it has a slot."""
        return next((held for held in self.holders if held.id == id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The reservation whose control-plane node may be out of service: at most one, whatever its group."""

    group: str
    holder: Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainMark:
    """What the lock server notes on a Node that it cordons: for which reservation, and whether a cordon was there.

    `spent` is how many seconds drains of this reservation have worked on it, over all replicas and crashes; `drained`
    that the node was seen empty once. `server` tells lock servers of one cluster apart; empty in marks of old ones.
    """

    group: str
    id: str
    since: datetime
    cordoned_before: bool = False
    spent: int = 0
    drained: bool = False
    server: str = ""

    def of_server(self, name: str) -> bool:
        """True where this lock server made the mark, or nobody knows who did."""
        return self.server in ("", name) or not name

    def same_reservation(self, other: "DrainMark") -> bool:
        """True where both belong to one reservation."""
        same = (self.group, self.id, self.since) == (other.group, other.id, other.since)
        return same and self.of_server(other.server)
