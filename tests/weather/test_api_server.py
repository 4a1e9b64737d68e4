"""The API server is away, refuses, forgets, is slow or tells things twice: the controller goes on; nobody goes twice.

The real watches, loop, decisions and writes, in virtual time (support/live.py).
"""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from itertools import pairwise

import pytest
from prometheus_client import REGISTRY

from kube_upgrade.kube import paths
from kube_upgrade.kube.errors import ServerError, TooManyRequests
from support.live import REFUSED, Controller, LiveApi, Site, refusing, running, virtual
from support.paused_leaders import PLAN

PLAN_STATUS = paths.plan_status(PLAN)
MINUTES = 600.0
LONGEST_PAUSE = 15.0
A_HAIR = 0.001  # seconds: sums of floats


def turn_failures() -> float:
    return REGISTRY.get_sample_value("kube_upgrade_turn_failures_total") or 0.0


@virtual
async def test_the_api_server_may_be_away_for_minutes_in_mid_rollout() -> None:
    """Asked ever less often meanwhile, and the readiness probe says so; afterwards the rollout goes on by itself."""
    site = Site.built(workers=3)
    one = Controller.over(site.memory)
    async with one.leading():
        async with running(site.daemons()):
            await site.until(lambda: site.status("w1") == "upgrading")
        before = site.ordered()
        one.api.go_away()
        left = len(one.api.asked_at)
        await asyncio.sleep(MINUTES)

        tries = one.api.asked_at[left:]
        assert one.world.out_of_touch() == "no watch on plans, nodes, pods"
        assert len(tries) <= 3 * (10 + MINUTES / (LONGEST_PAUSE / 2)), "three watches, each with a back-off of its own"
        assert site.ordered() == before

        one.api.away = False
        async with running(site.daemons()):
            assert await site.until(lambda: one.world.out_of_touch() is None) <= LONGEST_PAUSE
            await site.complete(within=60)
    assert site.ordered() == ["cp1", "w1", "w2", "w3"]
    assert site.breaches() == []


@virtual
async def test_an_outage_in_the_middle_of_a_decisions_writes_leaves_nothing_half_done() -> None:
    """Whichever request it hits: the first that fails, and all that follow for a minute."""
    for number in range(1, 24):
        site = Site.built(workers=2, budget=2)
        one = Controller.over(site.memory)
        left = [number]

        def fails(verb: str, path: str, left: list[int] = left, api: LiveApi = one.api) -> None:
            left[0] -= 1
            if left[0] == 0:
                api.go_away()
                asyncio.get_running_loop().call_later(60, lambda: setattr(api, "away", False))
                raise REFUSED

        one.api.before = fails
        async with one.leading(), running(site.daemons()):
            await site.complete(within=300)
        assert sorted(site.ordered()) == ["cp1", "w1", "w2"], f"request {number}"
        assert site.breaches() == [], f"request {number}"


@virtual
async def test_a_409_on_every_first_try_costs_a_turn_and_nothing_else() -> None:
    """Somebody else writes each object between our read and our write."""
    site = Site.built(workers=3)
    one = Controller.over(site.memory)
    met: list[str] = []

    def somebody_was_first(verb: str, path: str) -> None:
        if verb not in ("patch", "update") or len(met) >= 40:
            return
        met.append(path)
        if len(met) % 2:
            where = path.removesuffix("/status")
            site.memory.patch(where, {"metadata": {"annotations": {"somebody": str(len(met))}}})

    one.api.before = somebody_was_first
    async with one.leading(), running(site.daemons()):
        await site.complete(within=300)
    assert len(met) > 8
    assert site.ordered() == ["cp1", "w1", "w2", "w3"]
    assert site.breaches() == []


@virtual
async def test_after_a_410_what_happened_unseen_is_known() -> None:
    """The server started anew and has forgotten: a node is gone meanwhile, and its claim ends with it."""
    site = Site.built(workers=3)
    one = Controller.over(site.memory)
    async with one.leading():
        async with running(site.daemons()):
            await site.until(lambda: site.status("w1") == "upgrading")
        one.api.go_away()
        site.memory.delete(paths.node("w1"))
        site.cluster.names.remove("w1")
        site.memory.restart()
        one.api.away = False
        async with running(site.daemons()):
            await site.complete(within=60)
    assert site.ordered() == ["cp1", "w1", "w2", "w3"]
    assert site.plan.status.claims == ()
    assert site.breaches() == []


@pytest.mark.parametrize("retry_after", [4.0, 12.0])
@virtual
async def test_a_429_on_a_write_is_followed_by_no_request_before_its_retry_after(retry_after: float) -> None:
    site = Site.built()
    one = Controller.over(site.memory)
    busy = TooManyRequests(429, "TooManyRequests", "flow control", retry_after=retry_after)
    one.api.before = refusing(busy, times=3, verb="update", below=PLAN_STATUS)
    async with one.leading(), running(site.daemons()):
        await site.complete(within=300)
    tries = [each.at for each in one.api.asked_at if (each.verb, each.path) == ("update", PLAN_STATUS)][:4]
    assert all(later - earlier > retry_after - A_HAIR for earlier, later in pairwise(tries)), tries
    assert tries[-1] < 4 * 15, "and not much later"


@pytest.mark.parametrize("verb", ["get", "watch"])
@virtual
async def test_a_429_on_a_list_or_watch_is_followed_by_none_before_its_retry_after(verb: str) -> None:
    site = Site.built()
    one = Controller.over(site.memory)
    busy = TooManyRequests(429, "TooManyRequests", "storage is (re)initializing", retry_after=7.0)
    one.api.before = refusing(busy, times=3, verb=verb, below=paths.NODES)
    async with one.leading(), running(site.daemons()):
        await site.complete(within=300)
    tries = [each.at for each in one.api.asked_at if (each.verb, each.path) == (verb, paths.NODES)][:4]
    assert all(later - earlier > 7.0 - A_HAIR for earlier, later in pairwise(tries)), tries


@virtual
async def test_errors_without_a_retry_after_are_met_with_growing_pauses() -> None:
    site = Site.built()
    one = Controller.over(site.memory)
    one.api.before = refusing(ServerError(503, "", "etcd has no leader"), times=8, verb="update", below=PLAN_STATUS)
    counted = turn_failures()
    async with one.leading(), running(site.daemons()):
        await site.complete(within=300)
    assert turn_failures() - counted == 8
    tries = [each.at for each in one.api.asked_at if (each.verb, each.path) == ("update", PLAN_STATUS)][:9]
    rests = [later - earlier for earlier, later in pairwise(tries)]
    assert rests == sorted(rests)
    assert rests[0] < 0.3
    assert LONGEST_PAUSE / 2 <= rests[-1] <= LONGEST_PAUSE


@virtual
async def test_a_watch_that_is_twenty_seconds_late_starts_nobody_twice() -> None:
    site = Site.built(workers=4, budget=2)
    one = Controller.over(site.memory, late=20.0)
    async with one.leading(), running(site.daemons()):
        await site.complete()
    assert sorted(site.ordered()) == ["cp1", "w1", "w2", "w3", "w4"]
    assert site.breaches() == []


class Garbled(LiveApi):
    """Its watches lag behind one another, say things again, and mix up objects; one object's own events stay in order,
    as every server keeps them."""

    dice = random.Random(0)

    async def watch(
        self, path: str, params: Mapping[str, str], *, opened: Callable[[], None] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """What was written within some seconds comes together, in another order, and some of it again."""
        lately: list[bytes] = []
        async for batch in _batches(super().watch(path, params, opened=opened), self.dice):
            lately = [*lately, *batch][-4:]
            for line in batch + (lately if self.dice.random() < 0.3 else []):
                yield line


async def _batches(lines: AsyncGenerator[bytes, None], dice: random.Random) -> AsyncGenerator[list[bytes], None]:
    """The lines that come within a while, object by object."""
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def pump() -> None:
        async for line in lines:
            queue.put_nowait(line)
        queue.put_nowait(None)  # the watch has ended

    async with running(pump(), ends=True):
        ended = False
        while not ended:
            got = [await queue.get()]
            await asyncio.sleep(dice.choice([0, 0.5, 3]))
            while not queue.empty():
                got.append(queue.get_nowait())
            ended = got[-1] is None
            batch = [line for line in got if line is not None]
            subjects = sorted({_subject(each) for each in batch})
            dice.shuffle(subjects)
            yield sorted(batch, key=lambda each: subjects.index(_subject(each)))


def _subject(line: bytes) -> str:
    name: str = json.loads(line)["object"]["metadata"].get("name", "")
    return name


@pytest.mark.parametrize("seed", range(10))
@virtual
async def test_events_that_come_twice_late_or_in_another_order_upgrade_nobody_twice(seed: int) -> None:
    """An order may be taken back and given anew before kubeadm begins: a plan that went back in time has no claim."""
    site = Site.built(workers=4, budget=2)
    one = Controller.over(site.memory, api=Garbled)
    assert isinstance(one.api, Garbled)
    one.api.dice = random.Random(seed)
    async with one.leading(), running(site.daemons()):
        await site.complete()
    assert sorted(site.upgrades()) == ["cp1", "w1", "w2", "w3", "w4"]
    assert site.breaches() == []
