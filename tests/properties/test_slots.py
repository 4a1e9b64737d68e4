"""Slots: whatever is asked in whatever order, no group has more holders than slots and nobody has two."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from kube_upgrade.core.fleetlock.slots import Verdict, Wish, backed, names, release, reserve
from kube_upgrade.model.lock import LockGroup, Turn

T0 = datetime(2026, 11, 24, tzinfo=UTC)
ids = st.sampled_from("abcde")
clocks = st.integers(-5, 5).map(lambda s: T0 + timedelta(seconds=s))  # clocks jump, back too
acts = st.lists(st.tuples(st.sampled_from(["reserve", "release"]), ids, clocks), max_size=40)


def a_group(slots: int) -> LockGroup:
    """A group that nobody holds."""
    return LockGroup(name="workers", slots=slots)


@given(st.integers(1, 4), acts)
def test_slots_bound_the_holders_and_each_id_has_at_most_one(
    slots: int, steps: list[tuple[str, str, datetime]]
) -> None:
    group = a_group(slots)
    model: set[str] = set()
    for act, id, now in steps:
        if act == "release":
            group = release(group, id)
            model.discard(id)
            assert group.holder(id) is None
            continue
        room = len(model) < slots
        group, verdict = reserve(group, Wish(id=id), now)
        expected = Verdict.HELD if id in model else Verdict.TAKEN if room else Verdict.FULL
        assert verdict is expected
        if verdict.holds:
            model.add(id)
        assert sorted(h.id for h in group.holders) == sorted(model)
        assert len(group.holders) <= slots


@given(st.integers(1, 4), acts)
def test_no_two_reservations_share_their_moment_even_when_clocks_jump(
    slots: int, steps: list[tuple[str, str, datetime]]
) -> None:
    group, seen = a_group(slots), []
    for act, id, now in steps:
        if act == "release":
            group = release(group, id)
            continue
        group, verdict = reserve(group, Wish(id=id), now)
        if verdict is Verdict.TAKEN and (holder := group.holder(id)):
            seen.append(holder.since)
    assert seen == sorted(set(seen))


@given(st.integers(1, 3), acts, ids, clocks)
def test_asking_and_giving_back_twice_is_as_once(
    slots: int, steps: list[tuple[str, str, datetime]], id: str, now: datetime
) -> None:
    group = a_group(slots)
    for act, other, moment in steps:
        group = reserve(group, Wish(id=other), moment)[0] if act == "reserve" else release(group, other)

    once, first = reserve(group, Wish(id=id), now)
    twice, second = reserve(once, Wish(id=id), now + timedelta(hours=1))

    assert forgetting_asks(twice) == forgetting_asks(once)
    assert second.holds == first.holds
    assert release(release(once, id), id) == release(once, id)


def forgetting_asks(group: LockGroup) -> LockGroup:
    """The group without the count of asks, which alone a repetition changes."""
    return replace(group, holders=tuple(replace(holder, asks=1) for holder in group.holders))


def test_fewer_slots_in_the_config_forget_no_holder() -> None:
    group = LockGroup(name="workers", slots=2)
    for id in "ab":
        group, _ = reserve(group, Wish(id=id), T0)

    narrowed = LockGroup(name="workers", slots=1, holders=group.holders, last=group.last)

    assert reserve(narrowed, Wish(id="a"), T0)[1] is Verdict.HELD
    assert reserve(narrowed, Wish(id="c"), T0)[1] is Verdict.FULL


def test_a_late_release_does_not_end_a_newer_reservation_of_the_same_id() -> None:
    group, _ = reserve(a_group(1), Wish(id="a"), T0)
    old = group.holders[0].since
    group, _ = reserve(release(group, "a"), Wish(id="a"), T0)

    assert release(group, "a", old) == group
    assert release(group, "a", group.holders[0].since).holders == ()


def test_a_slot_that_was_asked_for_again_is_not_given_back_for_the_first_ask() -> None:
    taken, _ = reserve(a_group(1), Wish(id="a"), T0)
    first = taken.holders[0]
    again, _ = reserve(taken, Wish(id="a"), T0)

    assert release(taken, "a", first.since, first.asks).holders == ()
    assert release(again, "a", first.since, first.asks) == again


def test_a_machine_that_joins_anew_keeps_its_slot_under_the_new_uid() -> None:
    group, _ = reserve(a_group(1), Wish(id="a", node="w1", uid="old"), T0)

    group, verdict = reserve(group, Wish(id="a", node="w1", uid="new"), T0 + timedelta(days=1))

    assert verdict is Verdict.HELD
    assert (group.holders[0].uid, group.holders[0].since) == ("new", T0)


def test_a_turn_is_backed_by_its_own_reservation_only() -> None:
    group, _ = reserve(a_group(1), Wish(id="a"), T0)
    turn = Turn(group="workers", holder=group.holders[0])
    again, _ = reserve(release(group, "a"), Wish(id="a"), T0)

    assert backed(turn, group)
    assert names(turn, "workers", group.holders[0])
    assert not names(turn, "others", group.holders[0])
    assert not names(None, "workers", group.holders[0])
    assert not backed(turn, release(group, "a"))
    assert not backed(turn, again)
