"""The pure decision alone, at full size."""

import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.model.labels import CONTROL_PLANE_LABEL, Operator, Requirement, Selector
from kube_upgrade.model.node import Node
from kube_upgrade.model.node_config import NodeConfig
from kube_upgrade.model.plan import Group, Percent, Plan
from kube_upgrade.model.snapshot import ClusterSnapshot, StaticPod
from kube_upgrade.model.version import KubeVersion

NOW = datetime(2026, 11, 24, tzinfo=UTC)
OLD, NEW = KubeVersion(1, 36, 3), KubeVersion(1, 37, 2)
ROUNDS = 15


def measure(count: int) -> dict[str, object]:
    """Milliseconds per decision: while 1,000 nodes are claimed and the rest waits, and while one is."""
    wide, narrow = _median(_snapshot(count, Percent(100))), _median(_snapshot(count, 1))
    return {"bench": "decide", "nodes": count, "msAllAtOnce": round(wide, 1), "msOneAtATime": round(narrow, 1)}


def _median(seen: ClusterSnapshot) -> float:
    claimed = replace(seen, plan=replace(seen.plan, status=decide(seen).status))
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        decide(claimed)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def _snapshot(count: int, max_unavailable: int | Percent) -> ClusterSnapshot:
    config = NodeConfig(stream="registry.example.com/os", fleetlock_url="http://locks:8080")
    master = _node("control-plane-1", NEW, {CONTROL_PLANE_LABEL: ""}, config)
    workers = [_node(f"worker-{n:05}", OLD, {"kubernetes.io/os": "linux"}, config) for n in range(count)]
    groups = (
        Group(name="control-plane", selector=_selects(Operator.EXISTS), config=config),
        Group(
            name="workers",
            selector=_selects(Operator.DOES_NOT_EXIST),
            depends_on=("control-plane",),
            max_unavailable=max_unavailable,
            config=config,
        ),
    )
    plan = Plan(name="p", uid="u", resource_version="1", generation=1, created=NOW, version=NEW, groups=groups)
    names = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    pods = tuple(StaticPod(node=master.name, component=name, version=NEW, ready=True) for name in names)
    return ClusterSnapshot(now=NOW, plan=plan, nodes=(master, *workers), static_pods=pods, kubeadm_config=NEW)


def _node(name: str, version: KubeVersion, labels: dict[str, str], config: NodeConfig) -> Node:
    """Configured already, as every node is a moment after a plan was applied."""
    return Node(
        name=name,
        uid=name,
        resource_version="1",
        created=NOW - timedelta(days=1),
        kubelet=version,
        ready=True,
        labels=labels,
        config=config.to_annotations(),
    )


def _selects(operator: Operator) -> Selector:
    return Selector((Requirement(CONTROL_PLANE_LABEL, operator),))
