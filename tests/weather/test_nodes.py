"""Nodes come, go, come back under the same name, change their group, or become eligible all at once."""

import asyncio

import pytest

from kube_upgrade.kube import paths
from support.live import Controller, Site, running, virtual
from support.paused_leaders import PLAN, plan_spec

NODES = paths.NODES + "/"
LABEL = "node-role.kubernetes.io/control-plane"


@pytest.mark.parametrize("status", ["pending", "upgrading", "completed"])
@virtual
async def test_a_node_made_anew_under_its_name_is_another_node(status: str) -> None:
    """Its namesake's claim ends, and it is claimed and ordered by its own uid."""
    site = Site.built(workers=2)
    one = Controller.over(site.memory)
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: site.status("w1") == status)
        site.cluster.reborn("w1")
        await site.complete(within=60)
    uids = [uid for name, uid in site.orders() if name == "w1"]
    assert len(uids) == len(set(uids)) == 2
    assert site.plan.status.nodes.completed == 3
    assert site.breaches() == []


@virtual
async def test_an_order_never_reaches_a_namesake_of_the_node_it_was_meant_for() -> None:
    """Between the decision and its patch the node is made anew: the patch carries the old object's version."""
    site = Site.built(workers=2)
    one = Controller.over(site.memory)
    reborn: list[str] = []

    def at_the_last_moment(verb: str, path: str) -> None:
        if verb == "patch" and path == paths.node("w1") and site.plan.status.claims and not reborn:
            reborn.append(path)
            site.cluster.reborn("w1")

    one.api.before = at_the_last_moment
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: reborn)
        await site.complete(within=60)
    assert len(site.orders()) == 3
    assert site.breaches() == []


@pytest.mark.parametrize("status", ["pending", "upgrading"])
@virtual
async def test_a_control_plane_node_that_loses_its_label_in_flight_is_waited_for(status: str) -> None:
    """By what runs on it, it still is one: no other begins beside it, and no worker before it."""
    site = Site.built(control_planes=3, workers=2)
    one = Controller.over(site.memory)
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: site.status("cp1") == status)
        site.silent = {"cp1"}
        site.memory.patch(paths.node("cp1"), {"metadata": {"labels": {LABEL: None}}})
        await asyncio.sleep(60)
        assert site.ordered() == ["cp1"]
        site.silent = set()
        await site.complete(within=120)
    assert site.ordered() == ["cp1", "cp2", "cp3", "w1", "w2"]
    assert site.breaches() == []


def two_pools(**second: object) -> Site:
    """Workers w1 and w2 in pool a, w3 and w4 in pool b; one node of each at a time."""
    site = Site.built(workers=4)
    for number, pool in enumerate("aabb", 1):
        site.memory.patch(paths.node(f"w{number}"), {"metadata": {"labels": {"pool": pool}}})
    groups: dict[str, object] = {pool: {"labels": {"pool": pool}, "dependsOn": ["control-plane"]} for pool in "ab"}
    groups["b"] = {"labels": {"pool": "b"}, "dependsOn": ["control-plane"], **second}
    site.cluster.edit(groups={"workers": None, **groups})
    return site


def moved(site: Site, node: str, pool: str) -> None:
    site.memory.patch(paths.node(node), {"metadata": {"labels": {"pool": pool}}})


@virtual
async def test_a_node_in_flight_that_moves_to_another_group_finishes_and_counts_there() -> None:
    """It is not started anew, and its new group's budget is not exceeded by a start."""
    site = two_pools(paused=True)
    one = Controller.over(site.memory)
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: site.status("w1") == "upgrading")
        site.silent = {"w1"}
        moved(site, "w1", "b")
        await site.until(lambda: any(c.node == "w1" and c.group == "b" for c in site.plan.status.claims))
        site.cluster.edit(groups={"b": {"paused": False}})
        await site.until(lambda: site.status("w2") == "completed")
        await asyncio.sleep(30)
        assert site.ordered() == ["cp1", "w1", "w2"], "b is full"
        site.silent = set()
        await site.complete(within=60)
    assert sorted(site.upgrades()) == ["cp1", "w1", "w2", "w3", "w4"]
    assert site.breaches() == []


@virtual
async def test_a_waiting_node_follows_the_rules_of_the_group_it_moved_to() -> None:
    site = two_pools(paused=True)
    one = Controller.over(site.memory)
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: site.status("w1") == "upgrading")
        moved(site, "w2", "b")
        await site.until(lambda: site.status("w1") == "completed" and not site.plan.status.claims)
        await asyncio.sleep(60)
        assert site.upgrades() == ["cp1", "w1"]
        (hold,) = [each for each in site.plan.status.holds if "group b is paused" in each.message]
        assert (hold.reason, hold.nodes) == ("Paused", 3)
        moved(site, "w2", "a")
        await site.until(lambda: site.status("w2") == "completed", within=30)
    assert site.breaches() == []


@virtual
async def test_a_node_that_leaves_every_group_loses_an_order_that_was_not_begun() -> None:
    site = two_pools()
    site.silent = {"w1"}
    one = Controller.over(site.memory)
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: site.status("w1") == "pending")
        moved(site, "w1", "none")
        await site.complete(within=60)
    assert "kubernetesVersion" not in site.notes("w1")
    assert sorted(site.upgrades()) == ["cp1", "w2", "w3", "w4"]
    assert site.breaches() == []


@virtual
async def test_an_order_that_was_not_begun_goes_with_its_plan_though_a_younger_plan_stands() -> None:
    """The younger one selects only control planes: its turn comes when the older one is deleted."""
    site = Site.built(workers=2)
    site.silent = {"w1", "w2"}
    one = Controller.over(site.memory)
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: site.status("w1") == "pending")
        only = {"control-plane": {"selector": {"matchExpressions": [{"key": LABEL, "operator": "Exists"}]}}}
        site.memory.create(paths.PLANS, {"metadata": {"name": "younger"}, "spec": {**plan_spec(1), "groups": only}})
        await asyncio.sleep(5)
        assert "kubernetesVersion" in site.notes("w1")
        site.memory.delete(paths.plan(PLAN))
        await site.until(lambda: "kubernetesVersion" not in site.notes("w1"), within=5)
        site.silent = set()
        await asyncio.sleep(60)
    assert site.upgrades() == ["cp1"]


@pytest.mark.parametrize("budget", [50, 10])
@virtual
async def test_fifty_nodes_that_become_eligible_in_one_event_are_claimed_by_one_write(budget: int) -> None:
    """The group is unpaused: one status with as many claims as the budget allows, and one patch for each of them."""
    workers = {"selector": {"matchExpressions": [{"key": LABEL, "operator": "DoesNotExist"}]}, "maxUnavailable": budget}
    site = Site.built(workers=50, groups={"workers": {**workers, "paused": True}})
    one = Controller.over(site.memory)
    async with one.leading():
        async with running(site.daemons()):
            await site.until(lambda: site.plan.status.nodes.completed == 1 and not site.plan.status.claims)
        await asyncio.sleep(5)
        left = len(one.api.asked_at)
        site.cluster.edit(groups={"workers": {**workers, "paused": False}})
        await site.until(lambda: len(site.ordered()) == 1 + budget, within=5)
        await asyncio.sleep(5)

        asked = one.api.asked_at[left:]
        claims = [each for each in asked if each.path == paths.plan_status(PLAN)]
        orders = [each for each in asked if each.verb == "patch" and each.path.startswith(NODES)]
        assert len(claims) == 1
        assert len({each.path for each in orders}) == min(50, 2 * budget), "as many of the others fetch ahead"
        assert not [each for each in asked if each.path == paths.plan(PLAN)], "what was just written is not read again"
        assert len(site.plan.status.claims) == budget
        async with running(site.daemons()):
            await site.complete(within=300)
    assert len(site.upgrades()) == 51
    assert site.breaches() == []


@virtual
async def test_a_node_that_joins_in_mid_rollout_is_upgraded_too() -> None:
    site = Site.built(workers=2)
    one = Controller.over(site.memory)
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: site.status("w2") == "upgrading")
        site.cluster.names.append("w9")
        site.cluster.add("w9")
        await site.until(lambda: site.status("w9") == "completed", within=60)
        await site.complete(within=60)
    assert site.upgrades() == ["cp1", "w1", "w2", "w9"]
    assert site.breaches() == []
