"""Windows count real time in their own zone, over both DST days too; a freeze covers [since, until)."""

from datetime import UTC, datetime, timedelta
from itertools import takewhile

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from kube_upgrade.core.rollout.windows import closes_at, freeze_at, next_freeze, opened_at, opens_at
from kube_upgrade.model.plan import Freeze
from support.builders import HOUR, NOW, SECOND, a_window


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


NIGHT = a_window("0 2 * * *", hours=4)
BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-24T01:59:59Z", None),
        ("2026-11-24T02:00:00Z", "2026-11-24T06:00:00Z"),  # open from its first moment
        ("2026-11-24T05:59:59.999999Z", "2026-11-24T06:00:00Z"),
        ("2026-11-24T06:00:00Z", None),  # shut at its last
    ],
)
def test_a_window_is_open_from_its_start_until_just_before_its_end(now: str, until: str | None) -> None:
    assert closes_at([NIGHT], at(now)) == (until and at(until))


def test_a_window_may_cross_midnight() -> None:
    assert closes_at([a_window("0 22 * * *", hours=6)], at("2026-11-25T01:00:00Z")) == at("2026-11-25T04:00:00Z")


def test_a_window_longer_than_its_pace_is_open_until_its_latest_start_ends() -> None:
    assert closes_at([a_window("0 * * * *", hours=1.5)], at("2026-11-24T10:10:00Z")) == at("2026-11-24T11:30:00Z")


def test_of_several_open_windows_the_last_to_close_counts() -> None:
    windows = [NIGHT, a_window("30 2 * * *", hours=8)]
    assert closes_at(windows, at("2026-11-24T03:00:00Z")) == at("2026-11-24T10:30:00Z")
    assert opened_at(windows, at("2026-11-24T03:00:00Z")) == at("2026-11-24T02:30:00Z")


def test_of_windows_that_close_together_the_first_to_open_counts() -> None:
    windows = [a_window("0 3 * * *", hours=1), a_window("0 2 * * *", hours=2), a_window("0 20 * * *", hours=1)]
    assert opened_at(windows, at("2026-11-24T03:30:00Z")) == at("2026-11-24T02:00:00Z")
    assert opened_at(windows, at("2026-11-24T02:00:00Z")) == at("2026-11-24T02:00:00Z")


def test_the_next_opening_is_the_earliest_of_all_and_never_now() -> None:
    windows = [NIGHT, a_window("0 20 * * TUE", hours=1)]
    assert opens_at(windows, NOW) == at("2026-11-24T20:00:00Z")
    assert opens_at(windows, at("2026-11-24T20:00:00Z")) == at("2026-11-25T02:00:00Z")


def test_no_window_has_neither_end_nor_opening() -> None:
    assert (opened_at([], NOW), closes_at([], NOW), opens_at([], NOW)) == (None, None, None)


def test_a_leap_day_may_be_years_away() -> None:
    assert opens_at([a_window("0 0 29 2 *")], NOW) == at("2028-02-29T00:00:00Z")


def test_the_zone_moves_the_window_with_the_season() -> None:
    window = [a_window("0 2 * * SAT", hours=4, zone_name=BERLIN)]
    assert opens_at(window, at("2026-07-01T00:00:00Z")) == at("2026-07-04T00:00:00Z")
    assert opens_at(window, at("2026-12-01T00:00:00Z")) == at("2026-12-05T01:00:00Z")


# Berlin: 2026-03-29 02:00 becomes 03:00 (one hour missing), 2026-10-25 03:00 becomes 02:00 (one hour twice).


def test_a_window_whose_start_the_clock_leaves_out_opens_all_the_same_that_night() -> None:
    """2:30 does not exist; an administrator still expects the weekly window."""
    window = [a_window("30 2 * * *", hours=2, zone_name=BERLIN)]
    opening = opens_at(window, at("2026-03-28T12:00:00Z"))
    assert opening is not None
    assert at("2026-03-29T00:30:00Z") <= opening <= at("2026-03-29T01:30:00Z")
    assert closes_at(window, opening) == opening + 2 * HOUR


def test_a_window_over_the_missing_hour_lasts_its_full_duration() -> None:
    """From 01:00 CET for 4 h: until 06:00 CEST."""
    window = [a_window("0 1 * * *", hours=4, zone_name=BERLIN)]
    assert closes_at(window, at("2026-03-29T02:30:00Z")) == at("2026-03-29T04:00:00Z")
    assert closes_at(window, at("2026-03-29T04:00:00Z")) is None


def test_a_window_over_the_doubled_hour_lasts_its_full_duration_and_no_longer() -> None:
    """From 01:00 CEST for 4 h: until 04:00 CET."""
    window = [a_window("0 1 * * *", hours=4, zone_name=BERLIN)]
    assert closes_at(window, at("2026-10-25T01:30:00Z")) == at("2026-10-25T03:00:00Z")
    assert closes_at(window, at("2026-10-25T03:00:00Z")) is None


def test_a_daily_window_in_the_doubled_hour_opens_once() -> None:
    window = [a_window("30 2 * * *", hours=0.5, zone_name=BERLIN)]
    first = opens_at(window, at("2026-10-24T12:00:00Z"))
    assert first == at("2026-10-25T00:30:00Z")
    assert opens_at(window, at("2026-10-25T00:30:00Z")) == at("2026-10-26T01:30:00Z")


@pytest.mark.parametrize("minute", range(0, 360, 7))
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_every_opening_is_found_open_at_that_moment_on_the_days_the_clock_changes(day: str, minute: int) -> None:
    """What `wake_at` promises: at the moment named, the window is open."""
    now = at(f"{day}T00:00:00Z") - HOUR + minute * timedelta(minutes=1)
    for window in (
        a_window("0 2 * * *", 1, BERLIN),
        a_window("30 2 * * *", 1, BERLIN),
        a_window("15 * * * *", 0.25, BERLIN),
    ):
        opening = opens_at([window], now)
        assert opening is not None
        assert opening > now
        end = closes_at([window], opening)
        assert end == opening + window.duration
        assert closes_at([window], end - SECOND) == end
        assert opening == opens_at([window], opening - timedelta(microseconds=1))


SCHEDULES = ["* * * * *", "*/7 * * * *", "30 2 * * *", "0 2 * * SAT", "15 * 1 * *", "59 23 28-31 * *", "0 0 29 2 *"]


@settings(deadline=None)  # the oracle is slow where starts are many
@given(
    st.sampled_from(SCHEDULES),
    st.integers(1, 31 * 24 * 60),
    st.sampled_from(["UTC", BERLIN, "Australia/Lord_Howe"]),
    st.integers(0, 366 * 24 * 60),
)
def test_the_latest_start_is_found_however_near_or_far_it_is(
    schedule: str, minutes: int, zone: str, after_new_year: int
) -> None:
    """The oracle lists every start within the whole duration, which a schedule of every minute makes too dear."""
    window = a_window(schedule, minutes / 60, zone)
    now = at("2026-01-01T00:00:00Z") + after_new_year * timedelta(minutes=1)
    starts = CronSim(schedule, (now - window.duration).astimezone(window.zone))
    moments = takewhile(lambda moment: moment <= now, (start.astimezone(UTC) for start in starts))
    latest = [moment for moment in moments if moment > now - window.duration]
    assert closes_at([window], now) == (latest[-1] + window.duration if latest else None)


HOLIDAYS = Freeze(since=at("2026-12-20T00:00:00Z"), until=at("2027-01-04T00:00:00Z"), reason="holidays")
AUDIT = Freeze(since=at("2027-01-02T00:00:00Z"), until=at("2027-01-10T00:00:00Z"))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-12-19T23:59:59Z", None),
        ("2026-12-20T00:00:00Z", HOLIDAYS),
        ("2027-01-03T00:00:00Z", AUDIT),  # of two, the one that ends last
        ("2027-01-09T23:59:59Z", AUDIT),
        ("2027-01-10T00:00:00Z", None),
    ],
)
def test_a_freeze_holds_from_its_start_until_just_before_its_end(now: str, expected: Freeze | None) -> None:
    assert freeze_at([HOLIDAYS, AUDIT], at(now)) == expected


def test_the_next_freeze_is_the_earliest_that_has_not_begun() -> None:
    assert next_freeze([AUDIT, HOLIDAYS], NOW) == HOLIDAYS.since
    assert next_freeze([AUDIT, HOLIDAYS], HOLIDAYS.since) == AUDIT.since
    assert next_freeze([AUDIT, HOLIDAYS], AUDIT.since) is None
