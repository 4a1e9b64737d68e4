"""Repetitions of one announcement become a count, not a flood of writes."""

from kube_upgrade.core.series import Series, repeated


def written(series: Series, now: float) -> bool:
    return series.written == now


def test_the_first_announcement_is_written() -> None:
    first = repeated(None, "node-1.a", 100.0)
    assert (first.count, first.name, written(first, 100.0)) == (1, "node-1.a", True)


def test_a_burst_is_one_write_and_the_next_later_one_carries_its_count() -> None:
    series = repeated(None, "node-1.a", 100.0)
    for now in (100.1, 100.2, 109.9):
        series = repeated(series, "node-1.b", now)
        assert not written(series, now)
    series = repeated(series, "node-1.c", 110.0)
    assert (series.name, series.count, written(series, 110.0)) == ("node-1.a", 5, True)


def test_after_six_silent_minutes_it_is_a_new_event() -> None:
    old = repeated(None, "node-1.a", 100.0)
    assert repeated(old, "node-1.b", 460.1) == Series(name="node-1.b", count=1, seen=460.1, written=460.1)
