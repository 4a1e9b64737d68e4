"""Pauses grow, stay bounded, and are spread."""

from hypothesis import given
from hypothesis import strategies as st

from kube_upgrade.core.backoff import no_sooner, pause


def test_pauses_double_up_to_the_most() -> None:
    assert [pause(n, first=0.2, most=1.5, dice=1.0) for n in (1, 2, 3, 4, 5)] == [0.2, 0.4, 0.8, 1.5, 1.5]


@given(failures=st.integers(1, 10_000), dice=st.floats(0, 1))
def test_a_pause_is_never_nothing_and_never_more_than_the_most(failures: int, dice: float) -> None:
    assert 0.1 <= pause(failures, first=0.2, most=15.0, dice=dice) <= 15.0


@given(asked=st.floats(0, 1e6), dice=st.floats(0, 1))
def test_a_pause_that_a_server_asks_for_is_never_cut_short_and_grows_by_a_quarter_at_most(
    asked: float, dice: float
) -> None:
    assert asked <= no_sooner(asked, dice=dice) <= 1.25 * asked
