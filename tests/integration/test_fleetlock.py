"""The lock server on the real API server with the real disruption controller."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kube_upgrade.fleetlock_client import FleetLock, Granted, Refused
from kube_upgrade.kube import paths
from kube_upgrade.kube.errors import NotFound
from kube_upgrade.kube.wire.list import Page
from kube_upgrade.kube.wire.node import DRAIN, NodeObject, to_node
from kube_upgrade.lab.control_plane import ControlPlane
from support.drain_site import (
    SECONDS,
    Site,
    a_drain_site,
    a_pdb,
    budget_counted,
    granted,
    has_pods,
    is_in_service,
    is_terminating,
    until,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


@pytest.fixture
async def site(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with a_drain_site(control_plane.admin_kubeconfig, namespace, tmp_path) as site:
        yield site


async def test_the_grant_comes_when_the_pods_are_gone_and_the_release_uncordons(site: Site) -> None:
    site.ends_pods = False
    one, _ = await site.node("w1"), await site.node("w2")
    await site.pod("web-1", one)
    async with site.server() as url, site.client(url, one) as lock:
        asking = asyncio.create_task(lock.pre_reboot())
        await until(lambda: is_terminating(site, one))
        assert not asking.done()
        node = await site.see(one)
        assert node.unschedulable
        assert node.drain is not None
        assert not node.drain.cordoned_before

        await site.end("web-1")
        assert await asking == Granted("success", f"slot held; {one} is drained")
        assert isinstance(await lock.pre_reboot(), Granted)  # asking again changes nothing

        assert await lock.steady_state() == Granted("success", "slot released")
        assert await lock.steady_state() == Granted("success", "no slot was held")
    node = await site.see(one)
    assert not node.unschedulable
    assert node.drain is None


async def test_without_a_grant_in_time_the_answer_says_what_is_left(site: Site) -> None:
    site.ends_pods = False
    one, _ = await site.node("w1"), await site.node("w2")
    await site.pod("web-1", one)
    async with site.server(hold=0.5) as url, site.client(url, one) as lock:
        answer = await lock.pre_reboot()

    assert isinstance(answer, Refused)
    assert (answer.status, answer.kind) == (503, "waiting_for_node_drain")
    assert "web-1" in answer.value
    assert answer.retry_after is not None
    assert 5 <= answer.retry_after <= 6.25


async def test_daemonset_mirror_and_finished_pods_do_not_keep_the_grant(site: Site) -> None:
    one, _ = await site.node("w1"), await site.node("w2")
    await site.pod("web-1", one)
    done = {"status": {"phase": "Succeeded"}}
    await site.pod("job-1", one)
    await site.api.patch(paths.pod_status(site.namespace, "job-1"), done, msgspec.Raw)
    pod = {"nodeSelector": {"name": one}, "containers": [{"name": "c", "image": "x"}]}
    template = {"metadata": {"labels": {"app": "cni"}}, "spec": pod}
    spec = {"selector": {"matchLabels": {"app": "cni"}}, "template": template}
    daemons = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "cni"}, "spec": spec}
    await site.api.create(f"/apis/apps/v1/namespaces/{site.namespace}/daemonsets", daemons, msgspec.Raw)
    await until(lambda: has_pods(site, one, 3))
    async with site.server() as url, site.client(url, one) as lock:
        assert isinstance(await lock.pre_reboot(), Granted)

    assert sorted(pod["metadata"]["name"][:4] for pod in await site.pods(one)) == ["cni-", "job-"]


async def test_a_disruption_budget_holds_the_grant_back_and_is_named_until_it_is_gone(site: Site) -> None:
    one, _ = await site.node("w1"), await site.node("w2")
    await site.pod("web-1", one)
    await site.api.create(paths.pdbs(site.namespace), a_pdb(1), msgspec.Raw)
    await until(lambda: budget_counted(site))
    async with site.server(hold=1.0) as url, site.client(url, one) as lock:
        async with asyncio.timeout(20):  # the answer comes after `hold`, whether the budget has refused by then or not
            while (answer := await lock.pre_reboot()) and isinstance(answer, Refused):
                if answer.kind != "waiting_for_node_drain":
                    break
        assert isinstance(answer, Refused)
        assert (answer.status, answer.kind) == (503, "drain_blocked")
        assert f"{site.namespace}/web-1" in answer.value
        assert "PodDisruptionBudget web" in answer.value

        await site.api.delete(f"{paths.pdbs(site.namespace)}/web")
        assert isinstance(await granted(lock), Granted)


async def test_an_earlier_cordon_stays(site: Site) -> None:
    one, _ = await site.node("w1"), await site.node("w2")
    await site.api.patch(paths.node(one), {"spec": {"unschedulable": True}}, msgspec.Raw)
    async with site.server() as url, site.client(url, one) as lock:
        assert isinstance(await lock.pre_reboot(), Granted)
        assert isinstance(await lock.steady_state(), Granted)

    node = await site.see(one)
    assert node.unschedulable
    assert node.drain is None


async def test_two_control_planes_never_hold_slots_together_whatever_their_groups(site: Site) -> None:
    one, two = await site.node("cp1", control_plane=True), await site.node("cp2", control_plane=True)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(site.server(hold=0.3, slots=3))
        first = await stack.enter_async_context(site.client(url, one, "control-plane"))
        same = await stack.enter_async_context(site.client(url, two, "control-plane"))
        other = await stack.enter_async_context(site.client(url, two, "others"))
        assert isinstance(await first.pre_reboot(), Granted)
        for lock in (same, other):
            answer = await lock.pre_reboot()
            assert isinstance(answer, Refused)
            assert (answer.status, answer.kind) == (423, "control_plane_busy")
            assert one in answer.value
        assert not (await site.see(two)).unschedulable

        await first.steady_state()
        assert isinstance(await other.pre_reboot(), Granted)


async def test_where_no_other_node_could_take_the_pods_nothing_is_evicted(site: Site) -> None:
    """The one worker of a pair: the control plane's taint keeps its pods out, whatever else the cluster has."""
    only = await site.node("w1")
    await site.node("cp1", control_plane=True, taint=True)
    await site.pod("web-1", only)
    await site.api.create(paths.pdbs(site.namespace), a_pdb(1), msgspec.Raw)
    async with nowhere_else(site), site.server() as url, site.client(url, only) as lock:
        answer = await lock.pre_reboot()
        assert isinstance(answer, Granted)
        assert answer.kind == "no_other_node"
        assert (await site.see(only)).unschedulable
        assert [pod["metadata"]["name"] for pod in await site.pods(only)] == ["web-1"]
        await lock.steady_state()
    assert not (await site.see(only)).unschedulable


@asynccontextmanager
async def nowhere_else(site: Site) -> AsyncIterator[None]:
    """Nodes that other tests left on the shared control plane are cordoned meanwhile."""
    page = await site.api.get(paths.NODES, Page)
    found = [to_node(msgspec.json.decode(raw, type=NodeObject)) for raw in page.items]
    others = [node.name for node in found if node.name not in site.nodes and not node.unschedulable]
    for cordoned in (True, None):
        for name in others:
            with suppress(NotFound):
                await site.api.patch(paths.node(name), {"spec": {"unschedulable": cordoned}}, msgspec.Raw)
        if cordoned:
            yield


async def test_a_server_that_starts_anew_goes_on_with_the_drain(site: Site) -> None:
    """Killed between the first eviction and the last pod: the next server evicts without being asked."""
    one, _ = await site.node("w1"), await site.node("w2")
    await site.pod("web-1", one)
    await site.api.create(paths.pdbs(site.namespace), a_pdb(1), msgspec.Raw)
    await until(lambda: budget_counted(site))
    async with site.server(hold=1.0) as url, site.client(url, one) as lock:
        assert isinstance(await lock.pre_reboot(), Refused)
    assert (await site.see(one)).unschedulable
    await site.api.delete(f"{paths.pdbs(site.namespace)}/web")
    async with site.server() as url, site.client(url, one) as lock:
        await until(lambda: has_pods(site, one, 0))
        assert isinstance(await lock.pre_reboot(), Granted)


async def test_a_waiting_client_is_granted_the_moment_the_holder_releases_at_another_replica(site: Site) -> None:
    one, two = await site.node("w1"), await site.node("w2")
    async with (
        site.server(hold=SECONDS) as here,
        site.server(hold=SECONDS) as there,
        site.client(here, one) as first,
        site.client(there, two) as second,
    ):
        assert isinstance(await first.pre_reboot(), Granted)
        waiting = asyncio.create_task(second.pre_reboot())
        await until(lambda: someone_waits(there))
        assert not waiting.done()
        await first.steady_state()
        async with asyncio.timeout(2.0):
            assert isinstance(await waiting, Granted)


async def someone_waits(url: str) -> bool:
    """True where GET /v1/locks shows a queue."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(b"GET /v1/locks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    body = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    return any(group["waiting"] for group in msgspec.json.decode(body)["groups"].values())


async def test_a_slot_whose_node_is_gone_is_freed(site: Site) -> None:
    one, two = await site.node("w1"), await site.node("w2")
    async with site.server(hold=SECONDS) as url, site.client(url, one) as first, site.client(url, two) as second:
        assert isinstance(await first.pre_reboot(), Granted)
        await site.api.delete(paths.node(one))
        assert isinstance(await second.pre_reboot(), Granted)


async def test_a_cordon_whose_slot_is_gone_is_undone(site: Site) -> None:
    """A server died after it took the slot back and before it uncordoned, or a person deleted the Lease."""
    one = await site.node("w1")
    async with site.server() as url, site.client(url, one) as lock:
        assert isinstance(await lock.pre_reboot(), Granted)
        await site.api.delete(paths.lease(site.namespace, "fleetlock-group-workers"))
        await until(lambda: is_in_service(site, one))


async def test_a_machine_outside_the_cluster_is_granted_without_a_drain(site: Site) -> None:
    site.machine_ids["zincati"] = secrets.token_hex(16)
    async with site.server() as url, site.client(url, "zincati") as lock:
        answer = await lock.pre_reboot()

    assert isinstance(answer, Granted)
    assert "no node" in answer.value


async def test_nodes_that_share_a_machine_id_are_refused_by_name(site: Site) -> None:
    one, two = await site.node("w1"), await site.node("w2")
    copied = {"status": {"nodeInfo": {"machineID": site.machine_ids[one].upper()}}}
    await site.api.patch(paths.node_status(two), copied, msgspec.Raw)
    async with site.server() as url, site.client(url, one) as lock:
        answer = await lock.pre_reboot()

    assert isinstance(answer, Refused)
    assert (answer.status, answer.kind) == (409, "duplicate_machine_id")
    assert one in answer.value
    assert two in answer.value


async def test_a_node_holds_in_one_group_at_a_time(site: Site) -> None:
    """Zincati and upgraded on one machine have one id: what one drained the other must not uncordon."""
    one = await site.node("w1")
    async with site.server() as url, site.client(url, one) as lock, site.client(url, one, "others") as other:
        assert isinstance(await lock.pre_reboot(), Granted)
        answer = await other.pre_reboot()
        assert isinstance(answer, Refused)
        assert (answer.status, answer.kind) == (423, "node_busy")
        assert await other.steady_state() == Granted("success", "no slot was held")
        assert (await site.see(one)).unschedulable


async def test_twenty_clients_at_two_replicas_never_hold_one_slot_together(site: Site) -> None:
    """Each takes its turn once, and the holders seen by the clients themselves never overlap."""
    nodes = [await site.node(f"n{i:02}") for i in range(20)]
    holding: set[str] = set()
    most = 0

    async def take_a_turn(url: str, node: str) -> None:
        nonlocal most
        async with site.client(url, node) as lock:
            await granted(lock)
            holding.add(node)
            most = max(most, len(holding))
            await asyncio.sleep(0)
            holding.discard(node)
            assert isinstance(await lock.steady_state(), Granted)

    async with site.server(hold=2.0) as here, site.server(hold=2.0) as there, asyncio.TaskGroup() as clients:
        for number, node in enumerate(nodes):
            clients.create_task(take_a_turn((here, there)[number % 2], node))
    assert most == 1
    assert [node for node in nodes if (await site.see(node)).unschedulable] == []


async def test_metrics_and_annotation_are_what_the_reference_says(site: Site) -> None:
    one = await site.node("w1")
    async with site.server() as url, site.client(url, one) as lock:
        assert isinstance(await lock.pre_reboot(), Granted)
        raw = await site.api.get(paths.node(one), dict[str, Any])
        lease = await site.api.get(paths.lease(site.namespace, "fleetlock-group-workers"), dict[str, Any])

    note = msgspec.json.decode(raw["metadata"]["annotations"][DRAIN])
    assert set(note) == {"group", "id", "since", "cordonedBefore", "drained", "server"}
    assert lease["spec"]["holderIdentity"] == one


async def test_killed_in_every_phase_of_a_drain_the_next_server_finishes_it(site: Site) -> None:
    """kill -9 with the slot held, the node cordoned, a pod evicted, the node granted, and while it is released."""
    site.ends_pods = False
    one, two = await site.node("w1"), await site.node("w2")
    await site.pod("web-1", one)

    async def cordoned() -> bool:
        return (await site.see(one)).unschedulable

    async def terminating() -> bool:
        return await is_terminating(site, one)

    async def drained() -> bool:
        mark = (await site.see(one)).drain
        return mark is not None and mark.drained

    async def slot_held() -> bool:
        with suppress(NotFound):
            lease = await site.api.get(paths.lease(site.namespace, "fleetlock-group-workers"), dict[str, Any])
            return bool(lease["spec"].get("holderIdentity"))
        return False

    async with AsyncExitStack() as stack:
        alive = await stack.enter_async_context(site.server(hold=1.0))
        for phase in (slot_held, cordoned, terminating, drained):
            if phase is drained:
                site.ends_pods = True
            async with site.server(hold=SECONDS) as dying, site.client(dying, one) as lock:
                asking = asyncio.create_task(lock.pre_reboot())
                await until(phase)
            await asking  # the connection broke, or it was granted in time
        async with site.client(alive, one) as lock, site.client(alive, two) as other:
            await granted(lock)
            assert await cordoned()
            assert await site.pods(one) == []
            async with site.server() as dying, site.client(dying, one) as releasing:
                release = asyncio.create_task(releasing.steady_state())
                await until(lambda: is_in_service(site, one))
            await release
            assert isinstance(await lock.steady_state(), Granted)
            assert not await cordoned()
            await granted(other)


async def test_a_drain_that_is_given_up_puts_the_node_back_and_says_so(site: Site) -> None:
    one, _ = await site.node("w1"), await site.node("w2")
    await site.pod("web-1", one)
    await site.api.create(paths.pdbs(site.namespace), a_pdb(1), msgspec.Raw)
    await until(lambda: budget_counted(site))
    deadline = {"deadlineMinutes": 0.03, "onDeadline": "giveUp"}
    async with site.server(hold=SECONDS, drain=deadline) as url, site.client(url, one) as lock:
        answer = await lock.pre_reboot()
        assert isinstance(answer, Refused)
        assert (answer.status, answer.kind) == (503, "drain_gave_up")
        assert await is_in_service(site, one)
        assert len(await site.pods(one)) == 1
        await until(lambda: said(site, one, "DrainGaveUp", "web-1"))


async def test_at_its_deadline_a_drain_deletes_past_the_budget_where_the_group_wants_that(site: Site) -> None:
    one, _ = await site.node("w1"), await site.node("w2")
    await site.pod("web-1", one)
    await site.api.create(paths.pdbs(site.namespace), a_pdb(1), msgspec.Raw)
    await until(lambda: budget_counted(site))
    deadline = {"deadlineMinutes": 0.03, "onDeadline": "delete"}
    async with site.server(hold=SECONDS, drain=deadline) as url, site.client(url, one) as lock:
        assert isinstance(await lock.pre_reboot(), Granted)
        assert await site.pods(one) == []
        await until(lambda: said(site, one, "PodsDeleted", "web-1"))


async def test_a_pod_with_an_emptydir_is_kept_where_the_group_says_so_and_evicted_elsewhere(site: Site) -> None:
    one, _ = await site.node("w1"), await site.node("w2")
    await site.pod("scratch-1", one, volumes=[{"name": "scratch", "emptyDir": {}}])
    await site.pod("web-1", one)
    async with site.server(hold=1.0, drain={"emptyDir": False}) as url, site.client(url, one) as lock:
        answer = await refused_until(lock, "drain_blocked")
        assert f"{site.namespace}/scratch-1 has an emptyDir volume" in answer.value
        await until(lambda: has_pods(site, one, 1))
        [left] = await site.pods(one)
        assert left["metadata"]["name"] == "scratch-1"
        assert "deletionTimestamp" not in left["metadata"]
        await until(lambda: said(site, one, "DrainBlocked", "emptyDir"))
    async with site.server() as url, site.client(url, one) as lock:
        assert isinstance(await granted(lock), Granted)
    assert await site.pods(one) == []


async def test_a_pod_without_a_controller_is_kept_where_the_group_says_so_and_evicted_elsewhere(site: Site) -> None:
    """The pod of a ReplicaSet goes in either case: its controller makes another."""
    one, _ = await site.node("w1"), await site.node("w2")
    await site.pod("bare-1", one)
    await site.replica_set("owned", one)
    await until(lambda: has_pods(site, one, 2))
    async with site.server(hold=1.0, drain={"barePods": False}) as url, site.client(url, one) as lock:
        answer = await refused_until(lock, "drain_blocked")
        assert f"{site.namespace}/bare-1 has no controller" in answer.value
        await until(lambda: has_pods(site, one, 1))
        [left] = await site.pods(one)
        assert left["metadata"]["name"] == "bare-1"
        assert "deletionTimestamp" not in left["metadata"]
        await until(lambda: said(site, one, "DrainBlocked", "no controller"))
    async with site.server() as url, site.client(url, one) as lock:
        assert isinstance(await granted(lock), Granted)
    assert await site.pods(one) == []


async def refused_until(lock: FleetLock, kind: str) -> Refused:
    """Ask as a daemon does, until the refusal is of this kind."""
    async with asyncio.timeout(SECONDS):
        while True:
            answer = await lock.pre_reboot()
            assert isinstance(answer, Refused)
            if answer.kind == kind:
                return answer


async def test_two_drains_that_hold_each_other_up_go_on_when_one_is_given_up(site: Site) -> None:
    """Each node has the last healthy pod of an app whose second pod fits on the other node only."""
    one, two = await site.node("w1"), await site.node("w2")
    for app, node in (("a", one), ("b", two)):
        await site.pod(f"{app}-1", node, app)
        await site.api.create(paths.pdbs(site.namespace), a_pdb(1, app), msgspec.Raw)
        await until(partial(budget_counted, site, app))
    deadline = {"deadlineMinutes": 0.1, "onDeadline": "giveUp"}
    async with (
        site.server(hold=SECONDS, slots=2, drain=deadline) as gives_up,
        site.server(hold=SECONDS, slots=2) as waits,
        site.client(gives_up, one) as first,
        site.client(waits, two) as second,
    ):
        stepping_back, draining = asyncio.create_task(first.pre_reboot()), asyncio.create_task(second.pre_reboot())
        for node, pod in ((one, "a-1"), (two, "b-1")):
            await until(partial(said, site, node, "DrainBlocked", pod))
        await site.pending("a-2", "a", nodeSelector={"name": two})
        await site.pending("b-2", "b", nodeSelector={"name": one})
        answer = await stepping_back
        assert isinstance(answer, Refused)
        assert answer.kind == "drain_gave_up"
        assert answer.retry_after is not None
        assert answer.retry_after >= 60
        assert not draining.done()

        await until(lambda: has_pods(site, one, 2))  # a-1 is still there, b-2 came
        await site.runs("b-2")
        assert isinstance(await draining, Granted)
        assert await site.pods(two) == []


async def said(site: Site, node: str, reason: str, word: str) -> bool:
    """True where there is such an Event about the node."""
    page = await site.api.get("/apis/events.k8s.io/v1/namespaces/default/events", Page)
    events = [msgspec.json.decode(raw) for raw in page.items]
    return any(e["reason"] == reason and e["regarding"]["name"] == node and word in e["note"] for e in events)
