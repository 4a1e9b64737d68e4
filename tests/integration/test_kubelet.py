"""The lab's kubelet on the real API server, under the Node authorizer and NodeRestriction."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kube_upgrade.kube import paths
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.errors import KubeError, NotFound
from kube_upgrade.kube.wire.node import NodeObject, to_node
from kube_upgrade.kube.wire.pod import PodObject, to_pod
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.images import component_image
from kube_upgrade.lab.kubelet import Boot, Kubelet, Pace
from kube_upgrade.lab.machine_files import manifest
from kube_upgrade.lab.processes import free_port
from kube_upgrade.model.node import Node
from kube_upgrade.model.pod import Pod
from kube_upgrade.model.version import KubeVersion

pytestmark = pytest.mark.cluster

PATIENCE = 20.0
PACE = Pace(heartbeat=5.0, ready=0.1, pod_start=0.1, pod_stop=0.1, static_pod_start=0.1)
OLD, NEW = KubeVersion.parse("v1.36.3"), KubeVersion.parse("v1.37.2")


@dataclass
class Scene:
    """One node of its own; `admin` looks on."""

    plane: ControlPlane
    admin: KubeApi
    boot: Boot

    @property
    def manifests(self) -> Path:
        return self.boot.root / "etc/kubernetes/manifests"

    @asynccontextmanager
    async def running(self, boot: Boot | None = None, *, orderly: bool = False) -> AsyncIterator[None]:
        """The kubelet from one boot to the next, and with an orderly shutdown where that is wanted."""
        name = self.boot.name
        config = self.plane.kubeconfig(name, f"system:node:{name}", ["system:nodes"])
        async with KubeApi.connect(config, user_agent="kubelet") as api:
            kubelet = Kubelet(api, boot or self.boot, PACE)
            task = asyncio.create_task(kubelet.run())
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            if orderly:
                await kubelet.shutdown()

    async def node(self, wanted: Callable[[Node], bool]) -> Node:
        """The Node as soon as it is as wanted."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(NotFound):
                    if wanted(node := to_node(await self.admin.get(paths.node(self.boot.name), NodeObject))):
                        return node
                await asyncio.sleep(0.05)

    async def pod(self, namespace: str, name: str, wanted: Callable[[Pod | None], bool]) -> Pod | None:
        """The Pod, or None where it is gone, as soon as it is as wanted."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    pod: Pod | None = to_pod(await self.admin.get(paths.pod(namespace, name), PodObject))
                except NotFound:
                    pod = None
                if wanted(pod):
                    return pod
                await asyncio.sleep(0.05)


@pytest.fixture
async def scene(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Scene]:
    name = f"kubelet-{secrets.token_hex(4)}"
    (tmp_path / "etc/kubernetes/manifests").mkdir(parents=True)
    boot = Boot(
        name=name,
        version=str(OLD),
        boot_id="first",
        machine_id=secrets.token_hex(16),
        root=tmp_path,
        health_port=free_port(),
    )
    async with KubeApi.connect(control_plane.admin_kubeconfig, user_agent="test") as admin:
        yield Scene(control_plane, admin, boot)
        with suppress(KubeError):
            await admin.delete(paths.node(name))


async def test_a_node_registers_and_becomes_ready_with_what_it_booted(scene: Scene) -> None:
    async with scene.running():
        node = await scene.node(lambda seen: seen.ready)
    assert (node.kubelet, node.boot_id, node.machine_id) == (OLD, "first", scene.boot.machine_id)
    assert not node.control_plane, "no kubelet may give itself a role"


async def test_a_reboot_says_not_ready_and_comes_back_with_another_boot_id_and_an_event(scene: Scene) -> None:
    async with scene.running(orderly=True):
        await scene.node(lambda seen: seen.ready)
    await scene.node(lambda seen: not seen.ready)
    async with scene.running(replace(scene.boot, boot_id="second", version=str(NEW))):
        node = await scene.node(lambda seen: seen.ready)
    assert (node.kubelet, node.boot_id) == (NEW, "second")
    events = await scene.admin.get(paths.events("default"), dict[str, Any])
    told = [each["note"] for each in events["items"] if each["regarding"].get("name") == scene.boot.name]
    assert f"Node {scene.boot.name} has been rebooted, boot id: second" in told


async def test_a_bound_pod_runs_and_ends_when_it_is_deleted(scene: Scene, namespace: str) -> None:
    async with scene.running():
        await scene.node(lambda seen: seen.ready)
        spec = {"nodeName": scene.boot.name, "containers": [{"name": "main", "image": "registry.k8s.io/pause:3.10.2"}]}
        await scene.admin.create(paths.pods(namespace), {"metadata": {"name": "one"}, "spec": spec}, PodObject)
        await scene.pod(namespace, "one", lambda seen: seen is not None and seen.ready)
        await scene.admin.delete(paths.pod(namespace, "one"))
        assert await scene.pod(namespace, "one", lambda seen: seen is None) is None


async def test_a_changed_manifest_is_another_mirror_pod_with_the_new_image(scene: Scene) -> None:
    component, name = "kube-scheduler", f"kube-scheduler-{scene.boot.name}"
    path = scene.manifests / f"{component}.yaml"
    path.write_text(manifest(component, component_image(component, OLD)))
    async with scene.running():
        before = await scene.pod("kube-system", name, lambda seen: seen is not None and seen.ready)
        path.write_text(manifest(component, component_image(component, NEW)))
        after = await scene.pod(
            "kube-system",
            name,
            lambda seen: seen is not None and seen.ready and seen.images == (component_image(component, NEW),),
        )
        path.unlink()
        assert await scene.pod("kube-system", name, lambda seen: seen is None) is None
    assert before is not None
    assert after is not None
    assert before.mirror
    assert after.mirror
    assert before.uid != after.uid
    assert dict(after.labels) == {"component": component, "tier": "control-plane"}


async def test_a_mirror_pod_that_somebody_deletes_comes_back(scene: Scene) -> None:
    """As with a real kubelet: the static pod runs on, so the API shows it again."""
    component, name = "kube-scheduler", f"kube-scheduler-{scene.boot.name}"
    (scene.manifests / f"{component}.yaml").write_text(manifest(component, component_image(component, OLD)))
    async with scene.running():
        before = await scene.pod("kube-system", name, lambda seen: seen is not None and seen.ready)
        assert before is not None
        await scene.admin.delete(paths.pod("kube-system", name))
        after = await scene.pod(
            "kube-system", name, lambda seen: seen is not None and seen.ready and seen.uid != before.uid
        )
    assert after is not None
    assert after.images == before.images
