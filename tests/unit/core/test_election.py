"""client-go's rules for a Lease, value by value."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kube_upgrade.core.election import Sighting, may_take, must_stop_at, released, sight, taken
from kube_upgrade.model.lease import LeaseRecord, Terms

AT = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
TERMS = Terms()
THEIRS = LeaseRecord(holder="them", duration=15.0, acquired=AT, renewed=AT, transitions=3)


def test_an_unchanged_record_keeps_the_time_of_its_first_sighting() -> None:
    first = sight(None, THEIRS, 100.0)
    assert sight(first, THEIRS, 110.0) == first


def test_a_renewal_restarts_the_wait() -> None:
    renewed = replace(THEIRS, renewed=AT + timedelta(seconds=2))
    assert sight(Sighting(THEIRS, 100.0), renewed, 110.0).since == 110.0


@pytest.mark.parametrize(
    ("record", "now", "allowed"),
    [
        (THEIRS, 114.9, False),
        (THEIRS, 115.0, True),
        (replace(THEIRS, duration=60.0), 159.9, False),  # the holder's own promise counts, not ours
        (replace(THEIRS, duration=0.0), 114.9, False),  # a record without one: ours
        (replace(THEIRS, duration=0.0), 115.0, True),
        (replace(THEIRS, holder=""), 100.0, True),
        (replace(THEIRS, holder="me"), 100.0, True),
        (replace(THEIRS, renewed=AT - timedelta(days=9)), 114.9, False),  # another's wall clock means nothing
    ],
)
def test_a_lease_is_taken_only_when_free_mine_or_silent_for_its_duration(
    record: LeaseRecord, now: float, allowed: bool
) -> None:
    assert may_take(Sighting(record, 100.0), "me", now, TERMS) is allowed


def test_a_renewal_keeps_when_it_was_acquired_and_counts_no_transition() -> None:
    mine = replace(THEIRS, holder="me")
    later = AT + timedelta(seconds=2)
    assert taken(mine, "me", later, TERMS) == replace(mine, renewed=later)


def test_a_take_over_counts_a_transition_and_a_first_lease_counts_none() -> None:
    later = AT + timedelta(seconds=30)
    assert taken(THEIRS, "me", later, TERMS) == LeaseRecord(
        holder="me", duration=15.0, acquired=later, renewed=later, transitions=4
    )
    assert taken(None, "me", later, TERMS).transitions == 0


def test_a_released_lease_names_nobody_and_lasts_one_second() -> None:
    free = released(replace(THEIRS, holder="me"), AT)
    assert (free.holder, free.duration, free.transitions) == ("", 1.0, 3)
    assert may_take(Sighting(free, 100.0), "you", 100.0, TERMS)


def test_a_leader_stops_before_anybody_else_may_start() -> None:
    assert must_stop_at(100.0, TERMS) == 110.0 < 100.0 + TERMS.duration


@pytest.mark.parametrize("bad", [(10.0, 10.0, 2.0), (15.0, 2.4, 2.0), (15.0, 10.0, 0.0)])
def test_terms_that_would_let_two_lead_are_refused_with_their_numbers(bad: tuple[float, float, float]) -> None:
    duration, deadline, retry = bad
    with pytest.raises(ValueError, match=f"duration {duration} s must be longer"):
        Terms(duration=duration, renew_deadline=deadline, retry=retry)
