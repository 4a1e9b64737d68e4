"""Moments as text: RFC 3339, always with a zone."""

from datetime import UTC, datetime, timedelta

END = 9000  # the year from which on no moment is taken: whatever is added to one before it is a moment, too
TICK = timedelta(microseconds=1)  # the least by which two moments differ that are written down


def time_or_none(text: str | None) -> datetime | None:
    """A moment with zone from RFC 3339 text, or None where it is absent, no moment, without a zone, or past all use."""
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment if moment and moment.tzinfo and moment.year < END else None


def time_text(moment: datetime) -> str:
    """RFC 3339 in UTC, to the microsecond where there is one: 2026-11-24T02:00:00Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
