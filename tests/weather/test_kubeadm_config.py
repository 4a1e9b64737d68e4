"""The ConfigMap kubeadm-config cannot be read: only control planes wait for it, and say so."""

import asyncio

import pytest

from kube_upgrade.kube.errors import KubeError, api_error
from kube_upgrade.kube.wire.kubeadm_config import PATH
from support.live import Controller, Site, refusing, running, virtual

FORBIDDEN = api_error(403, "Forbidden", "configmaps is forbidden")
BROKEN = api_error(500, "InternalError", "no key to decrypt it")
ALWAYS = 10**9


@pytest.mark.parametrize("error", [FORBIDDEN, BROKEN], ids=["403", "lasting 500"])
@virtual
async def test_a_new_leader_that_cannot_read_it_withdraws_what_a_paused_plan_has_ordered(error: KubeError) -> None:
    site = Site.built(workers=2)
    site.silent = {"w1", "w2"}
    one, two = Controller.over(site.memory), Controller.over(site.memory)
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: site.status("w1") == "pending")
    two.api.before = refusing(error, times=ALWAYS, verb="get", below=PATH)
    async with two.leading():
        await asyncio.sleep(1)
        site.cluster.edit(paused=True)
        await site.until(lambda: "kubernetesVersion" not in site.notes("w1"), within=5)
        await site.until(lambda: [hold.reason for hold in site.plan.status.holds] == ["Paused"], within=5)


@pytest.mark.parametrize("error", [FORBIDDEN, BROKEN], ids=["403", "lasting 500"])
@virtual
async def test_control_planes_wait_with_the_reason_and_go_on_once_it_can_be_read(error: KubeError) -> None:
    """Whether `kubeadm upgrade apply` is done stands in it. It is asked for ever less often, in the end every 45 s."""
    site = Site.built(control_planes=2, workers=1)
    one = Controller.over(site.memory)
    one.api.before = refusing(error, times=ALWAYS, verb="get", below=PATH)
    async with one.leading(), running(site.daemons()):
        await asyncio.sleep(3600)
        assert site.ordered() == []
        (hold,) = [each for each in site.plan.status.holds if each.reason == "VersionUnknown"]
        assert (hold.message, hold.sample) == (
            f"ConfigMap kube-system/kubeadm-config can't be read: {error}",
            ("cp1", "cp2"),
        )
        assert 60 < len([each for each in one.api.asked_at if each.path == PATH]) < 150
        one.api.before = lambda verb, path: None
        await site.until(site.ordered, within=60)
        await site.complete(within=60)
    assert site.ordered() == ["cp1", "cp2", "w1"]
    assert site.breaches() == []


@virtual
async def test_one_500_on_it_is_no_reason_to_wait() -> None:
    """It is asked for again within a second, before anything is decided."""
    site = Site.built(control_planes=2, workers=1)
    one = Controller.over(site.memory)
    one.api.before = refusing(BROKEN, times=1, verb="get", below=PATH)
    async with one.leading(), running(site.daemons()):
        await site.until(site.ordered, within=1)
        await site.complete(within=60)
    assert not [each for each in one.announced if "kubeadm-config" in each.note]
