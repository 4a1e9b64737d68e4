"""FleetLock's arithmetic: who gets a slot. Pure; a store writes the results by compare-and-swap.

Two rules. Within a group: never more holders than slots, one slot per id, asking again changes nothing. Across groups:
at most one control-plane node may be out of service. A group is one stored object, so the second rule needs an object
of its own, the *turn*: the one reservation whose control-plane node may go. A control-plane node is granted only while
the turn names its reservation.

Fairness. `waiting` lists the replicas with waiting clients. A free slot goes to the first of them; a replica that took
one goes to the end while more of its clients wait. So a client that is k-th in line at one of R replicas gets a slot
after at most k * R hand-overs of the group, whatever the others do, if it stays there: a slot waits for no one who is
away. A replica that is silent while it is its turn is
passed over (`leave`): its place is lost, never a slot. tests/properties/test_fairness.py counts.

Theorem: two control-plane nodes are never granted together. The turn is replaced only while the reservation that it
names is not in its group (`backed` is false, read after the turn, and the replacement compares-and-swaps on the turn
that was read). A reservation enters its group before it takes the turn and never again after it has left, since
`reserve` gives every reservation of a group a later `since`. So a turn that is not backed once is not backed ever
again, and taking it away takes it from nobody. tests/properties/test_lock_store.py interleaves the writes.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from kube_upgrade.model.lock import Holder, LockGroup, Turn
from kube_upgrade.model.moment import TICK


class Verdict(StrEnum):
    """What became of a wish for a slot."""

    TAKEN = "taken"
    HELD = "held"  # the id had one already
    FULL = "full"
    QUEUED = "queued"  # a slot is free, and clients at other replicas are first
    CONTROL_PLANE_BUSY = "control-plane-busy"

    @property
    def holds(self) -> bool:
        """True where the id owns a slot."""
        return self in (Verdict.TAKEN, Verdict.HELD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Someone asks for a slot. `node` and `uid` are empty for a machine that is not in the cluster.

    `replica` is where the client waits until it is its turn, empty where it asks once and goes; `more`: others wait
    behind it there.
    """

    id: str
    node: str = ""
    uid: str = ""
    control_plane: bool = False
    reason: str = ""
    replica: str = ""
    more: bool = False


def reserve(group: LockGroup, wish: Wish, now: datetime) -> tuple[LockGroup, Verdict]:
    """The group after a wish at `now`. A machine that joined the cluster anew keeps its slot under the new uid."""
    held = group.holder(wish.id)
    if held is not None:
        return _with(group, replace(held, node=wish.node, uid=wish.uid, asks=held.asks + 1)), Verdict.HELD
    free = group.slots - len(group.holders)
    if free <= len(ahead(group, wish.replica)):
        return join(group, wish.replica), Verdict.FULL if free <= 0 else Verdict.QUEUED
    since = now if group.last is None else max(now, group.last + TICK)
    holder = Holder(id=wish.id, since=since, node=wish.node, uid=wish.uid, reason=wish.reason)
    waiting = leave(group, wish.replica).waiting + ((wish.replica,) if wish.replica and wish.more else ())
    return replace(group, holders=(*group.holders, holder), last=since, waiting=waiting), Verdict.TAKEN


def ahead(group: LockGroup, replica: str) -> tuple[str, ...]:
    """The replicas whose turn comes before this one's; all of them where it does not wait."""
    return group.waiting[: group.waiting.index(replica)] if replica in group.waiting else group.waiting


def join(group: LockGroup, replica: str) -> LockGroup:
    """The group with this replica in line, at the end if it is new; nobody where it is empty."""
    return group if not replica or replica in group.waiting else replace(group, waiting=(*group.waiting, replica))


def leave(group: LockGroup, replica: str) -> LockGroup:
    """The group without this replica in line: nobody waits there any more, or it did not answer when it was called."""
    return replace(group, waiting=tuple(name for name in group.waiting if name != replica))


def release(group: LockGroup, id: str, since: datetime | None = None, asks: int | None = None) -> LockGroup:
    """The group without this id's reservation; with `since` and `asks`, only where it is that one, asked so often."""

    def meant(held: Holder) -> bool:
        return held.id == id and since in (None, held.since) and asks in (None, held.asks)

    return replace(group, holders=tuple(held for held in group.holders if not meant(held)))


def backed(turn: Turn, group: LockGroup) -> bool:
    """True while the turn's reservation is in `group`, which is the turn's own group, read after the turn."""
    held = group.holder(turn.holder.id)
    return held is not None and held.since == turn.holder.since


def names(turn: Turn | None, group: str, holder: Holder) -> bool:
    """True where the turn belongs to this reservation."""
    return turn is not None and (turn.group, turn.holder.id, turn.holder.since) == (group, holder.id, holder.since)


def _with(group: LockGroup, holder: Holder) -> LockGroup:
    return replace(group, holders=tuple(holder if held.id == holder.id else held for held in group.holders))
