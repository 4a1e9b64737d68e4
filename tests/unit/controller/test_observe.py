"""What of an API object reaches the decisions, and which changes wake them."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kube_upgrade.controller.observe import World, matters, to_static_pod
from kube_upgrade.kube import paths
from kube_upgrade.kube.wire import node as wire
from kube_upgrade.kube.wire.kubeadm_config import ConfigMapObject, cluster_version
from kube_upgrade.kube.wire.meta import Condition, ObjectMeta
from kube_upgrade.kube.wire.node import NodeObject, to_node
from kube_upgrade.kube.wire.pod import Container, PodObject, PodSpec, PodStatus
from kube_upgrade.model.node import Node, NodeStatus, Order, Report
from kube_upgrade.model.snapshot import StaticPod
from kube_upgrade.model.version import KubeVersion
from support.async_memory_api import AsyncMemoryApi
from support.live import running
from support.memory_api import MemoryApi

NODE = Node(name="w1", uid="u", resource_version="1", created=datetime(2026, 1, 1, tzinfo=UTC), ready=True)


def test_a_heartbeat_wakes_nobody() -> None:
    assert not matters(NODE, replace(NODE, resource_version="2"))


def test_what_a_daemon_only_tells_wakes_nobody() -> None:
    fetching = replace(NODE, report=Report(phase="staging", message="fcos-k8s:v1.37.2", staged="", daemon="0.1.0"))

    assert not matters(NODE, fetching)


def test_a_message_wakes_the_loop_while_an_order_is_open() -> None:
    ordered = replace(NODE, order=Order(version=KubeVersion.parse("v1.37.2")), report=Report(status=NodeStatus.PENDING))
    busy = replace(ordered, report=Report(status=NodeStatus.PENDING, message="LockBusy: all slots are held"))

    assert matters(ordered, busy)
    assert matters(ordered, replace(ordered, report=Report(status=NodeStatus.UPGRADING)))


def test_a_node_that_is_no_longer_ready_wakes_the_loop() -> None:
    assert matters(NODE, replace(NODE, resource_version="2", ready=False))


def test_a_static_pod_is_read_from_its_mirror() -> None:
    pod = PodObject(
        metadata=ObjectMeta(name="kube-apiserver-cp1", labels={"component": "kube-apiserver"}),
        spec=PodSpec(node_name="cp1", containers=[Container(image="registry.k8s.io/kube-apiserver:v1.36.3")]),
        status=PodStatus(phase="Running", conditions=[Condition(type="Ready", status="True")]),
    )

    seen = to_static_pod(pod)

    version = KubeVersion.parse("v1.36.3")
    assert seen == StaticPod(node="cp1", component="kube-apiserver", version=version, ready=True)


def test_an_image_by_digest_has_no_version() -> None:
    pod = PodObject(metadata=ObjectMeta(name="x"), spec=PodSpec(containers=[Container(image="reg/etcd@sha256:00")]))

    assert to_static_pod(pod).version is None


def test_a_digest_behind_the_tag_does_not_hide_the_version() -> None:
    """As a registry mirror or an admission plugin pins it; without its version no node of the cluster may start."""
    image = "reg.example:5000/kube-apiserver:v1.36.3@sha256:00"
    pod = PodObject(metadata=ObjectMeta(name="x"), spec=PodSpec(containers=[Container(image=image)]))

    assert to_static_pod(pod).version == KubeVersion.parse("v1.36.3")


@pytest.mark.parametrize(
    ("document", "version"),
    [
        ("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.36.3\n", "v1.36.3"),
        ('kubernetesVersion: "v1.37.2"\n', "v1.37.2"),
        ("apiServer:\n  kubernetesVersion: v1.0.0\n", None),
        ("", None),
    ],
)
def test_the_clusters_version_is_the_top_level_field(document: str, version: str | None) -> None:
    seen = cluster_version(ConfigMapObject(data={"ClusterConfiguration": document}))

    assert (str(seen) if seen else None) == version


async def test_a_write_of_our_own_wakes_nobody_when_it_comes_back() -> None:
    """The turn that wrote it goes on from what the write returned."""
    memory, woken, changed = MemoryApi(), list[str](), asyncio.Event()
    known = {name: memory.create(paths.NODES, {"metadata": {"name": name}}) for name in ("w1", "w2")}
    api = AsyncMemoryApi(memory)

    def wake() -> None:
        woken.append("woken")
        changed.set()

    world = World(api, changed=wake)
    async with running(world.watch()):
        await world.synced()
        woken.clear()
        changed.clear()
        with world.nodes.writing("w1"):
            ours = await api.patch(paths.node("w1"), {"metadata": {"annotations": {wire.STAGE: "v1.37.2"}}}, NodeObject)
        world.nodes.put("w1", known["w1"]["metadata"]["resourceVersion"], to_node(ours))
        memory.patch(paths.node("w2"), {"spec": {"unschedulable": True}})  # seen after ours
        async with asyncio.timeout(5):
            await changed.wait()
    assert woken == ["woken"]
