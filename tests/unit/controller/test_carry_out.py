"""The controller's hands over an API in memory: guards that fail are no errors, and errors leave nothing dangling."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
import pytest

from kube_upgrade.controller.act import FEW, Actor
from kube_upgrade.controller.observe import to_static_pod
from kube_upgrade.controller.overlay import Overlay
from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.kube import paths
from kube_upgrade.kube.errors import Unreachable, api_error
from kube_upgrade.kube.wire.node import STATUS, NodeObject, to_node
from kube_upgrade.kube.wire.plan import to_plan
from kube_upgrade.kube.wire.pod import PodObject
from kube_upgrade.kube.wire.schema import PlanObject
from kube_upgrade.model.action import ConfigureNode, Decision, OrderNode, PublishStatus
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Plan
from kube_upgrade.model.snapshot import ClusterSnapshot
from support.async_memory_api import AsyncMemoryApi
from support.builders import NOW
from support.memory_api import MemoryApi
from support.paused_leaders import PLAN, Cluster

T = TypeVar("T")
NODES = [f"w{n}" for n in range(100)]


def a_cluster() -> tuple[AsyncMemoryApi, dict[str, str]]:
    """A hundred nodes, and their resourceVersions."""
    memory = MemoryApi()
    for name in NODES:
        memory.create(paths.NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    found = {name: memory.get(paths.node(name)) for name in NODES}
    return AsyncMemoryApi(memory), {name: node["metadata"]["resourceVersion"] for name, node in found.items()}


def an_actor(api: AsyncMemoryApi, news: Callable[[], bool] = lambda: False) -> Actor:
    nodes: Overlay[Node] = Overlay({})
    plans: Overlay[Plan] = Overlay({})
    return Actor(api, plans=plans, nodes=nodes, news=news)


def settings(versions: dict[str, str]) -> list[ConfigureNode]:
    return [
        ConfigureNode(node=name, resource_version=version, config={"stream": "x"}) for name, version in versions.items()
    ]


def written(api: AsyncMemoryApi) -> list[str]:
    return [name for name in NODES if api.memory.get(paths.node(name))["metadata"].get("annotations")]


async def test_a_node_that_has_changed_is_left_alone_and_the_others_are_written() -> None:
    api, versions = a_cluster()
    api.memory.patch(paths.node("w2"), {"metadata": {"labels": {"a": "b"}}})

    done = await an_actor(api).tidy(settings(versions))

    assert done.lost
    assert written(api) == [name for name in NODES if name != "w2"]


async def test_thousands_of_settings_keep_no_news_waiting() -> None:
    """The first few are written in any case, or a busy cluster would never be told its settings."""
    for news, count in ((True, FEW), (False, len(NODES))):
        api, versions = a_cluster()
        done = await an_actor(api, lambda news=news: news).tidy(settings(versions))  # type: ignore[misc]
        assert len(done.written) == len(written(api)) == count


async def test_what_is_not_kept_counts_as_lost_and_not_as_written() -> None:
    """A webhook that takes our annotations out again; an older CRD that drops our part of the status."""

    class Forgets(AsyncMemoryApi):
        async def patch(self, path: str, body: object, type: type[T], **more: Any) -> T:
            return await self.get(path, type)

        async def replace(self, path: str, body: object, type: type[T]) -> T:
            return await self.get(path.removesuffix("/status"), type)

    api, versions = a_cluster()
    done = await an_actor(Forgets(api.memory)).tidy(settings(versions))
    assert (done.lost, done.written) == (True, ())

    api, plan, decision = a_first_decision()
    done = await an_actor(Forgets(api.memory)).carry_out(plan, decision)
    assert (done.status, done.published, done.lost) == (False, False, True)


def a_first_decision() -> tuple[AsyncMemoryApi, Plan, Decision]:
    """cp1 is claimed and ordered; w1 is told its settings."""
    cluster = Cluster()
    cluster.build(1, 1, 1)
    plan = to_plan(msgspec.convert(cluster.memory.get(paths.plan(PLAN)), PlanObject))
    found = cluster.memory.get(paths.NODES)["items"]
    nodes = tuple(to_node(msgspec.convert(each, NodeObject)) for each in found)
    pods = cluster.memory.get(paths.pods("kube-system"))["items"]
    static = tuple(to_static_pod(msgspec.convert(each, PodObject)) for each in pods)
    seen = ClusterSnapshot(now=NOW, plan=plan, nodes=nodes, static_pods=static, kubeadm_config=plan.version)
    return AsyncMemoryApi(cluster.memory), plan, decide(seen)


def patched(api: AsyncMemoryApi) -> list[str]:
    return [path for verb, path in api.requests if verb == "patch"]


async def test_a_claim_and_its_order_are_two_requests() -> None:
    api, plan, decision = a_first_decision()

    done = await an_actor(api).carry_out(plan, decision)

    assert not done.lost
    assert len(done.written) == 2
    assert api.requests[0] == ("update", paths.plan_status(PLAN))
    assert sorted(api.requests[1:]) == [("patch", paths.node("cp1")), ("patch", paths.node("w1"))]


async def test_where_the_status_is_not_written_nothing_else_is_done() -> None:
    api, plan, decision = a_first_decision()
    api.memory.patch(paths.plan(PLAN), {"spec": {"paused": True}})

    done = await an_actor(api).carry_out(plan, decision)

    assert (done.status, done.lost, done.written) == (False, True, ())
    assert patched(api) == []


async def test_an_order_on_a_claim_that_does_not_stand_any_more_is_not_written() -> None:
    """Another leader gave it up after this one had read it; the Node is as it was (ADR 2)."""
    api, plan, decision = a_first_decision()
    orders = tuple(action for action in decision.actions if isinstance(action, OrderNode))

    done = await an_actor(api).carry_out(plan, replace(decision, actions=orders))

    assert len(orders) == 1
    assert done.lost, "or the loop would look again at once, and find the same"
    assert patched(api) == []


@pytest.mark.parametrize("change", ["as it was", "another plan of that name", "being deleted"])
async def test_an_order_on_a_plan_that_goes_or_is_another_one_by_now_is_not_written(change: str) -> None:
    """Its claims may read the same: whoever restores a plan from a backup brings the status along."""
    api, plan, decision = a_first_decision()
    await an_actor(api).carry_out(plan, publishing(decision))
    body = api.memory.get(paths.plan(PLAN))
    if change == "being deleted":
        api.memory.patch(paths.plan(PLAN), {"metadata": {"deletionTimestamp": "2026-11-24T08:00:00Z"}})
    if change == "another plan of that name":
        api.memory.delete(paths.plan(PLAN))
        new = api.memory.create(paths.PLANS, {"metadata": {"name": PLAN}, "spec": body["spec"]})
        api.memory.replace(paths.plan_status(PLAN), new | {"status": body["status"]})
    orders = tuple(action for action in decision.actions if isinstance(action, OrderNode))

    done = await an_actor(api).carry_out(plan, replace(decision, actions=orders))

    assert (done.lost, patched(api)) == ((False, [paths.node("cp1")]) if change == "as it was" else (True, []))


Nodes = tuple[tuple[str, str], ...]


def publishing(decision: Decision, *, adopts: tuple[Node, ...] = (), gone: Nodes = ()) -> Decision:
    (status,) = [action for action in decision.actions if isinstance(action, PublishStatus)]
    return replace(decision, actions=(replace(status, adopts=adopts, gone=gone),))


@pytest.mark.parametrize(
    ("change", "stands"),
    [
        ({"spec": {"taints": []}}, True),  # a heartbeat: of a thousand nodes one is always just beating
        ({"metadata": {"annotations": {STATUS: "completed"}}}, False),
    ],
)
async def test_work_is_adopted_only_where_it_is_still_under_way(change: dict[str, object], stands: bool) -> None:
    api, plan, decision = a_first_decision()
    api.memory.patch(paths.node("cp1"), {"metadata": {"annotations": {STATUS: "upgrading"}}})
    busy = to_node(await api.get(paths.node("cp1"), NodeObject))
    api.memory.patch(paths.node("cp1"), change)

    done = await an_actor(api).carry_out(plan, publishing(decision, adopts=(busy,)))

    assert (done.published, done.lost) == (stands, not stands)
    assert (("update", paths.plan_status(PLAN)) in api.requests) is stands


async def test_work_is_not_adopted_from_a_node_that_is_gone() -> None:
    api, plan, decision = a_first_decision()
    busy = to_node(await api.get(paths.node("cp1"), NodeObject))
    api.memory.delete(paths.node("cp1"))

    assert (await an_actor(api).carry_out(plan, publishing(decision, adopts=(busy,)))).lost
    assert ("update", paths.plan_status(PLAN)) not in api.requests


OWN, NAMESAKE = "its own", "its namesake's"


@pytest.mark.parametrize(("node", "uid", "ends"), [("w1", OWN, False), ("w1", NAMESAKE, True), ("w9", OWN, True)])
async def test_a_claim_ends_without_its_node_only_where_that_is_gone(node: str, uid: str, ends: bool) -> None:
    """A watch of the Nodes that is late does not know one that has joined, and that another leader has ordered."""
    api, plan, decision = a_first_decision()
    known = api.memory.get(paths.node("w1"))["metadata"]["uid"] if uid == OWN else uid

    done = await an_actor(api).carry_out(plan, publishing(decision, gone=((node, known),)))

    assert done.status is ends


@pytest.mark.parametrize("status", [400, 403, 422, 500, 503])
async def test_a_node_whose_patch_is_refused_rests_and_the_others_are_written(status: int) -> None:
    api, versions = a_cluster()
    actor, calm = an_actor(api), api.weather

    def policy(verb: str, path: str) -> None:
        if verb == "patch" and path == paths.node("w0"):
            raise api_error(status, "Refused", "not this one")
        calm(verb, path)

    api.weather = policy
    done = await actor.tidy(settings(versions))

    assert (done.trouble, len(done.written)) == (None, len(NODES) - 1)
    assert list(actor.refusals.told()) == ["w0"]
    await actor.tidy(settings({"w0": versions["w0"]}))
    assert patched(api).count(paths.node("w0")) == 1, "it rests"


async def test_a_decision_leaves_a_resting_node_alone() -> None:
    api, plan, decision = a_first_decision()
    actor = an_actor(api)
    actor.refusals.note("cp1", api_error(403, "Forbidden", "not this one"))

    await actor.carry_out(plan, decision)

    assert patched(api) == [paths.node("w1")]


async def test_after_an_error_no_write_is_still_under_way() -> None:
    """The next turn decides on a new snapshot: nothing of the old one may land after it."""
    api, versions = a_cluster()
    calm = api.weather

    def lightning(verb: str, path: str) -> None:
        if path.endswith("/w0"):
            raise Unreachable("patch w0: connection reset")
        calm(verb, path)

    api.weather = lightning

    done = await an_actor(api).tidy(settings(versions))

    assert isinstance(done.trouble, Unreachable)
    assert len(done.written) == FEW - 1, "the others' settings come with the next turn"
    before = list(api.requests)
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert others == []
    assert api.requests == before
