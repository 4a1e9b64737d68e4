"""Maintenance windows and freezes: may a node start now, and when does that change?"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from cronsim import CronSim

from kube_upgrade.model.plan import Freeze, Window

NEAR = timedelta(minutes=2)


def closes_at(windows: Iterable[Window], now: datetime) -> datetime | None:
    """When the last of the windows that are open now closes; None where none is open."""
    return max((end for window in windows if (end := _open_until(window, now))), default=None)


def opened_at(windows: Iterable[Window], now: datetime) -> datetime | None:
    """When the window opened that closes last of those open now, the longest of several; None where none is open."""
    ends = [(end, window.duration) for window in windows if (end := _open_until(window, now))]
    return max(ends)[0] - max(ends)[1] if ends else None


def opens_at(windows: Iterable[Window], now: datetime) -> datetime | None:
    """When the next window opens after now; None where none ever does."""
    return min((start for window in windows if (start := _next_start(window, now))), default=None)


def freeze_at(freezes: Iterable[Freeze], now: datetime) -> Freeze | None:
    """The freeze that covers now and ends last, if any."""
    covering = [freeze for freeze in freezes if freeze.since <= now < freeze.until]
    return max(covering, key=lambda freeze: freeze.until, default=None)


def next_freeze(freezes: Iterable[Freeze], now: datetime) -> datetime | None:
    """When the next freeze begins after now."""
    return min((freeze.since for freeze in freezes if freeze.since > now), default=None)


def _open_until(window: Window, now: datetime) -> datetime | None:
    # A window opened at the latest start that is not after now. It is looked for further and further back, so that a
    # schedule of every minute costs a few starts, however long its duration is.
    back = min(NEAR, window.duration)
    while not (started := _started_since(window, now - back, now)) and back < window.duration:
        back = min(back * 4, window.duration)
    return started[-1] + window.duration if started else None


def _started_since(window: Window, since: datetime, now: datetime) -> list[datetime]:
    return list(takewhile(lambda start: start <= now, _starts(window, since.astimezone(window.zone))))


def _next_start(window: Window, now: datetime) -> datetime | None:
    return next(iter(_starts(window, now.astimezone(window.zone))), None)


def _starts(window: Window, after: datetime) -> Iterable[datetime]:
    """Starts strictly after `after`, as moments with an offset: durations are then counted in real time.

    Where the clock goes back, the schedule's wall time may lie behind `after`: that start is over.
    """
    moments = (start.astimezone(UTC) for start in CronSim(window.schedule, after))
    return (moment for moment in moments if moment > after)
