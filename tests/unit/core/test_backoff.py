"""Pauses grow, stay bounded, and are spread."""

from hypothesis import given
from hypothesis import strategies as st

from kube_upgrade.core.backoff import pause


def test_pauses_double_up_to_the_most() -> None:
    assert [pause(n, first=0.2, most=1.5, dice=1.0) for n in (1, 2, 3, 4, 5)] == [0.2, 0.4, 0.8, 1.5, 1.5]


@given(failures=st.integers(1, 10_000), dice=st.floats(0, 1))
def test_a_pause_is_never_nothing_and_never_more_than_the_most(failures: int, dice: float) -> None:
    assert 0.1 <= pause(failures, first=0.2, most=15.0, dice=dice) <= 15.0
