"""A replica leads by its Lease alone, and stops in time; time is turned by hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from kube_upgrade.kube.errors import Unreachable
from kube_upgrade.kube.leader import LeaseLost, lead
from kube_upgrade.kube.paths import lease, leases
from kube_upgrade.model.lease import Terms
from support.async_memory_api import AsyncMemoryApi, T
from support.fake_clock import FakeClock, settle
from support.memory_api import MemoryApi

NAMESPACE, NAME = "kube-upgrade", "upgrade-controller"
PATH = lease(NAMESPACE, NAME)
FIRST_RENEWALS = 7.0


@dataclass
class Body:
    """Work that lasts until it is cancelled, and remembers when it ran."""

    clock: FakeClock
    began: list[float] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)
    running: bool = False

    async def __call__(self) -> None:
        began = self.clock.monotonic()
        self.began.append(began)
        self.running = True
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.running = False
            self.spans.append((began, self.clock.monotonic()))


@asynccontextmanager
async def candidate(
    api: AsyncMemoryApi, clock: FakeClock, identity: str
) -> AsyncIterator[tuple[Body, "asyncio.Task[None]"]]:
    body = Body(clock)
    task = asyncio.create_task(lead(api, NAMESPACE, NAME, identity, body, clock=clock))
    try:
        yield body, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def spec(memory: MemoryApi) -> dict[str, object]:
    found: dict[str, object] = memory.get(PATH)["spec"]
    return found


def written_by_another(memory: MemoryApi, holder: str, duration: int = 15) -> None:
    times = {"acquireTime": "2020-01-01T00:00:00.000000Z", "renewTime": "2020-01-01T00:00:00.000000Z"}
    body = {"holderIdentity": holder, "leaseDurationSeconds": duration, "leaseTransitions": 4, **times}
    memory.create(leases(NAMESPACE), {"metadata": {"name": NAME, "labels": {"team": "a"}}, "spec": body})


async def test_the_first_candidate_creates_the_lease_and_leads_at_once() -> None:
    memory, clock = MemoryApi(), FakeClock()
    async with candidate(AsyncMemoryApi(memory), clock, "one") as (body, _):
        await settle()
        assert body.running
        assert spec(memory) == {
            "holderIdentity": "one",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-11-24T08:00:00.000000Z",
            "renewTime": "2026-11-24T08:00:00.000000Z",
            "leaseTransitions": 0,
        }


async def test_a_silent_holder_is_replaced_after_its_duration_however_old_its_times_look() -> None:
    memory, clock = MemoryApi(), FakeClock()
    written_by_another(memory, "dead")
    async with candidate(AsyncMemoryApi(memory), clock, "one") as (body, _):
        await clock.advance(14.9)
        assert body.began == []
        await clock.advance(2.5)  # one more retry period with its jitter
        assert body.running
        assert spec(memory)["leaseTransitions"] == 5
        assert memory.get(PATH)["metadata"]["labels"] == {"team": "a"}


async def test_a_renewing_holder_keeps_everybody_else_waiting() -> None:
    memory, clock = MemoryApi(), FakeClock()
    api = AsyncMemoryApi(memory)
    async with candidate(api, clock, "one") as (first, _), candidate(api, clock, "two") as (second, _):
        await clock.advance(300)
        assert first.running
        assert not second.running
        assert spec(memory)["acquireTime"] == "2026-11-24T08:00:00.000000Z"


async def test_when_the_body_ends_the_lease_is_released_and_the_next_one_starts_with_its_next_try() -> None:
    memory, clock = MemoryApi(), FakeClock()
    api = AsyncMemoryApi(memory)

    async def short() -> None:
        await clock.sleep(5)

    first = asyncio.create_task(lead(api, NAMESPACE, NAME, "one", short, clock=clock))
    await settle()
    async with candidate(api, clock, "two") as (second, _):
        await clock.advance(5)
        assert first.done()
        await clock.advance(2.5)
        assert second.running
        assert spec(memory)["holderIdentity"] == "two"


async def test_cancelling_ends_the_body_before_the_lease_is_released() -> None:
    memory, clock = MemoryApi(), FakeClock()
    held_at_the_end: list[object] = []

    async def body() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            held_at_the_end.append(spec(memory)["holderIdentity"])

    task = asyncio.create_task(lead(AsyncMemoryApi(memory), NAMESPACE, NAME, "one", body, clock=clock))
    await clock.advance(FIRST_RENEWALS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert held_at_the_end == ["one"]
    assert (spec(memory)["holderIdentity"], spec(memory)["leaseDurationSeconds"]) == ("", 1)


async def test_a_body_that_fails_releases_the_lease_and_its_error_is_seen() -> None:
    memory, clock = MemoryApi(), FakeClock()

    async def body() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await lead(AsyncMemoryApi(memory), NAMESPACE, NAME, "one", body, clock=clock)
    assert spec(memory)["holderIdentity"] == ""


async def test_without_the_api_the_body_is_cancelled_ten_seconds_after_the_last_renewal() -> None:
    memory, clock = MemoryApi(), FakeClock()
    api = AsyncMemoryApi(memory)
    async with candidate(api, clock, "one") as (body, task):
        await clock.advance(FIRST_RENEWALS)  # renewed at 2, 4 and 6

        def away(verb: str, path: str) -> None:
            raise Unreachable("connection refused")

        api.weather = away
        await clock.advance(8.9)
        assert body.running
        await clock.advance(0.2)
        assert body.spans == [(0.0, 16.0)]
        with pytest.raises(LeaseLost, match="not renewed within 10 s: Unreachable: connection refused"):
            await task


async def test_an_api_that_never_answers_costs_the_lead_at_the_same_moment() -> None:
    memory, clock = MemoryApi(), FakeClock()

    class Hangs(AsyncMemoryApi):
        async def replace(self, path: str, body: object, type: type[T]) -> T:
            await asyncio.get_running_loop().create_future()
            return await super().replace(path, body, type)

    async with candidate(Hangs(memory), clock, "one") as (body, task):
        await clock.advance(10)
        assert body.spans == [(0.0, 10.0)]
        with pytest.raises(LeaseLost, match="no answer in time"):
            await task


async def test_a_short_outage_costs_nothing() -> None:
    memory, clock = MemoryApi(), FakeClock()
    failures = iter([True, True, True])

    def gusty(verb: str, path: str) -> None:
        if verb == "update" and next(failures, False):
            raise Unreachable("connection reset")

    async with candidate(AsyncMemoryApi(memory, weather=gusty), clock, "one") as (body, _):
        await clock.advance(60)
        assert body.running


async def test_a_stolen_lease_ends_the_body_at_the_next_renewal() -> None:
    memory, clock = MemoryApi(), FakeClock()
    async with candidate(AsyncMemoryApi(memory), clock, "one") as (body, task):
        await clock.advance(FIRST_RENEWALS)
        memory.patch(PATH, {"spec": {"holderIdentity": "thief"}})
        await clock.advance(4)  # the first renewal meets a 409, the second reads who holds it
        assert body.spans == [(0.0, 10.0)]
        with pytest.raises(LeaseLost, match="held by thief"):
            await task
        assert spec(memory)["holderIdentity"] == "thief"


async def test_a_renewal_whose_answer_was_lost_is_recognised_as_ours() -> None:
    memory, clock = MemoryApi(), FakeClock()
    lost = iter([False, True, False])

    class LosesAnAnswer(AsyncMemoryApi):
        async def replace(self, path: str, body: object, type: type[T]) -> T:
            answer = await super().replace(path, body, type)
            if next(lost, False):
                raise Unreachable("reset after the request was sent")
            return answer

    async with candidate(LosesAnAnswer(memory), clock, "one") as (body, _):
        await clock.advance(60)
        assert body.running
        assert spec(memory)["leaseTransitions"] == 0


async def test_a_lease_that_somebody_deleted_is_made_again() -> None:
    memory, clock = MemoryApi(), FakeClock()
    async with candidate(AsyncMemoryApi(memory), clock, "one") as (body, _):
        await clock.advance(FIRST_RENEWALS)
        memory.delete(PATH)
        await clock.advance(5)
        assert body.running
        assert spec(memory)["holderIdentity"] == "one"


async def test_other_terms_can_be_agreed() -> None:
    memory, clock = MemoryApi(), FakeClock()
    written_by_another(memory, "dead", duration=3)
    body = Body(clock)
    terms = Terms(duration=3, renew_deadline=2, retry=0.5)
    task = asyncio.create_task(lead(AsyncMemoryApi(memory), NAMESPACE, NAME, "one", body, terms=terms, clock=clock))
    await clock.advance(3.6)
    assert body.running
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
