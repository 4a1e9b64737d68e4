"""Moments as text: what is read, and what counts as absent."""

from datetime import UTC, datetime, timedelta

import pytest

from kube_upgrade.model.moment import time_or_none, time_text


def test_a_moment_is_read_with_its_zone_and_written_in_utc() -> None:
    moment = time_or_none("2026-11-24T02:00:00+02:00")
    assert moment == datetime(2026, 11, 24, tzinfo=UTC)
    assert moment
    assert time_text(moment) == "2026-11-24T00:00:00Z"


@pytest.mark.parametrize("text", [None, "", "soon", "2026-11-24", "2026-11-24T02:00:00"])
def test_what_is_no_moment_with_a_zone_counts_as_absent(text: str | None) -> None:
    assert time_or_none(text) is None


@pytest.mark.parametrize("text", ["9000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
def test_a_moment_from_the_year_9000_on_counts_as_absent(text: str) -> None:
    """Anyone may write one on a Node, and after the last there is no next: who reckoned with it would end."""
    assert time_or_none(text) is None
    last = time_or_none("8999-12-31T23:59:59.999999Z")
    assert last
    assert last + timedelta(days=366)
