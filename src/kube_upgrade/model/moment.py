"""Moments as text: RFC 3339, always with a zone."""

from datetime import UTC, datetime, timedelta

TICK = timedelta(microseconds=1)  # the least by which two moments differ that are written down


def time_or_none(text: str | None) -> datetime | None:
    """A moment with zone from RFC 3339 text, or None where it is absent, no moment, or without a zone."""
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None


def time_text(moment: datetime) -> str:
    """RFC 3339 in UTC, to the microsecond where there is one: 2026-11-24T02:00:00Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
