"""Locks as Leases: every group has its own object, and nothing unreadable is taken for empty."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_upgrade.core.fleetlock.protocol import valid_group
from kube_upgrade.kube.wire.lock import (
    GROUP,
    HOLDERS,
    TURN,
    TURN_NAME,
    BadLockObject,
    LockLease,
    lease_name,
    read_group,
    read_turn,
    write_group,
    write_turn,
)
from kube_upgrade.kube.wire.meta import ObjectMeta
from kube_upgrade.model.lock import Holder, LockGroup, Turn

T0 = datetime(2026, 11, 24, 2, 0, 0, 7, tzinfo=UTC)
HOLDERS_OF_TWO = (Holder(id="a", since=T0, node="w1", uid="u"), Holder(id="ü", since=T0, reason="os update"))
GROUP_OF_TWO = LockGroup(name="A.b-c", slots=3, holders=HOLDERS_OF_TWO, revision="7", last=T0)
names = st.from_regex(r"[a-zA-Z0-9.-]+", fullmatch=True).filter(valid_group)


@given(st.lists(names, unique=True, max_size=6))
def test_every_group_has_a_lease_of_its_own_under_a_valid_object_name(groups: list[str]) -> None:
    found = [lease_name(group) for group in groups]

    assert len(set(found)) == len(groups)
    for name in found:
        assert name != TURN_NAME
        assert len(name) <= 253
        assert all(part and part.strip("-") == part and part.lower() == part for part in name.split("."))


def test_names_that_upstreams_store_confuses_are_kept_apart() -> None:
    confusing = ["a.b", "a-b", "A.b", "A-B", "a..b", "-a", "a-", "a" * 64, "A" * 253, "x." + "0" * 32]

    assert len({lease_name(group) for group in confusing}) == len(confusing)
    assert lease_name("workers") == "fleetlock-group-workers"


def round_trip(lease: LockLease) -> LockLease:
    """Through JSON, as the API server keeps it."""
    return msgspec.json.decode(msgspec.json.encode(lease), type=LockLease)


def test_a_group_is_read_as_it_was_written() -> None:
    lease = round_trip(write_group(GROUP_OF_TWO, "ns"))

    assert read_group(lease, "A.b-c", 3) == GROUP_OF_TWO
    assert lease.spec.holder_identity == "w1,ü"
    assert lease.spec.acquire_time == "2026-11-24T02:00:00.000007Z"


def test_a_turn_is_read_as_it_was_written() -> None:
    turn = Turn(group="A.b-c", holder=HOLDERS_OF_TWO[0])

    assert read_turn(round_trip(write_turn(turn, "ns", "7"))) == turn
    assert read_turn(round_trip(write_turn(None, "ns", "7"))) is None


@pytest.mark.parametrize(
    "notes",
    [
        {},
        {GROUP: "other", HOLDERS: "[]"},
        {GROUP: "g"},
        {GROUP: "g", HOLDERS: ""},
        {GROUP: "g", HOLDERS: "{}"},
        {GROUP: "g", HOLDERS: '[{"id": "a"}]'},
        {GROUP: "g", HOLDERS: '[{"id": "a", "since": "today"}]'},
        {GROUP: "g", HOLDERS: '[{"id": "a", "since": "2026-11-24T02:00:00"}]'},
    ],
)
def test_an_unreadable_group_is_an_error_and_not_empty(notes: dict[str, str]) -> None:
    with pytest.raises(BadLockObject, match="lease x"):
        read_group(LockLease(metadata=ObjectMeta(name="x", annotations=notes)), "g", 1)


def test_an_unreadable_turn_is_an_error_and_not_free() -> None:
    with pytest.raises(BadLockObject, match="lease x"):
        read_turn(LockLease(metadata=ObjectMeta(name="x", annotations={TURN: "?"})))
