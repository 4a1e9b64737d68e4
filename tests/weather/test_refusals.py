"""The API server refuses what is written on one node, or a fresh read takes an order away: the others go on, the news
is told, and nothing spins."""

import asyncio
from collections.abc import Callable

import pytest

from kube_upgrade.controller.refusals import MOST_PAUSE
from kube_upgrade.kube import paths
from kube_upgrade.kube.errors import api_error
from kube_upgrade.model.status import Reason
from support.live import Controller, Site, running, virtual
from support.paused_leaders import PLAN

DENIED = api_error(403, "Forbidden", "denied by policy")


def told(one: Controller, reason: str) -> list[str]:
    """The nodes about which this was announced."""
    return sorted(each.regarding.name for each in one.announced if each.reason == reason)


def done(site: Site) -> int:
    """How many daemons say completed."""
    return sum(site.status(name) == "completed" for name in site.cluster.names)


def claimed(site: Site, node: str) -> bool:
    return any(claim.node == node for claim in site.plan.status.claims)


def once_for_each(site: Site, status: int) -> Callable[[str, str], None]:
    """The first patch of each worker that is claimed meets this status."""
    met: list[str] = []

    def before(verb: str, path: str) -> None:
        node = path.rpartition("/")[2]
        of_a_worker = verb == "patch" and path == paths.node(node) and node.startswith("w")
        if of_a_worker and node not in met and claimed(site, node):
            met.append(node)
            raise api_error(status, "Trouble", "try again")

    return before


@pytest.mark.parametrize("denied_with", [400, 403, 500])  # 400: a webhook that denies without a code
@virtual
async def test_a_node_that_refuses_its_order_says_so_and_the_others_go_on(denied_with: int) -> None:
    site = Site.built(workers=6, budget=3)
    one, denied = Controller.over(site.memory), [True]

    def policy(verb: str, path: str) -> None:
        if denied and verb == "patch" and path == paths.node("w6"):
            raise api_error(denied_with, "Denied", "denied by policy")

    one.api.before = policy
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: done(site) >= 6, within=60)
        await asyncio.sleep(600)

        assert told(one, "UpgradeCompleted") == ["cp1", "w1", "w2", "w3", "w4", "w5"]
        (hold,) = [hold for hold in site.plan.status.holds if hold.reason is Reason.PATCH_REFUSED]
        assert (hold.sample, "denied by policy" in hold.message) == (("w6",), True)
        assert 10 <= len(one.api.writes(paths.node("w6"))) <= 40, "a minute apart in the end"

        denied.clear()
        await site.complete(within=MOST_PAUSE + 30)
    assert site.breaches() == []


@virtual
async def test_a_node_whose_server_names_a_moment_is_not_tried_before() -> None:
    site = Site.built(workers=1)
    one = Controller.over(site.memory)

    def policy(verb: str, path: str) -> None:
        if verb == "patch" and path == paths.node("w1"):
            raise api_error(503, "Unavailable", "the webhook is down", retry_after=30.0)

    one.api.before = policy
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: len(one.api.writes(paths.node("w1"))) == 1)
        await asyncio.sleep(29)
        assert len(one.api.writes(paths.node("w1"))) == 1


@virtual
async def test_one_node_that_refuses_makes_the_others_no_slower() -> None:
    took = []
    for bad in (False, True):
        site = Site.built(workers=6, budget=2)
        one = Controller.over(site.memory)

        def policy(verb: str, path: str, bad: bool = bad) -> None:
            if bad and verb == "patch" and path == paths.node("w6"):
                raise DENIED

        one.api.before = policy
        async with one.leading(), running(site.daemons()):
            took.append(await site.until(lambda site=site: done(site) >= 6, within=600))  # type: ignore[misc]
    assert took[1] <= took[0] + 5


@virtual
async def test_a_server_error_on_each_nodes_order_loses_no_news() -> None:
    site = Site.built(workers=3)
    one = Controller.over(site.memory)
    one.api.before = once_for_each(site, 500)
    async with one.leading(), running(site.daemons()):
        await site.complete(within=300)
        await asyncio.sleep(5)
    assert told(one, "UpgradeCompleted") == told(one, "UpgradeOrdered") == ["cp1", "w1", "w2", "w3"]


@virtual
async def test_a_409_on_one_order_does_not_silence_those_that_were_written() -> None:
    site = Site.built(workers=6, budget=3)
    one = Controller.over(site.memory)
    one.api.before = once_for_each(site, 409)
    async with one.leading(), running(site.daemons()):
        await site.complete(within=300)
        await asyncio.sleep(5)
    assert told(one, "UpgradeOrdered") == ["cp1", "w1", "w2", "w3", "w4", "w5", "w6"]


@virtual
async def test_orders_taken_back_while_a_large_status_rests_are_told() -> None:
    site = Site.built(workers=100, budget=100)
    site.silent = {name for name in site.cluster.names if name.startswith("w")}
    one = Controller.over(site.memory)
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: len(site.ordered()) == 101)
        site.cluster.edit(paused=True)
        await site.until(lambda: not any("kubernetesVersion" in site.notes(name) for name in site.silent))
        await asyncio.sleep(5)
    assert len(told(one, "UpgradeWithdrawn")) == 100


@virtual
async def test_an_order_whose_claim_went_is_not_tried_again_at_full_speed_nor_announced() -> None:
    """The plan's watch is late: the copy still shows a claim that another leader has given up."""
    site = Site.built(workers=2)
    site.silent = {"w1", "w2"}
    one, conflicts, reads = Controller.over(site.memory), [True], list[str]()

    def before(verb: str, path: str) -> None:
        if conflicts and verb == "patch" and path == paths.node("w1") and claimed(site, "w1"):
            raise api_error(409, "Conflict", "modified")
        if not conflicts and verb == "get" and path == paths.plan(PLAN):
            reads.append(path)

    one.api.before = before
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: claimed(site, "w1"))
        await asyncio.sleep(15)
        one.api.late = 20.0
        await asyncio.sleep(0.5)
        body = site.memory.get(paths.plan(PLAN))
        body["status"]["claims"] = []
        site.memory.replace(paths.plan_status(PLAN), body)
        conflicts.clear()
        ordered = len(told(one, "UpgradeOrdered"))
        one.changed.set()
        await asyncio.sleep(19)
    assert 1 <= len(reads) <= 60
    assert len(told(one, "UpgradeOrdered")) == ordered


@virtual
async def test_a_failure_is_told_once_while_it_lasts() -> None:
    site = Site.built(workers=2)
    site.silent = {"w1", "w2"}
    one = Controller.over(site.memory)
    async with one.leading(), running(site.daemons()):
        await site.until(lambda: site.status("w1") == "pending")
        prefix = "node.kube-upgrade.heathcliff.eu/"
        notes = {prefix + "status": "error", prefix + "message": "disk full"}
        site.memory.patch(paths.node("w1"), {"metadata": {"annotations": notes}})
        for turn in range(20):
            await asyncio.sleep(1)
            site.memory.patch(paths.node("w2"), {"metadata": {"labels": {"turn": str(turn)}}})
    assert told(one, "UpgradeFailed") == ["w1"]
