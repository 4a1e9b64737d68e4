"""The daemon's rests: bounded, never zero where nothing can be done, growing where the same is done over and over."""

from datetime import timedelta

import pytest

from kube_upgrade.model.step import Failed, Idle, TakeLock, Wait
from kube_upgrade.upgraded.pace import LONGEST_SLEEP, Pace
from support.builders import NOW

POLL = timedelta(seconds=2)
ASK = TakeLock(url="http://lock.test", group="workers")


@pytest.mark.parametrize("ago", [0.0, 0.001, 3600.0])
def test_a_moment_that_is_over_is_no_reason_to_spin(ago: float) -> None:
    """A held node, or one that waits longer than checkInterval, may name a moment in the past turn after turn."""
    over = NOW - timedelta(seconds=ago)
    for step in (
        Idle(until=over),
        Wait(reason="x", message="x", until=over),
        Failed(reason="x", message="x", until=over),
    ):
        assert Pace().rest(step, NOW, POLL) == 2.0


def test_a_moment_to_come_is_slept_up_to() -> None:
    assert Pace().rest(Idle(until=NOW + timedelta(seconds=7)), NOW, POLL) == 7.0


def test_without_a_moment_the_longest_sleep_is_taken() -> None:
    assert Pace().rest(Idle(), NOW, POLL) == LONGEST_SLEEP


def test_the_same_effect_over_and_over_is_braked_up_to_a_minute() -> None:
    pace = Pace()
    rests = [pace.brake(ASK) for _ in range(12)]
    assert rests[:4] == [0.0, 0.0, 0.75, 1.5]
    assert rests[-1] == 45.0


def test_another_effect_is_not_braked() -> None:
    pace = Pace()
    for _ in range(6):
        pace.brake(ASK)
    assert pace.brake(TakeLock(url="http://other.test", group="workers")) == 0.0


def test_asking_for_the_lock_once_more_after_a_wait_is_not_braked() -> None:
    """The wait had its own pause: the lock server said when to come back."""
    pace = Pace()
    busy = Wait(reason="LockBusy", message="busy", until=NOW + timedelta(seconds=1))
    rests = [(pace.brake(ASK), pace.rest(busy, NOW, POLL)) for _ in range(6)]
    assert rests == [(0.0, 1.0)] * 6
