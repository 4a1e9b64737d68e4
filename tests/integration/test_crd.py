"""The real API server takes the good plans and refuses the bad ones, each by name and with the rule in words."""

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kube_upgrade.kube import paths
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.errors import Conflict
from kube_upgrade.kube.wire.crd import crd
from kube_upgrade.kube.wire.plan import status_object, to_plan
from kube_upgrade.kube.wire.schema import PlanObject
from kube_upgrade.lab.control_plane import ControlPlane, KubectlFailed
from kube_upgrade.model.node_config import FIELDS, read_config
from kube_upgrade.model.plan import Plan
from kube_upgrade.model.status import PlanStatus
from support.plan_cases import ACCEPTED, LARGEST, REFUSED, SMALLEST, Refused, Spec, changed, manifest
from support.statuses import FULL

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.cluster
DryRun = Callable[[Spec], dict[str, Any]]


@pytest.fixture(scope="module")
def cluster(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with the CRD as it is deployed."""
    control_plane.kubectl("apply", "-k", str(ROOT / "deploy/crd"))
    control_plane.kubectl("wait", "--for=condition=Established", "crd/kubeupgradeplans.kubeupgrade.heathcliff.eu")
    return control_plane


@pytest.fixture
def dry_run(cluster: ControlPlane) -> DryRun:
    """What the server would store of a spec."""

    def create(spec: Spec) -> dict[str, Any]:
        text = json.dumps(manifest("cluster", spec))
        stored: dict[str, Any] = json.loads(cluster.kubectl("create", "--dry-run=server", "-o=json", "-f-", input=text))
        return stored

    return create


@pytest.fixture
def plan(cluster: ControlPlane) -> Iterator[Plan]:
    """A plan that is really there, gone afterwards."""
    cluster.kubectl("create", "-f-", input=json.dumps(manifest("real", LARGEST)))
    yield read(cluster)
    cluster.kubectl("delete", "plan", "real")


@pytest.fixture
async def api(cluster: ControlPlane) -> AsyncIterator[KubeApi]:
    async with KubeApi.connect(cluster.admin_kubeconfig, user_agent="test") as connected:
        yield connected


def read(cluster: ControlPlane) -> Plan:
    """The plan as it is stored now."""
    return to_plan(msgspec.json.decode(cluster.kubectl("get", "plan", "real", "-o=json"), type=PlanObject))


@pytest.mark.parametrize("spec", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_good_plan_is_taken_and_means_something(dry_run: DryRun, spec: Spec) -> None:
    plan = to_plan(msgspec.convert(dry_run(spec), PlanObject))
    assert plan.problems == ()
    assert {group.name for group in plan.groups} == spec["groups"].keys()


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_plan_is_refused_with_field_and_rule(dry_run: DryRun, case: Refused) -> None:
    with pytest.raises(KubectlFailed) as refused:
        dry_run(case.spec)
    said = [line for line in refused.value.stderr.splitlines() if f"{case.field}:" in line]
    assert any(case.words in line for line in said), refused.value.stderr


@pytest.mark.parametrize("example", sorted((ROOT / "examples").rglob("*plan*.yaml")), ids=lambda path: path.name)
def test_every_example_is_taken(cluster: ControlPlane, example: Path) -> None:
    stored = cluster.kubectl("create", "--dry-run=server", "-o=json", "-f", str(example))
    assert to_plan(msgspec.json.decode(stored, type=PlanObject)).problems == ()


def test_settings_get_their_defaults_for_the_plan_and_none_in_a_group(dry_run: DryRun) -> None:
    spec = dry_run(changed(SMALLEST, {"groups": {"workers": {"upgraded": {"fleetlockGroup": "workers"}}}}))["spec"]
    expected = read_config({field.name: field.default for field in FIELDS if field.default != ""})
    assert read_config(spec["upgraded"] | {"fleetlockUrl": None}) == expected
    assert spec["groups"]["workers"]["upgraded"] == {"fleetlockGroup": "workers"}


def test_a_global_stream_survives_a_group_that_sets_only_its_fleetlock_group(dry_run: DryRun) -> None:
    plan = to_plan(msgspec.convert(dry_run(ACCEPTED["stream-survives-fleetlock-group"]), PlanObject))
    assert plan.groups[0].config.stream == "registry.example.com:5000/os/fcos_k8s"
    assert plan.groups[0].config.fleetlock_group == "workers"


def test_a_group_gets_the_careful_defaults(dry_run: DryRun) -> None:
    group = dry_run(SMALLEST)["spec"]["groups"]["workers"]
    assert (group["maxUnavailable"], group["maxFailures"], group["soak"]) == (1, 1, "0s")


def test_a_null_list_is_an_empty_one(dry_run: DryRun) -> None:
    group = dry_run(changed(SMALLEST, {"groups": {"workers": {"dependsOn": None}}}))["spec"]["groups"]["workers"]
    assert group["dependsOn"] == []


def test_an_unknown_field_is_named_by_kubectl_and_dropped_without_strictness(cluster: ControlPlane) -> None:
    text = json.dumps(manifest("cluster", changed(SMALLEST, {"groups": {"workers": {"maxUnavailible": 2}}})))
    with pytest.raises(KubectlFailed, match=r'unknown field "spec\.groups\.workers\.maxUnavailible"'):
        cluster.kubectl("create", "--dry-run=server", "-f-", input=text)
    stored = cluster.kubectl("create", "--dry-run=server", "--validate=ignore", "-o=json", "-f-", input=text)
    assert "maxUnavailible" not in stored


def test_a_write_of_the_spec_leaves_the_status_alone(cluster: ControlPlane, plan: Plan) -> None:
    both = json.dumps({"spec": {"paused": False}, "status": {"summary": "Complete"}})
    cluster.kubectl("patch", "plan", "real", "--type=merge", f"-p={both}")
    after = read(cluster)
    assert (plan.paused, after.paused, after.generation) == (True, False, plan.generation + 1)
    assert after.status == PlanStatus()


async def test_a_full_status_is_stored_as_written_and_leaves_the_spec_alone(
    cluster: ControlPlane, api: KubeApi, plan: Plan
) -> None:
    await api.replace(paths.plan_status("real"), status_object(plan, FULL), PlanObject)
    after = read(cluster)
    assert after.status == FULL
    assert replace(after, status=plan.status, resource_version=plan.resource_version) == plan


async def test_a_status_decided_on_an_older_plan_is_refused(api: KubeApi, plan: Plan) -> None:
    await api.replace(paths.plan_status("real"), status_object(plan, FULL), PlanObject)
    with pytest.raises(Conflict):
        await api.replace(paths.plan_status("real"), status_object(plan, PlanStatus()), PlanObject)


async def test_what_a_status_no_longer_says_is_gone(cluster: ControlPlane, api: KubeApi, plan: Plan) -> None:
    await api.replace(paths.plan_status("real"), status_object(plan, FULL), PlanObject)
    await api.replace(paths.plan_status("real"), status_object(read(cluster), PlanStatus()), PlanObject)
    assert read(cluster).status == PlanStatus()


async def test_kubectl_get_plan_shows_version_status_and_counts(
    cluster: ControlPlane, api: KubeApi, plan: Plan
) -> None:
    await api.replace(paths.plan_status("real"), status_object(plan, FULL), PlanObject)
    head, row = cluster.kubectl("get", "plan", "real").splitlines()
    assert head.split() == ["NAME", "VERSION", "STATUS", "NODES", "DONE", "IN-FLIGHT", "FAILED", "AGE"]
    assert row.split()[:3] == ["real", "v1.37.2", "Progressing:"]
    assert row.split()[-5:-1] == ["5", "1", "2", "1"]
    wide = cluster.kubectl("get", "plan", "real", "-o=wide")
    assert FULL.holds[0].message in wide


async def test_a_plan_stored_before_a_rule_existed_still_gets_its_status(api: KubeApi, plan_in_a_circle: str) -> None:
    old = to_plan(await api.get(paths.plan(plan_in_a_circle), PlanObject))
    stored = to_plan(await api.replace(paths.plan_status(old.name), status_object(old, FULL), PlanObject))
    assert stored.status == FULL


@pytest.fixture
def plan_in_a_circle(cluster: ControlPlane) -> Iterator[str]:
    """A plan that today's rules refuse, stored before they were there."""
    circle = REFUSED["circle-of-two"].spec
    try:
        cluster.kubectl("apply", "-f-", input=json.dumps(without_rules(crd())))
        eventually(lambda: cluster.kubectl("create", "-f-", input=json.dumps(manifest("old", circle))))
    finally:
        cluster.kubectl("apply", "-k", str(ROOT / "deploy/crd"))
    eventually(lambda: refused(cluster, circle))
    yield "old"
    cluster.kubectl("delete", "plan", "old")


def without_rules(schema: Any) -> Any:
    """The same CRD before anyone thought of rules."""
    if isinstance(schema, dict):
        return {key: without_rules(value) for key, value in schema.items() if key != "x-kubernetes-validations"}
    return [without_rules(item) for item in schema] if isinstance(schema, list) else schema


def refused(cluster: ControlPlane, spec: Spec) -> None:
    """Fails as long as the server takes this plan."""
    with pytest.raises(KubectlFailed):
        cluster.kubectl("create", "--dry-run=server", "-f-", input=json.dumps(manifest("cluster", spec)))


def eventually(attempt: Callable[[], object], seconds: float = 30.0) -> None:
    """Try until it works: the server takes a moment to serve a changed CRD."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            attempt()
        except (KubectlFailed, pytest.fail.Exception):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
