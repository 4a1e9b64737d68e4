"""A status is read back as it was written, and what others wrote as far as it is known."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kube_upgrade.kube.wire.plan_status import UNKNOWN_VERSION, status_body, to_status
from kube_upgrade.kube.wire.schema import PlanStatusBody
from kube_upgrade.model.status import (
    Claim,
    Condition,
    Duration,
    HoldSummary,
    NodeCounts,
    PlanStatus,
    Reason,
    Run,
    VersionStatus,
)
from kube_upgrade.model.version import KubeVersion
from support.statuses import FULL

WHEN = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
NUMBER = st.integers(min_value=0, max_value=9_999)
TEXT = st.text(max_size=9)
VERSION = st.builds(KubeVersion, NUMBER, NUMBER, NUMBER, st.sampled_from(["", "rc.1"]))
SECONDS = st.floats(min_value=0, max_value=1e6)


def many(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(items, max_size=3).map(tuple)


STATUSES = st.builds(
    PlanStatus,
    summary=TEXT,
    groups=st.dictionaries(TEXT, TEXT, max_size=3),
    observed_generation=NUMBER,
    conditions=many(
        st.builds(
            Condition,
            type=TEXT,
            status=st.booleans(),
            reason=TEXT,
            message=TEXT,
            observed_generation=NUMBER,
            last_transition=WHEN,
        )
    ),
    version=st.none() | st.builds(VersionStatus, start=st.none() | VERSION, target=VERSION, hop=NUMBER, hops=NUMBER),
    nodes=st.builds(NodeCounts, total=NUMBER, completed=NUMBER, in_flight=NUMBER, failed=NUMBER, waiting=NUMBER),
    claims=many(
        st.builds(
            Claim,
            node=TEXT,
            uid=TEXT,
            group=TEXT,
            version=VERSION,
            since=WHEN,
            started_at=st.none() | WHEN,
            proven_at=st.none() | WHEN,
            untimed=st.booleans(),
        )
    ),
    durations=st.dictionaries(TEXT, st.builds(Duration, count=NUMBER, p50=SECONDS, p90=SECONDS), max_size=3),
    holds=many(st.builds(HoldSummary, reason=st.sampled_from(Reason), message=TEXT, nodes=NUMBER, sample=many(TEXT))),
    history=many(st.builds(Run, version=VERSION, started=WHEN, finished=WHEN, result=TEXT, nodes=NUMBER)),
)


def read(body: dict[str, Any]) -> PlanStatus:
    """The status as it comes from the API server."""
    return to_status(msgspec.json.decode(msgspec.json.encode(body), type=PlanStatusBody))


@given(STATUSES)
def test_a_status_that_is_written_is_read_back(status: PlanStatus) -> None:
    assert read(status_body(status)) == status


def test_a_status_by_upstream_has_its_words_and_nothing_else() -> None:
    status = {"summary": "Complete", "groups": {"compute": "Complete"}}
    assert read(status) == PlanStatus(summary="Complete", groups={"compute": "Complete"})


def test_a_status_by_a_newer_controller_is_read_as_far_as_it_is_known() -> None:
    body = status_body(FULL) | {"forecast": {"ends": "soon"}}
    body["holds"] = [{"reason": "MoonPhase", "message": "full moon", "nodes": 1, "sample": []}, *body["holds"]]
    assert read(body) == FULL


def test_a_claim_counts_even_at_a_version_that_means_nothing() -> None:
    claim = {"node": "w1", "uid": "u", "group": "workers", "version": "v1.x", "since": "2026-11-24T02:00:00Z"}
    claims = read({"claims": [claim]}).claims
    assert [(held.node, held.version) for held in claims] == [("w1", UNKNOWN_VERSION)]
