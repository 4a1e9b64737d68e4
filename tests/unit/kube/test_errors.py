"""A refusal becomes the error of its status, with what the server said about it."""

import pytest

from kube_upgrade.kube.errors import (
    ApiError,
    Cause,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerError,
    TooManyRequests,
    Unauthorized,
)
from kube_upgrade.kube.wire.status import to_error

EVICTION = (
    b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Cannot evict pod as it would '
    b'violate the pod\'s disruption budget.","reason":"TooManyRequests","details":{"causes":[{"reason":'
    b'"DisruptionBudget","message":"The disruption budget web needs 2 healthy pods and has 2 currently"}]},"code":429}'
)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, Gone),
        (422, Invalid),
        (429, TooManyRequests),
        (500, ServerError),
        (503, ServerError),
        (418, ApiError),
    ],
)
def test_every_status_has_its_class(status: int, kind: type[ApiError]) -> None:
    error = to_error(b"{}", status=status)
    assert type(error) is kind
    assert error.status == status


def test_an_eviction_that_a_budget_holds_back_names_the_budget_and_no_delay() -> None:
    error = to_error(EVICTION, status=429)
    assert error.causes == (
        Cause(reason="DisruptionBudget", message="The disruption budget web needs 2 healthy pods and has 2 currently"),
    )
    assert error.retry_after is None


@pytest.mark.parametrize(
    ("body", "header", "seconds"),
    [
        (b'{"details":{"retryAfterSeconds":10}}', None, 10.0),
        (b'{"details":{"retryAfterSeconds":10}}', "3", 3.0),
        (b"{}", "Wed, 21 Oct 2026 07:28:00 GMT", None),
        (b'{"details":{"retryAfterSeconds":0}}', None, None),
    ],
)
def test_the_server_may_say_when_to_come_back(body: bytes, header: str | None, seconds: float | None) -> None:
    assert to_error(body, status=429, retry_after=header).retry_after == seconds


def test_a_body_that_is_no_status_is_quoted_and_cut() -> None:
    error = to_error(b"404 page not found\n" + b"x" * 5000, status=404)
    assert error.message.startswith("404 page not found")
    assert len(error.message) <= 200


def test_the_status_of_a_watch_event_carries_its_own_code() -> None:
    error = to_error(b'{"code":410,"reason":"Expired","message":"too old resource version"}')
    assert type(error) is Gone
    assert str(error) == "410 Expired: too old resource version"


def test_a_taken_name_is_told_from_a_lost_race() -> None:
    taken, raced = to_error(b'{"reason":"AlreadyExists"}', status=409), to_error(b'{"reason":"Conflict"}', status=409)
    assert isinstance(taken, Conflict)
    assert isinstance(raced, Conflict)
    assert (taken.already_exists, raced.already_exists) == (True, False)


def test_a_patch_for_another_uid_is_a_conflict_though_the_server_calls_it_invalid() -> None:
    body = b'{"reason":"Invalid","details":{"causes":[{"reason":"FieldValueInvalid","field":"metadata.uid"}]}}'
    assert type(to_error(body, status=422)) is Conflict
    both = body.replace(b"[{", b'[{"field":"spec.taints"},{')
    assert type(to_error(both, status=422)) is Invalid
