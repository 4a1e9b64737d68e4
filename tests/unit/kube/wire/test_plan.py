"""A plan is read without ever failing: what is wrong becomes a sentence, and the rest still says what it says."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from kube_upgrade.kube.wire.plan import BadPlan, status_object, to_plan
from kube_upgrade.kube.wire.schema import PlanObject
from kube_upgrade.model.labels import Operator, Requirement
from kube_upgrade.model.plan import Freeze, Percent, Plan, Window
from kube_upgrade.model.version import KubeVersion
from support.plan_cases import ACCEPTED, GONE, LARGEST, REFUSED, SMALLEST, UPSTREAM, Refused, Spec, changed, manifest
from support.statuses import FULL


def plan_of(spec: Spec, **more: object) -> Plan:
    """The plan as it comes from the API server, without its defaults."""
    return to_plan(msgspec.json.decode(msgspec.json.encode(manifest("cluster", spec) | more), type=PlanObject))


def small(**change: Any) -> Plan:
    return plan_of(changed(SMALLEST, change))


def test_a_status_goes_out_with_the_version_it_was_decided_on() -> None:
    plan = plan_of(SMALLEST, metadata={"name": "cluster", "uid": "u", "resourceVersion": "7"})
    body = status_object(plan, FULL)
    assert body["metadata"] == {"name": "cluster", "uid": "u", "resourceVersion": "7"}
    assert body["apiVersion"] == "kubeupgrade.heathcliff.eu/v1alpha3"
    assert "spec" not in body


@pytest.mark.parametrize("spec", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_good_plan_needs_no_default_of_the_crd(spec: Spec) -> None:
    assert plan_of(spec).problems == ()


READABLE = {name: case for name, case in REFUSED.items() if not name.endswith(("-absent", "-without-duration"))}


@pytest.mark.parametrize("case", READABLE.values(), ids=READABLE.keys())
def test_a_plan_stored_before_a_rule_existed_is_still_read(case: Refused) -> None:
    assert plan_of(case.spec).name == "cluster"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kubernetesVersion": "v1.37"}, "spec.kubernetesVersion: 'v1.37' is not a full version such as v1.37.2"),
        ({"via": ["v1.36"]}, "spec.via[0]: 'v1.36' is not a full version such as v1.37.2"),
        (
            {"windows": [{"schedule": "0 0 31 2 *", "duration": "4h"}]},
            "spec.windows[0].schedule: '0 0 31 2 *' is not a cron expression such as 0 2 * * SAT: Bad day-of-month",
        ),
        (
            {"windows": [{"schedule": "* * * * *", "duration": "745h"}]},
            "spec.windows[0].duration: '745h' must be 744h (31 days) at most: a plan that may always upgrade has no"
            " windows",
        ),
        (
            {"windows": [{"schedule": "0 0 0 2 * *", "duration": "4h"}]},
            "spec.windows[0].schedule: '0 0 0 2 * *' is not a cron expression of five fields that ever comes,"
            " such as 0 2 * * SAT",
        ),
        (
            {"windows": [{"schedule": "0 2 * * *", "duration": "4h", "timeZone": "Europe/Berln"}]},
            "spec.windows[0].timeZone: 'Europe/Berln' is not an IANA time zone such as Europe/Berlin or UTC",
        ),
        (
            {"windows": [{"schedule": "0 2 * * *", "duration": "4h", "timeZone": "Europe"}]},
            "spec.windows[0].timeZone: 'Europe' is not an IANA time zone such as Europe/Berlin or UTC",
        ),
        (
            {"freezes": [{"from": "2027-01-04T00:00:00Z", "until": "2026-12-20T00:00:00Z"}]},
            "spec.freezes[0].until: '2026-12-20T00:00:00Z' must be later than from (2027-01-04T00:00:00Z)",
        ),
        ({"progressDeadline": "0s"}, "spec.progressDeadline: '0s' must be longer than 0s"),
        (
            {"upgraded": {"checkInterval": "3 h"}},
            "spec.upgraded.checkInterval: '3 h' is not a duration like 90s, 5m or 1h30m",
        ),
        (
            {"upgraded": {"fleetlockUrl": GONE}},
            "spec.groups.workers.upgraded.fleetlockUrl: None must be set here or in spec.upgraded,"
            " such as http://fleetlock.example.com:8080",
        ),
        (
            {"groups": {"workers": {"maxUnavailable": "0%"}}},
            "spec.groups.workers.maxUnavailable: '0%' is neither a number from 1 on nor a share from 1% to 100%",
        ),
        (
            {"groups": {"workers": {"soak": "99999999h"}}},
            "spec.groups.workers.soak: '99999999h' must be 8760h (a year) at most",
        ),
        (
            {"progressDeadline": "8761h"},
            "spec.progressDeadline: '8761h' must be 8760h (a year) at most",
        ),
        (
            {"freezes": [{"from": "2026-12-20T00:00:00Z", "until": "9999-12-31T00:00:00Z"}]},
            "spec.freezes[0].until: '9999-12-31T00:00:00Z' is not a moment with zone, before the year 9000, such as"
            " 2026-12-20T00:00:00Z",
        ),
        (
            {"groups": {"workers": {"soak": "5"}}},
            "spec.groups.workers.soak: '5' is not a duration like 90s, 5m or 1h30m",
        ),
    ],
)
def test_a_problem_names_field_value_and_what_would_be_right(change: Spec, problem: str) -> None:
    assert small(**change).problems == (problem,)


def test_one_bad_window_hides_neither_the_other_nor_the_plan() -> None:
    good, bad = {"schedule": "0 2 * * SAT", "duration": "4h"}, {"schedule": "0 25 * * *", "duration": "4h"}
    plan = small(windows=[bad, good | {"timeZone": "Europe/Berlin"}])
    berlin = Window(
        schedule="0 2 * * SAT", duration=timedelta(hours=4), zone=ZoneInfo("Europe/Berlin"), zone_name="Europe/Berlin"
    )
    assert plan.windows == (berlin,)
    assert len(plan.problems) == 1
    assert plan.version == KubeVersion(1, 37, 2)


def test_an_unknown_operator_matches_no_node_rather_than_more() -> None:
    expressions = [{"key": "zone", "operator": "Near", "values": ["a"]}]
    plan = small(groups={"workers": {"labels": GONE, "selector": {"matchExpressions": expressions}}})
    assert not plan.groups[0].selector.matches({"zone": "a"})
    assert plan.problems == (
        "spec.groups.workers.selector.matchExpressions[0].operator: 'Near' is none of In, NotIn, Exists, DoesNotExist",
    )


def test_every_field_arrives() -> None:
    plan = plan_of(LARGEST)
    compute, control_plane = plan.groups
    assert (plan.paused, plan.workers_skip_hops, plan.allow_downgrade) == (True, True, False)
    assert plan.via == (KubeVersion(1, 35, 8), KubeVersion(1, 36, 4))
    assert plan.progress_deadline == timedelta(minutes=90)
    assert plan.freezes == (
        Freeze(since=datetime(2026, 12, 20, tzinfo=UTC), until=datetime(2027, 1, 3, 23, tzinfo=UTC), reason="holidays"),
    )
    assert (compute.max_unavailable, compute.max_failures, compute.soak) == (Percent(25), 3, timedelta(minutes=5))
    assert (compute.depends_on, compute.paused) == (("control-plane",), True)
    assert compute.selector.requirements[0] == Requirement("node.example.com/pool", Operator.IN, ("blue",))
    assert compute.selector.requirements[2].values == ("a", "b")
    assert control_plane.selector.matches({"node-role.kubernetes.io/control-plane": "true"})


def test_a_group_says_only_what_differs_from_the_plan() -> None:
    compute, control_plane = plan_of(UPSTREAM).groups
    assert (compute.config.fleetlock_group, control_plane.config.fleetlock_group) == ("compute", "control-plane")
    assert compute.config.stream == control_plane.config.stream == "ghcr.io/heathcliff26/fcos-k8s"
    assert compute.config.allow_unsigned_ostree_images is True


def test_a_plan_that_is_being_deleted_says_so() -> None:
    gone = {"name": "cluster", "deletionTimestamp": "2026-11-24T02:00:00Z"}
    assert plan_of(SMALLEST, metadata=gone).deleted
    assert not plan_of(SMALLEST).deleted


def test_bad_plan_carries_its_parts() -> None:
    bad = BadPlan("spec.via[0]", "v1.36", "is not a full version such as v1.37.2")
    assert (bad.field, bad.value, bad.right) == ("spec.via[0]", "v1.36", "is not a full version such as v1.37.2")
