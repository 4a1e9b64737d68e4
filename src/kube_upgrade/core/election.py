"""Who may hold a lease, by client-go's rules: clocks of other machines are never compared, only changes are timed.

Why two never lead together, if clocks run at about the same speed: a holder stops `renew_deadline` after it *began* its
last successful renewal; everybody else sees that renewal later than it began, and waits `duration` from then.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from kube_upgrade.model.lease import LeaseRecord, Terms


@dataclass(frozen=True, slots=True)
class Sighting:
    """A record, and since when (own monotonic clock, seconds) this observer has known it unchanged."""

    record: LeaseRecord
    since: float


def sight(before: Sighting | None, record: LeaseRecord, now: float) -> Sighting:
    """What is known after reading `record` at `now`: the time of an unchanged record stays."""
    return before if before is not None and before.record == record else Sighting(record, now)


def may_take(seen: Sighting, me: str, now: float, terms: Terms) -> bool:
    """True where the lease is free, mine already, or unchanged for as long as its holder promised."""
    held = seen.record
    return held.holder in ("", me) or now >= seen.since + (held.duration or terms.duration)


def taken(held: LeaseRecord | None, me: str, at: datetime, terms: Terms) -> LeaseRecord:
    """The record that makes me the holder at the wall-clock moment `at`; a renewal keeps when I acquired it."""
    if held is not None and held.holder == me:
        return replace(held, duration=terms.duration, renewed=at)
    transitions = held.transitions + 1 if held is not None else 0
    return LeaseRecord(holder=me, duration=terms.duration, acquired=at, renewed=at, transitions=transitions)


def released(held: LeaseRecord, at: datetime) -> LeaseRecord:
    """The record that lets anyone take over at once."""
    return replace(held, holder="", duration=1.0, acquired=at, renewed=at)


def must_stop_at(renewed: float, terms: Terms) -> float:
    """Until when (own monotonic clock) I may act as leader after a renewal that I began at `renewed`."""
    return renewed + terms.renew_deadline
