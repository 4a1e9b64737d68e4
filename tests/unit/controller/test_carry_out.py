"""The controller's hands over an API in memory: guards that fail are no errors, and errors leave nothing dangling."""

import asyncio

import pytest

from kube_upgrade.controller.act import Actor
from kube_upgrade.controller.overlay import Overlay
from kube_upgrade.kube import paths
from kube_upgrade.kube.errors import Unreachable
from kube_upgrade.model.action import ConfigureNode
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Plan
from support.async_memory_api import AsyncMemoryApi
from support.memory_api import MemoryApi

NODES = [f"w{n}" for n in range(100)]


def a_cluster() -> tuple[AsyncMemoryApi, dict[str, str]]:
    """A hundred nodes, and their resourceVersions."""
    memory = MemoryApi()
    for name in NODES:
        memory.create(paths.NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    found = {name: memory.get(paths.node(name)) for name in NODES}
    return AsyncMemoryApi(memory), {name: node["metadata"]["resourceVersion"] for name, node in found.items()}


def an_actor(api: AsyncMemoryApi) -> Actor:
    nodes: Overlay[Node] = Overlay({})
    plans: Overlay[Plan] = Overlay({})
    return Actor(api, plans=plans, nodes=nodes)


def settings(versions: dict[str, str]) -> list[ConfigureNode]:
    return [
        ConfigureNode(node=name, resource_version=version, config={"stream": "x"}) for name, version in versions.items()
    ]


def written(api: AsyncMemoryApi) -> list[str]:
    return [name for name in NODES if api.memory.get(paths.node(name))["metadata"].get("annotations")]


async def test_a_node_that_has_changed_is_left_alone_and_the_others_are_written() -> None:
    api, versions = a_cluster()
    api.memory.patch(paths.node("w2"), {"metadata": {"labels": {"a": "b"}}})

    held = await an_actor(api).tidy(settings(versions))

    assert not held
    assert written(api) == [name for name in NODES if name != "w2"]


async def test_after_an_error_no_write_is_still_under_way() -> None:
    """The next turn decides on a new snapshot: nothing of the old one may land after it."""
    api, versions = a_cluster()
    calm = api.weather

    def lightning(verb: str, path: str) -> None:
        if path.endswith("/w0"):
            raise Unreachable("patch w0: connection reset")
        calm(verb, path)

    api.weather = lightning

    with pytest.raises(Unreachable):
        await an_actor(api).tidy(settings(versions))

    before = list(api.requests)
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert others == []
    assert api.requests == before
