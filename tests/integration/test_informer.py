"""The informer on the real API server: large lists, expired versions, a server that goes and comes back."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.errors import NotFound
from kube_upgrade.kube.informer import PAGE, Informer
from kube_upgrade.kube.paths import NODES, node
from kube_upgrade.kube.wire.node import NodeObject, to_node
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.model.node import Node

pytestmark = pytest.mark.cluster
PATIENCE = 30.0


@dataclass
class Scene:
    """Nodes of this test alone, told apart by a label."""

    api: KubeApi
    tag: str = field(default_factory=lambda: secrets.token_hex(4))
    said: "asyncio.Queue[tuple[str, Node | None, Node | None]]" = field(default_factory=asyncio.Queue)
    made: set[str] = field(default_factory=set)

    def informer(self) -> Informer[NodeObject, Node]:
        return Informer(
            self.api,
            NODES,
            type=NodeObject,
            value=to_node,
            params={"labelSelector": f"test={self.tag}"},
            on_change=lambda *said: self.said.put_nowait(said),
        )

    async def create(self, *names: str) -> None:
        for name in names:
            await self.api.create(NODES, {"metadata": {"name": self.full(name), "labels": {"test": self.tag}}}, dict)
            self.made.add(name)

    async def cordon(self, name: str) -> None:
        await self.api.patch(node(self.full(name)), {"spec": {"unschedulable": True}}, dict)

    async def delete(self, name: str) -> None:
        await self.api.delete(node(self.full(name)))
        self.made.discard(name)

    def full(self, name: str) -> str:
        return f"{name}-{self.tag}"

    async def heard(self, count: int) -> list[tuple[str, bool, bool]]:
        """The next reports: name, was there, is there."""
        reports = [await asyncio.wait_for(self.said.get(), PATIENCE) for _ in range(count)]
        return [(key.removesuffix(f"-{self.tag}"), old is not None, new is not None) for key, old, new in reports]


@pytest.fixture
async def scene(control_plane: ControlPlane) -> AsyncIterator[Scene]:
    async with KubeApi.connect(control_plane.admin_kubeconfig, user_agent="kube-upgrade-tests") as api:
        scene = Scene(api)
        yield scene
        for name in list(scene.made):
            try:
                await scene.delete(name)
            except NotFound:
                continue


@asynccontextmanager
async def running(informer: Informer[NodeObject, Node]) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        await asyncio.wait_for(informer.synced.wait(), PATIENCE)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def stale(informer: Informer[NodeObject, Node]) -> None:
    while informer.stale_since is None:  # noqa: ASYNC110  a figure that callers read, not an event
        await asyncio.sleep(0.05)


async def test_it_lists_then_follows_every_change(scene: Scene) -> None:
    await scene.create("a")
    informer = scene.informer()
    async with running(informer):
        await scene.create("b")
        await scene.cordon("a")
        await scene.delete("b")
        said = list[tuple[str, bool, bool]]()
        while ("b", True, False) not in said or ("a", True, True) not in said:
            said += await scene.heard(1)  # the controller manager may write taints in between
        assert [each for each in said if each != ("b", True, True) and each[1:] != (True, True)] == [
            ("a", False, True),
            ("b", False, True),
            ("b", True, False),
        ]
        assert {name: found.unschedulable for name, found in informer.items.items()} == {scene.full("a"): True}


@pytest.mark.timeout(120)
async def test_more_than_one_page_of_nodes_is_listed_whole(scene: Scene) -> None:
    names = [f"n{number}" for number in range(PAGE + 50)]
    for start in range(0, len(names), 25):
        await asyncio.gather(*(scene.create(name) for name in names[start : start + 25]))
    informer = scene.informer()
    async with running(informer):
        assert len(informer.items) == len(names)


@pytest.mark.timeout(120)
async def test_after_a_version_the_server_forgot_no_ghost_stays(scene: Scene, control_plane: ControlPlane) -> None:
    """The informer sleeps while a node goes, one changes, one is replaced and one comes; its version expires."""
    await scene.create("gone", "changed", "replaced")
    informer = scene.informer()
    async with running(informer):
        await scene.heard(3)
    scene.said = asyncio.Queue()  # the controller manager may have tainted one of them meanwhile
    await scene.delete("gone")
    await scene.cordon("changed")
    await scene.delete("replaced")
    await scene.create("replaced", "new")
    await asyncio.to_thread(control_plane.stop_apiserver)
    await asyncio.to_thread(control_plane.start_apiserver)  # its watch cache begins now: older versions are Expired
    with capture_logs() as lines:
        async with running(informer):
            said = await scene.heard(5)
        assert [line["reason"][:11] for line in lines if line["event"] == "watch interrupted"] == ["410 Expired"]
        assert said[0] == ("gone", True, False)
        assert sorted(said[1:]) == [
            ("changed", True, True),
            ("new", False, True),
            ("replaced", False, True),
            ("replaced", True, False),
        ]
        assert set(informer.items) == {scene.full(name) for name in ("changed", "replaced", "new")}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kill", [False, True], ids=["orderly", "killed"])
async def test_a_server_that_goes_and_comes_back_is_followed_again(
    scene: Scene, control_plane: ControlPlane, kill: bool
) -> None:
    await scene.create("a")
    informer = scene.informer()
    async with running(informer):
        await scene.heard(1)
        assert informer.stale_since is None
        await asyncio.to_thread(control_plane.stop_apiserver, kill=kill)
        try:
            await asyncio.wait_for(stale(informer), PATIENCE)
            assert scene.full("a") in informer.items
        finally:
            await asyncio.to_thread(control_plane.start_apiserver)
        await scene.cordon("a")
        assert await scene.heard(1) == [("a", True, True)]
        assert informer.stale_since is None
