"""FleetLock v1, row by row: what the server lets in, what it refuses, and what a client makes of an answer."""

import json

import pytest

from kube_upgrade.core.fleetlock.protocol import (
    BODY_LIMIT,
    GROUP_LIMIT,
    ID_LIMIT,
    STATUS,
    Answer,
    Granted,
    Kind,
    Operation,
    Refused,
    Request,
    read_answer,
    read_request,
    valid_group,
    write_answer,
    write_request,
)

ID = "e0f3745b108f471cbd4883c6fbed8cdd"
ZINCATI = b"""{
  "client_params": {
    "id": "e0f3745b108f471cbd4883c6fbed8cdd",
    "group": "mock-workers"
  }
}"""


def read(body: bytes, header: str | None = "true") -> Request | Answer:
    """A pre-reboot request as the server reads it."""
    return read_request(Operation.PRE_REBOOT, header, body)


def params(**fields: object) -> bytes:
    """A body with these client_params."""
    return json.dumps({"client_params": fields}).encode()


def test_zincatis_pretty_printed_body_is_read() -> None:
    assert read(ZINCATI) == Request(operation=Operation.PRE_REBOOT, group="mock-workers", id=ID)


def test_what_our_client_writes_the_server_reads() -> None:
    assert read(write_request("a.B-9", "x y/ü")) == Request(operation=Operation.PRE_REBOOT, group="a.B-9", id="x y/ü")


@pytest.mark.parametrize("header", ["true", "True", "TRUE", " true "])
def test_the_header_is_needed_in_any_case(header: str) -> None:
    assert isinstance(read(ZINCATI, header), Request)


@pytest.mark.parametrize("header", [None, "", "false", "1", "yes", "true, true"])
def test_without_the_header_nothing_is_read_from_the_body(header: str | None) -> None:
    answer = read(b"not json", header)

    assert isinstance(answer, Answer)
    assert answer.kind is Kind.MISSING_HEADER


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"client_params"',
        b'{"client_params": null}',
        b'{"client_params": []}',
        b'{"client_params": {}}',
        b"\xff\xfe\x00",
        b"{" * 5000,
        b"[" * 5000,
        b'{"client_params": {"id": "a", "group": ' + b"9" * 6000 + b"}}",
        params(id="a"),
        params(group="g"),
        params(id="", group="g"),
        params(id=7, group="g"),
        params(id="a" * (ID_LIMIT + 1), group="g"),
        params(id="a\n", group="g"),
        params(id="a\x00", group="g"),
        params(id="\ud800", group="g"),
        params(id="a", group=""),
        params(id="a", group="g\n"),
        params(id="a", group="a_b"),
        params(id="a", group="a/b"),
        params(id="a", group="ü"),
        params(id="a", group=["g"]),
        params(id="a", group="g" * (GROUP_LIMIT + 1)),
    ],
)
def test_a_malformed_body_is_a_bad_request(body: bytes) -> None:
    answer = read(body)

    assert isinstance(answer, Answer)
    assert (answer.kind, answer.status) == (Kind.BAD_REQUEST, 400)
    assert answer.value


def test_a_body_over_the_limit_is_refused_before_it_is_parsed() -> None:
    answer = read(ZINCATI + b" " * BODY_LIMIT)

    assert isinstance(answer, Answer)
    assert (answer.kind, answer.status) == (Kind.BODY_TOO_LARGE, 413)


def test_unknown_fields_are_ignored() -> None:
    assert isinstance(read(b'{"v": 2, "client_params": {"id": "a", "group": "g", "x": [1]}}'), Request)


@pytest.mark.parametrize("kind", list(Kind))
def test_only_grants_are_200_and_every_other_answer_is_4xx_or_503(kind: Kind) -> None:
    status = Answer(kind=kind, value="x").status

    assert (status == 200) == (kind in (Kind.SUCCESS, Kind.NO_OTHER_NODE))
    assert status in (200, 503) or 400 <= status < 500
    assert set(STATUS) == set(Kind)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_client_reads_what_the_server_says(kind: Kind) -> None:
    answer = Answer(kind=kind, value="because", retry_after=5)

    read_back = read_answer(answer.status, write_answer(answer), 5.0)

    if answer.status == 200:
        assert read_back == Granted(kind, "because")
    else:
        assert read_back == Refused(kind, "because", answer.status, 5.0)


def test_no_answer_has_an_empty_value() -> None:
    assert json.loads(write_answer(Answer(kind=Kind.ALL_SLOTS_FULL, value=""))) == {
        "kind": "all_slots_full",
        "value": "all slots full",
    }


@pytest.mark.parametrize(("name", "valid"), [("default", True), ("a.b-C", True), ("", False), ("a b", False)])
def test_group_names(name: str, valid: bool) -> None:
    assert valid_group(name) is valid
