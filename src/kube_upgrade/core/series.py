"""Which of many equal announcements become writes: client-go's event series, at most one write per key and pause."""

from dataclasses import dataclass, replace

SERIES_SECONDS = 360.0  # a repetition later than this begins a new event
WRITE_SECONDS = 10.0  # repetitions within this only count; the next later one carries the sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One event and its repetitions; times are monotonic seconds."""

    name: str  # of the Event object
    count: int
    seen: float
    written: float


def repeated(before: Series | None, name: str, now: float) -> Series:
    """The series after one more announcement at `now`: a new one under `name`, or the old one counted up."""
    if before is None or now - before.seen > SERIES_SECONDS:
        return Series(name=name, count=1, seen=now, written=now)
    due = now - before.written >= WRITE_SECONDS
    return replace(before, count=before.count + 1, seen=now, written=now if due else before.written)
