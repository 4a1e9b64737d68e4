"""The real controller process against the real API server; daemons that answer each order at once."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from kube_upgrade.kube import paths
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.errors import NotFound
from kube_upgrade.kube.wire.plan import to_plan
from kube_upgrade.kube.wire.schema import PlanObject
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.model.node import KubeadmRole
from kube_upgrade.model.plan import Plan
from support.reporter import Daemons

pytestmark = pytest.mark.cluster

CRD = Path(__file__).parents[2] / "deploy" / "crd" / "kubeupgradeplans.yaml"
SECONDS = 30.0  # far more than any of these takes; a deadline, not a measurement
CP, WORKERS = ("cp1", "cp2", "cp3"), ("w1", "w2", "w3")


def a_plan(**spec: object) -> dict[str, object]:
    """Control plane first, then workers, to v1.37.2."""
    label = "node-role.kubernetes.io/control-plane"
    groups = {
        "control-plane": {"selector": {"matchExpressions": [{"key": label, "operator": "Exists"}]}},
        "workers": {
            "selector": {"matchExpressions": [{"key": label, "operator": "DoesNotExist"}]},
            "dependsOn": ["control-plane"],
            "maxUnavailable": 2,
        },
    }
    body = {"kubernetesVersion": "v1.37.2", "upgraded": {"fleetlockUrl": "http://locks:8080"}, "groups": groups}
    kind = {"apiVersion": "kubeupgrade.heathcliff.eu/v1alpha3", "kind": "KubeUpgradePlan"}
    return {**kind, "metadata": {"name": "cluster"}, "spec": body | spec}


@pytest.fixture
async def api(control_plane: ControlPlane) -> AsyncIterator[KubeApi]:
    control_plane.kubectl("apply", "-f", str(CRD))
    control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all")
    async with KubeApi.connect(control_plane.admin_kubeconfig, user_agent="test") as connected:
        yield connected
        with suppress(NotFound):
            await connected.delete(paths.plan("cluster"))


@asynccontextmanager
async def controllers(
    plane: ControlPlane, namespace: str, count: int = 1
) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Replicas that end with the test."""
    argv = [sys.executable, "-m", "kube_upgrade.controller", "--namespace", namespace]
    argv += ["--kubeconfig", str(plane.admin_kubeconfig), "--listen", "127.0.0.1:0"]
    running = [await asyncio.create_subprocess_exec(*argv, "--identity", f"replica-{n}") for n in range(count)]
    try:
        yield running
    finally:
        for process in running:
            if process.returncode is None:
                process.terminate()
            await process.wait()


@asynccontextmanager
async def daemons(api: KubeApi, delay: float = 0.0) -> AsyncIterator[Daemons]:
    """Three control planes and three workers at v1.36.3 that answer orders."""
    fleet = Daemons(api, delay=delay)
    await fleet.write_kubeadm_config("v1.36.3")
    for name in CP + WORKERS:
        await fleet.create_node(name, "v1.36.3", control_plane=name in CP)
    answering = asyncio.ensure_future(fleet.run())
    try:
        yield fleet
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        await fleet.remove(CP + WORKERS)


async def plan_that(api: KubeApi, holds: Callable[[Plan], bool]) -> Plan:
    """The plan as soon as it is as wanted; fails with the last one seen."""
    plan: Plan | None = None
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                plan = to_plan(await api.get(paths.plan("cluster"), PlanObject))
                if holds(plan):
                    return plan
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"not reached within {SECONDS:g} s; last seen: {plan and plan.status}")


def complete(plan: Plan) -> bool:
    return plan.status.summary == "Complete"


async def test_a_cluster_goes_to_the_next_minor(control_plane: ControlPlane, namespace: str, api: KubeApi) -> None:
    """Control planes one by one, the first of them alone applies, then the workers; at the end no claim is left."""
    async with daemons(api, delay=0.1) as fleet, controllers(control_plane, namespace):
        await api.create(paths.PLANS, a_plan(), msgspec.Raw)
        plan = await plan_that(api, complete)

    assert set(fleet.order[:3]) == set(CP)
    assert [fleet.roles[name] for name in fleet.order[:3]] == [KubeadmRole.APPLY, KubeadmRole.NODE, KubeadmRole.NODE]
    assert {fleet.roles[name] for name in WORKERS} == {KubeadmRole.NODE}
    assert fleet.most_at_once == 2
    assert plan.status.claims == ()
    assert plan.status.groups == {"control-plane": "Complete", "workers": "Complete"}
    assert plan.status.nodes.completed == plan.status.nodes.total == 6


async def test_a_paused_plan_starts_nothing_and_says_so(
    control_plane: ControlPlane, namespace: str, api: KubeApi
) -> None:
    """The hold stands in the status; unpausing is enough to go on."""
    async with daemons(api) as fleet, controllers(control_plane, namespace):
        await api.create(paths.PLANS, a_plan(paused=True), msgspec.Raw)
        plan = await plan_that(api, lambda plan: bool(plan.status.holds))
        assert [hold.reason for hold in plan.status.holds] == ["Paused"]
        assert plan.status.holds[0].nodes == 6
        assert fleet.order == []

        await api.patch(paths.plan("cluster"), {"spec": {"paused": False}}, msgspec.Raw)
        await plan_that(api, complete)


async def test_another_replica_takes_over_from_a_killed_leader(
    control_plane: ControlPlane, namespace: str, api: KubeApi
) -> None:
    """kill -9 in the middle of a rollout: the other replica ends it, and no node is upgraded twice."""
    async with daemons(api, delay=0.2) as fleet, controllers(control_plane, namespace, count=2) as replicas:
        await api.create(paths.PLANS, a_plan(), msgspec.Raw)
        await plan_that(api, lambda plan: len(fleet.order) >= 2)
        lease = paths.lease(namespace, "upgrade-controller")
        holder = (await api.get(lease, dict))["spec"]["holderIdentity"]
        os.kill(replicas[int(holder.rpartition("-")[2])].pid, signal.SIGKILL)
        await plan_that(api, complete)

    assert sorted(fleet.order) == sorted(CP + WORKERS)


async def test_a_skipped_minor_is_held_with_the_way_out(
    control_plane: ControlPlane, namespace: str, api: KubeApi
) -> None:
    """The message names the minor that is missing in spec.via."""
    async with daemons(api) as fleet, controllers(control_plane, namespace):
        await api.create(paths.PLANS, a_plan(kubernetesVersion="v1.38.0"), msgspec.Raw)
        plan = await plan_that(api, lambda plan: bool(plan.status.holds))

    assert plan.status.holds[0].reason == "MinorSkipped"
    assert "1.37" in plan.status.holds[0].message
    assert fleet.order == []
