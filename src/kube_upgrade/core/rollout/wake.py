"""When to look again if nothing happens before."""

from collections.abc import Iterator
from datetime import datetime

from kube_upgrade.core.rollout import windows
from kube_upgrade.core.rollout.fleet import Fleet, waiting_order
from kube_upgrade.core.rollout.upkeep import renewal


def wake_at(fleet: Fleet) -> datetime | None:
    """The first moment at which a rule's answer changes by time alone; None where none does."""
    return min((moment for moment in _moments(fleet) if moment > fleet.seen.now), default=None)


def _moments(fleet: Fleet) -> Iterator[datetime]:
    yield from _known(
        windows.opens_at(fleet.seen.plan.windows, fleet.seen.now),
        fleet.window_closes,
        _freeze_turns(fleet),
        fleet.foreign_until,
        renewal(fleet),
    )
    for soaking in fleet.soaking.values():
        yield from soaking.values()
    for name, claim in fleet.claims.items():
        order = fleet.nodes[name].order
        if order and order.start_before and waiting_order(fleet.nodes[name]):
            yield order.start_before
        if claim.started_at and not claim.proven_at:
            yield claim.started_at + fleet.seen.plan.progress_deadline


def _freeze_turns(fleet: Fleet) -> datetime | None:
    freezes, now = fleet.seen.plan.freezes, fleet.seen.now
    freeze = windows.freeze_at(freezes, now)
    return freeze.until if freeze else windows.next_freeze(freezes, now)


def _known(*moments: datetime | None) -> Iterator[datetime]:
    return (moment for moment in moments if moment)
