"""Two controllers at once, a lease that is taken away, clocks that differ: the limits hold, the work goes on.

The election's own properties are in tests/properties/test_election.py, two leaders paused before any request in
tests/properties/test_two_leaders.py and test_real_leaders.py.
"""

import asyncio
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from kube_upgrade.kube import paths
from kube_upgrade.kube.leader import LeaseLost, lead
from kube_upgrade.model.lease import Terms
from support.live import Controller, Site, running, virtual
from support.paused_leaders import PLAN
from support.virtual_time import VirtualClock

NAMESPACE, LEASE = "kube-upgrade", "upgrade-controller"
LEASE_PATH = paths.lease(NAMESPACE, LEASE)
HOUR = timedelta(hours=1)
TERMS = Terms()


async def candidate(one: Controller, identity: str) -> None:
    """A replica as main() runs it: it acts while it holds the lease, and tries again when it lost it."""
    while True:
        try:
            await lead(one.api, NAMESPACE, LEASE, identity, one.act, clock=VirtualClock(one.clock.skew))
        except LeaseLost:
            continue


@pytest.mark.parametrize("late", [0.0, 7.0])
@virtual
async def test_two_that_both_believe_they_lead_hold_every_limit_and_finish(late: float) -> None:
    """One of them sees everything some seconds late, and its clock is a minute ahead."""
    site = Site.built(control_planes=3, workers=4, budget=2)
    one = Controller.over(site.memory)
    other = Controller.over(site.memory, late=late, skew=timedelta(minutes=1))
    async with one.leading(), other.leading(), running(site.daemons()):
        await site.complete()
    assert sorted(site.upgrades()) == ["cp1", "cp2", "cp3", "w1", "w2", "w3", "w4"]
    assert site.breaches() == []


@virtual
async def test_who_lost_the_lease_writes_nothing_any_more_and_the_thief_goes_on() -> None:
    site = Site.built(workers=3)
    one = Controller.over(site.memory)
    async with one.watching(), running(candidate(one, "one"), site.daemons()):
        await site.until(lambda: site.status("w1") == "upgrading")
        stolen = {"holderIdentity": "thief", "leaseDurationSeconds": 15, "renewTime": "2026-11-24T09:00:00.000000Z"}
        site.memory.patch(LEASE_PATH, {"spec": stolen})
        at = asyncio.get_running_loop().time()
        await asyncio.sleep(60)  # the thief does not renew, so the lease comes back after its 15 s

        written = [each.at for each in one.api.writes() if each.path != LEASE_PATH and each.at > at]
        knows = at + 2 * TERMS.retry  # the first renewal meets a 409, the second one reads who holds it
        assert [each for each in written if knows < each < at + TERMS.duration] == []
        assert any(each > at + TERMS.duration for each in written), "it leads again"
        await site.complete()
    assert site.ordered() == ["cp1", "w1", "w2", "w3"]
    assert site.breaches() == []


@virtual
async def test_who_lost_the_lease_shows_no_gauges_of_what_it_decided() -> None:
    """The sum over replicas is the truth: an old leader's claims would be counted beside the new one's."""
    site = Site.built(workers=2)
    site.silent = {"w1"}
    one = Controller.over(site.memory)

    def claims_shown() -> float | None:
        one.publisher.refresh()
        return REGISTRY.get_sample_value("kube_upgrade_claims", {"plan": PLAN, "group": "workers"})

    async with one.watching(), running(candidate(one, "one"), site.daemons()):
        await site.until(lambda: site.status("w1") == "pending")
        assert claims_shown() == 1
        stolen = {"holderIdentity": "thief", "leaseDurationSeconds": 15, "renewTime": "2026-11-24T09:00:00.000000Z"}
        site.memory.patch(LEASE_PATH, {"spec": stolen})
        await asyncio.sleep(5)
        assert claims_shown() is None
        assert REGISTRY.get_sample_value("kube_upgrade_plan_nodes", {"plan": PLAN, "state": "completed"}) is None
        await asyncio.sleep(60)
        assert claims_shown() == 1, "it leads again"


@virtual
async def test_a_replica_that_loses_the_api_server_is_replaced_by_one_that_has_it() -> None:
    """A partition: the old leader stops ten seconds after its last renewal, before the lease can be another's."""
    site = Site.built(workers=4)
    one, other = Controller.over(site.memory), Controller.over(site.memory)
    acted: list[float] = []
    other.api.before = lambda verb, path: (
        acted.append(asyncio.get_running_loop().time()) if verb in ("patch", "update") and path != LEASE_PATH else None
    )
    async with one.watching(), other.watching(), running(candidate(one, "one"), site.daemons()):
        await site.until(lambda: site.status("w1") == "upgrading")
        async with running(candidate(other, "other")):
            await asyncio.sleep(5)
            assert acted == [], "one leads"
            one.api.go_away()
            lost = asyncio.get_running_loop().time()
            await site.complete()
    assert lost + TERMS.renew_deadline - TERMS.retry < acted[0] < lost + TERMS.duration + 2 * TERMS.retry
    assert sorted(site.upgrades()) == ["cp1", "w1", "w2", "w3", "w4"]
    assert site.breaches() == []


@pytest.mark.parametrize("skews", [(-HOUR, HOUR), (HOUR, -HOUR)], ids=["forth", "back"])
@virtual
async def test_a_new_leader_whose_clock_is_two_hours_off_goes_on_with_what_it_finds(
    skews: tuple[timedelta, timedelta],
) -> None:
    site = Site.built(workers=4, budget=2)
    one, other = (Controller.over(site.memory, skew=skew) for skew in skews)
    async with running(site.daemons()):
        async with one.leading():
            await site.until(lambda: site.status("w1") == "upgrading")
        async with other.leading():
            await site.until(lambda: "w3" in site.upgrades())
        async with one.leading():
            await site.complete()
    assert sorted(site.upgrades()) == ["cp1", "w1", "w2", "w3", "w4"]
    assert site.breaches() == []


@virtual
async def test_an_order_taken_back_by_a_clock_ahead_is_given_again_by_one_behind() -> None:
    """A withdrawal fences by its moment (ADR 2): a claim made later is later, whatever the clock says."""
    site = Site.built(workers=2)
    one, other = Controller.over(site.memory, skew=HOUR), Controller.over(site.memory, skew=-HOUR)
    site.silent = {"w1"}
    async with running(site.daemons()):
        async with one.leading():
            await site.until(lambda: site.status("w1") == "pending")
            site.cluster.edit(paused=True)
            await site.until(lambda: "withdrawn" in site.notes("w1") and not site.plan.status.claims)
        site.cluster.edit(paused=False)
        site.silent = set()
        async with other.leading():
            await site.complete(within=60)
    assert sorted(site.upgrades()) == ["cp1", "w1", "w2"]
    assert site.breaches() == []
