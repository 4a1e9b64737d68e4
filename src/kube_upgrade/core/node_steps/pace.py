"""Pauses of this node: its dice come from a seed, so that the same look gives the same answer, and nodes differ."""

import hashlib
from datetime import timedelta

from kube_upgrade.core.backoff import pause

CEILING = timedelta(minutes=30)


def pause_after(failures: int, *, base: timedelta, seed: str, ceiling: timedelta = CEILING) -> timedelta:
    """The pause after this many failures in a row; `base` is the shortest whole one."""
    first = 2 * base.total_seconds()  # dice halve a pause at most
    most = max(first, ceiling.total_seconds())
    return timedelta(seconds=pause(failures, first=first, most=most, dice=dice(f"{seed}/{failures}")))


def spread(value: timedelta, *, seed: str) -> timedelta:
    """The value ±20 %."""
    return value * (0.8 + 0.4 * dice(seed))


def dice(seed: str) -> float:
    """A number in 0..1, always the same for one seed."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4]) / 0xFFFFFFFF
