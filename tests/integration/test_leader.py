"""Leader election on the real API server, with short terms: one leads, and another soon after it stops."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.leader import LeaseLost, lead
from kube_upgrade.kube.paths import lease, leases
from kube_upgrade.kube.wire.lease import LeaseObject, to_record
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.model.lease import LeaseRecord, Terms

pytestmark = pytest.mark.cluster
TERMS = Terms(duration=3.0, renew_deadline=2.0, retry=0.4)
PATIENCE = 20.0
NAME = "upgrade-controller"


@dataclass
class Candidate:
    """One replica: leads when it can, and remembers since when and until when."""

    identity: str
    leads: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: float = 0.0

    async def body(self) -> None:
        self.leads.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.leads.clear()
            self.stopped = time.monotonic()


@pytest.fixture
async def api(control_plane: ControlPlane) -> AsyncIterator[KubeApi]:
    async with KubeApi.connect(control_plane.admin_kubeconfig, user_agent="kube-upgrade-tests") as connected:
        yield connected


@asynccontextmanager
async def running(api: KubeApi, namespace: str, one: Candidate) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(lead(api, namespace, NAME, one.identity, one.body, terms=TERMS))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def leading(one: Candidate) -> None:
    await asyncio.wait_for(one.leads.wait(), PATIENCE)


async def record(api: KubeApi, namespace: str) -> LeaseRecord:
    return to_record(await api.get(lease(namespace, NAME), LeaseObject))


async def test_of_two_that_start_together_one_leads_and_hands_over_when_it_ends(api: KubeApi, namespace: str) -> None:
    one, two = Candidate("one"), Candidate("two")
    async with running(api, namespace, one) as first, running(api, namespace, two) as second:
        begun = [asyncio.create_task(leading(candidate)) for candidate in (one, two)]
        done, waiting = await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
        assert (len(done), len(waiting)) == (1, 1)
        winner, loser, task = (one, two, first) if one.leads.is_set() else (two, one, second)
        assert (await record(api, namespace)).holder == winner.identity
        with pytest.raises(TimeoutError):  # longer than the duration: renewals keep the other out
            await asyncio.wait_for(loser.leads.wait(), TERMS.duration + 1)
        task.cancel()
        await leading(loser)
        assert time.monotonic() - winner.stopped < TERMS.duration  # released, not expired
        assert (await record(api, namespace)).transitions == 1
        await asyncio.gather(*waiting)


async def test_a_lease_of_a_dead_holder_is_taken_after_its_duration(api: KubeApi, namespace: str) -> None:
    dead = {"holderIdentity": "dead", "leaseDurationSeconds": 2, "renewTime": "2020-01-01T00:00:00.000000Z"}
    await api.create(leases(namespace), {"metadata": {"name": NAME}, "spec": dead}, dict)
    began, one = time.monotonic(), Candidate("one")
    async with running(api, namespace, one):
        await leading(one)
        assert time.monotonic() - began >= 2.0


async def test_a_stolen_lease_stops_its_holder(api: KubeApi, namespace: str) -> None:
    one = Candidate("one")
    async with running(api, namespace, one) as task:
        await leading(one)
        await api.patch(lease(namespace, NAME), {"spec": {"holderIdentity": "thief"}}, dict)
        with pytest.raises(LeaseLost, match="held by thief"):
            await asyncio.wait_for(task, PATIENCE)
        assert not one.leads.is_set()
        assert (await record(api, namespace)).holder == "thief"


async def test_a_released_lease_names_nobody(api: KubeApi, namespace: str) -> None:
    one = Candidate("one")
    async with running(api, namespace, one):
        await leading(one)
    found = await record(api, namespace)
    assert (found.holder, found.duration) == ("", 1.0)


async def test_others_writes_on_the_lease_cost_a_409_and_nothing_else(api: KubeApi, namespace: str) -> None:
    one = Candidate("one")
    async with running(api, namespace, one):
        await leading(one)
        for number in range(10):
            note = {"metadata": {"annotations": {"note": str(number)}}}
            await api.patch(lease(namespace, NAME), note, dict)
            await asyncio.sleep(TERMS.retry / 2)
        assert one.leads.is_set()
        kept = await api.get(lease(namespace, NAME), LeaseObject)
        assert kept.metadata["annotations"] == {"note": "9"}
        assert to_record(kept).transitions == 0


@pytest.mark.timeout(120)
async def test_without_the_api_server_nobody_leads_and_afterwards_somebody_does(
    api: KubeApi, namespace: str, control_plane: ControlPlane
) -> None:
    one = Candidate("one")
    async with running(api, namespace, one) as task:
        await leading(one)
        await asyncio.to_thread(control_plane.stop_apiserver)
        try:
            gone = time.monotonic()
            with pytest.raises(LeaseLost, match="not renewed within 2 s"):
                await asyncio.wait_for(task, PATIENCE)
            assert one.stopped - gone < TERMS.renew_deadline + 0.5
        finally:
            await asyncio.to_thread(control_plane.start_apiserver)
    again = Candidate("two")
    async with running(api, namespace, again):
        await leading(again)
