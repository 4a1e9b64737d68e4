"""I/O → ClusterSnapshot: plans, nodes and control-plane pods by watch, kubeadm-config when it may have changed."""

import asyncio
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime
from operator import attrgetter

from kube_upgrade.controller.cluster_version import ClusterVersion
from kube_upgrade.controller.overlay import Overlay
from kube_upgrade.core.rollout.fleet import order_open
from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.informer import Informer
from kube_upgrade.kube.wire.node import NodeObject, to_node
from kube_upgrade.kube.wire.plan import to_plan
from kube_upgrade.kube.wire.pod import PodObject, to_pod
from kube_upgrade.kube.wire.schema import PlanObject
from kube_upgrade.model.node import Node, Report
from kube_upgrade.model.plan import Plan
from kube_upgrade.model.snapshot import ClusterSnapshot, StaticPod
from kube_upgrade.model.version import KubeVersion

CONTROL_PLANE_PODS = {"labelSelector": "tier=control-plane"}


class World:
    """The controller's eyes. `changed` is called when something a decision depends on may have changed."""

    def __init__(self, api: Api, *, changed: Callable[[], None], controller_node: str = "") -> None:
        def seen(_key: str, old: object, new: object) -> None:
            if old is None or new is None or matters(old, new):
                changed()

        def node_seen(name: str, old: Node | None, new: Node | None) -> None:
            if new is None or not self.nodes.ours(name, new.resource_version):  # our own write is no news
                seen(name, old, new)

        self._controller_node = controller_node
        self._plans = Informer(api, paths.PLANS, type=PlanObject, value=to_plan, on_change=seen)
        self._nodes = Informer(api, paths.NODES, type=NodeObject, value=to_node, on_change=node_seen)
        self._pods = Informer(
            api,
            paths.pods("kube-system"),
            type=PodObject,
            value=to_static_pod,
            params=CONTROL_PLANE_PODS,
            on_change=seen,
        )
        self.plans: Overlay[Plan] = Overlay(self._plans.items)
        self.nodes: Overlay[Node] = Overlay(self._nodes.items)
        self._cluster_version = ClusterVersion(api, changed)

    async def watch(self) -> None:
        """Keep the copies current until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in (self._plans, self._nodes, self._pods):
                group.create_task(informer.run())

    async def synced(self) -> None:
        """Return once every collection was listed."""
        for informer in (self._plans, self._nodes, self._pods):
            await informer.synced.wait()

    def out_of_touch(self) -> str | None:
        """What cannot be refreshed, for the readiness probe; None while all watches stand."""
        states = {
            "plans": (self._plans.synced, self._plans.stale_since),
            "nodes": (self._nodes.synced, self._nodes.stale_since),
            "pods": (self._pods.synced, self._pods.stale_since),
        }
        blind = [name for name, (synced, stale) in states.items() if stale is not None or not synced.is_set()]
        return f"no watch on {', '.join(blind)}" if blind else None

    async def snapshots(self, now: datetime) -> list[ClusterSnapshot]:
        """One per plan, the oldest first; raises KubeError where kubeadm-config could not be asked for."""
        plans = sorted(self.plans.values(), key=lambda plan: (plan.created, plan.name))
        if not plans:
            return []
        base = ClusterSnapshot(
            now=now,
            plan=plans[0],
            nodes=tuple(sorted(self.nodes.values(), key=lambda node: node.name)),
            static_pods=tuple(self._pods.items.values()),
            controller_node=self._controller_node,
        )
        version = await self._cluster_version.read(_evidence(base))
        base = replace(base, kubeadm_config=version, kubeadm_config_trouble=self._cluster_version.trouble)
        return [base, *(replace(base, plan=plan, active_plan=plans[0].name) for plan in plans[1:])]


def _evidence(seen: ClusterSnapshot) -> object:
    """`kubeadm upgrade apply` writes the ConfigMap before its node reports `applied`: then it is read again."""
    return (
        tuple((node.name, node.report.applied) for node in seen.nodes if node.report.applied),
        tuple(sorted((pod.node, str(pod.version)) for pod in seen.static_pods)),
    )


def matters(old: object, new: object) -> bool:
    """False where no decision can change: a node's heartbeat, or a word of its daemon that nobody decides on."""
    if isinstance(old, Node) and isinstance(new, Node):
        return _decided_on(old) != _decided_on(new)
    return old != new


def _decided_on(node: Node) -> object:
    """The node without what is only told. A message counts while an order is open: a busy lock stands in it."""
    return _of_node(node), _of_report(node.report), node.report.message if order_open(node) else ""


def _all_but(type: type[Node | Report], *told: str) -> Callable[[object], object]:
    """Nothing that is added later is left out; and no copy is made: this is asked at each event of each node."""
    return attrgetter(*(field.name for field in fields(type) if field.name not in told))


_of_node = _all_but(Node, "resource_version", "report")
_of_report = _all_but(Report, "phase", "attempt", "staged", "daemon", "message")


def to_static_pod(wire: PodObject) -> StaticPod:
    """A control-plane pod as decisions see it; the version is None where the image's tag is none."""
    pod = to_pod(wire)
    version = KubeVersion.of_image(pod.images[0]) if pod.images else None
    return StaticPod(node=pod.node, component=pod.labels.get("component", ""), version=version, ready=pod.ready)
