"""One side is upstream's: a Go daemon that knows neither phase nor stage, or a Go controller that writes our plan."""

import asyncio
import functools
from collections.abc import Callable

from kube_upgrade.kube import paths
from kube_upgrade.kube.wire import node as keys
from kube_upgrade.kube.wire.kubeadm_config import PATH as KUBEADM_CONFIG
from support.live import Controller, Site, running, virtual
from support.paused_leaders import PLAN
from support.reporter import COMPONENTS, ready_status

EACH_MINUTE = 60.0  # how often upstream's controller writes its status
OUR_DAEMONS_KEYS = {"phase", "message", "attempt", "staged", "applied"}


class GoDaemons:
    """Upstream's daemon on every node: it writes status and its version, reads kubernetesVersion, and no other key.

    Asked to upgrade it goes pending → upgrading → rebasing → completed and never gives an order back.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    async def run(self) -> None:
        """Each does its next thing each second."""
        while True:
            await asyncio.sleep(1)
            for name in self._site.cluster.names:
                self._step(name)

    def _step(self, name: str) -> None:
        notes = self._site.notes(name)
        version = notes.get("kubernetesVersion", "")
        match notes.get("status"):
            case "pending" if version:
                self._tell(name, "upgrading")
            case "upgrading":
                self._tell(name, "rebasing")
            case "rebasing":
                self._upgraded(name, version)
                self._tell(name, "completed")
            case _:
                pass  # nothing was asked

    def _tell(self, name: str, status: str) -> None:
        notes = {keys.STATUS: status, keys.NODE + "upgradedVersion": "v0.9.6"}
        self._site.memory.patch(paths.node(name), {"metadata": {"annotations": notes}})

    def _upgraded(self, name: str, version: str) -> None:
        memory = self._site.memory
        if name.startswith("cp"):
            for component in COMPONENTS[1:]:
                image = {"containers": [{"name": component, "image": f"registry.k8s.io/{component}:{version}"}]}
                memory.patch(paths.pod("kube-system", f"{component}-{name}"), {"spec": image})
            memory.patch(KUBEADM_CONFIG, {"data": {"ClusterConfiguration": f"kubernetesVersion: {version}\n"}})
        memory.patch(paths.node_status(name), {"status": ready_status(version)})


@virtual
async def test_a_go_daemon_that_knows_neither_phase_nor_stage_is_upgraded_all_the_same() -> None:
    site = Site.built(control_planes=3, workers=3, budget=2)
    one = Controller.over(site.memory)
    async with one.leading(), running(GoDaemons(site).run()):
        await site.complete(within=300)
    assert [name for name in site.ordered() if name.startswith("cp")] == ["cp1", "cp2", "cp3"]
    assert sorted(site.ordered()) == ["cp1", "cp2", "cp3", "w1", "w2", "w3"]
    assert all(site.status(name) == "completed" for name in site.cluster.names)
    assert not any(OUR_DAEMONS_KEYS & site.notes(name).keys() for name in site.cluster.names)
    assert site.breaches() == []


@virtual
async def test_a_go_daemon_that_fails_counts_as_a_failure() -> None:
    site = Site.built(workers=3)
    one = Controller.over(site.memory)
    async with one.leading():
        async with running(GoDaemons(site).run()):
            await site.until(lambda: site.status("w1") == "upgrading")
        site.memory.patch(paths.node("w1"), {"metadata": {"annotations": {keys.STATUS: "error"}}})
        async with running(GoDaemons(site).run()):
            await site.until(lambda: site.plan.status.summary.startswith("Error"), within=30)
            await asyncio.sleep(300)
    assert site.ordered() == ["cp1", "w1"]
    assert {each.reason for each in site.plan.status.holds} == {"TooManyFailures"}


def overwritten(site: Site) -> None:
    """What upstream's controller leaves of a status: its own two fields."""
    found = site.memory.get(paths.plan(PLAN))
    status = {"summary": "Progressing: Upgrading groups [workers]", "groups": {"workers": "Progressing"}}
    site.memory.replace(paths.plan_status(PLAN), found | {"status": status})


async def go_controller(site: Site) -> None:
    """Upstream's reconcile loop, reduced to its status."""
    while True:
        overwritten(site)
        await asyncio.sleep(EACH_MINUTE)


def condition(site: Site) -> Callable[[], bool]:
    return lambda: any(each.type == "ForeignController" and each.status for each in site.plan.status.conditions)


@virtual
async def test_while_a_go_controller_writes_the_plans_status_nothing_is_started_and_afterwards_all_is() -> None:
    """What is under way finishes; our claims, which it wiped, are made anew from the nodes."""
    site = Site.built(workers=3)
    one = Controller.over(site.memory)
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: site.status("w1") == "upgrading")
        async with running(go_controller(site)):
            await site.until(condition(site), within=5)
            await asyncio.sleep(5 * EACH_MINUTE)
            assert site.ordered() == ["cp1", "w1"]
            assert site.status("w1") == "completed"
            assert "ForeignController" in {each.reason for each in site.plan.status.holds}
        await site.complete(within=300)
        assert not condition(site)()
    assert sorted(site.upgrades()) == ["cp1", "w1", "w2", "w3"]


def is_moment(site: Site, moment: str) -> bool:
    claimed = any(claim.node == "w1" for claim in site.plan.status.claims)
    return claimed if moment == "claimed" else site.status("w1") == moment


@virtual
async def test_a_status_that_was_wiped_once_loses_no_node_under_way() -> None:
    """Even right between a claim and its order."""
    for moment in ("claimed", "pending", "upgrading"):
        site = Site.built(workers=2)
        one = Controller.over(site.memory)
        async with one.leading(), running(site.daemons()):
            await site.until(functools.partial(is_moment, site, moment))
            overwritten(site)
            await site.complete(within=400)
        assert sorted(site.upgrades()) == ["cp1", "w1", "w2"], moment
