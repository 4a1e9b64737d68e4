"""Model values with sensible defaults: a cluster of 3 + 3 on its way from v1.36.3 to v1.37.2."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from kube_upgrade.model.labels import CONTROL_PLANE_LABEL, Operator, Requirement, Selector
from kube_upgrade.model.lock import DrainMark
from kube_upgrade.model.node import KubeadmRole, Node, NodeStatus, Order, Report
from kube_upgrade.model.plan import Group, Plan, Window
from kube_upgrade.model.snapshot import ClusterSnapshot, StaticPod
from kube_upgrade.model.status import Claim, PlanStatus
from kube_upgrade.model.version import KubeVersion
from support.consistency import checked

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)  # a Tuesday
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")


def v(text: str) -> KubeVersion:
    return KubeVersion.parse(text)


OLD, NEW = v("v1.36.3"), v("v1.37.2")
CONTROL_PLANES = Selector((Requirement(CONTROL_PLANE_LABEL, Operator.EXISTS),))
OTHERS = Selector((Requirement(CONTROL_PLANE_LABEL, Operator.DOES_NOT_EXIST),))


def having(key: str, *values: str) -> Selector:
    """Selects the nodes on which the label has one of these values."""
    return Selector((Requirement(key, Operator.IN, values),))


def a_group(name: str = "workers", **changed: Any) -> Group:
    """Group `control-plane` selects kubeadm's label; any other name all nodes without it."""
    selector = CONTROL_PLANES if name == "control-plane" else OTHERS
    known: dict[str, Any] = {"name": name, "selector": selector}
    return Group(**(known | changed))


CONTROL, WORKERS = a_group("control-plane"), a_group("workers")


def a_plan(*groups: Group, claims: Iterable[Claim] = (), **changed: Any) -> Plan:
    """To v1.37.2; groups control-plane and workers unless others are given."""
    known: dict[str, Any] = {
        "name": "plan",
        "uid": "plan-uid",
        "resource_version": "1",
        "generation": 1,
        "created": NOW - DAY,
        "version": NEW,
        "groups": groups or (CONTROL, WORKERS),
        "status": PlanStatus(claims=tuple(claims)),
    }
    return Plan(**(known | changed))


def a_node(name: str = "w-1", **changed: Any) -> Node:
    """Ready, at the old version; a control-plane node where the name begins with `cp`."""
    labels = ({CONTROL_PLANE_LABEL: ""} if name.startswith("cp") else {}) | changed.pop("labels", {})
    known: dict[str, Any] = {
        "name": name,
        "uid": f"{name}-uid",
        "resource_version": "1",
        "created": NOW - DAY,
        "labels": labels,
        "kubelet": OLD,
        "ready": True,
        "boot_id": "boot-1",
    }
    return Node(**(known | changed))


def upgraded(name: str, version: KubeVersion = NEW, **changed: Any) -> Node:
    """At the version, reported completed, its order closed."""
    return a_node(name, **({"kubelet": version, **said(NodeStatus.COMPLETED, version)} | changed))


def said(
    status: NodeStatus | None = NodeStatus.PENDING,
    version: KubeVersion = NEW,
    *,
    kubeadm: KubeadmRole | None = KubeadmRole.NODE,
    start_before: datetime | None = None,
    **report: Any,
) -> dict[str, Any]:
    """Changes of a node that was ordered to a version and says this of it: `a_node("w-1", **said(...))`."""
    order = Order(version=version, kubeadm=kubeadm, start_before=start_before)
    return {"order": order, "report": Report(status=status, **report)}


def a_claim(node: Node | str = "w-1", **changed: Any) -> Claim:
    """Begun a minute ago, to the new version, for the node's usual group."""
    node = a_node(node) if isinstance(node, str) else node
    known: dict[str, Any] = {
        "node": node.name,
        "uid": node.uid,
        "group": "control-plane" if node.control_plane else "workers",
        "version": NEW,
        "since": NOW - MINUTE,
    }
    return Claim(**(known | changed))


def static_pods(node: str, version: KubeVersion | None = OLD, *, etcd: bool = True, ready: bool = True,
                broken: Sequence[str] = ()) -> tuple[StaticPod, ...]:  # fmt: skip
    """The control-plane components of one node; `broken` names those that are not Ready."""
    return tuple(
        StaticPod(
            node=node,
            component=component,
            version=v("v3.6.8") if component == "etcd" else version,
            ready=ready and component not in broken,
        )
        for component in COMPONENTS
        if etcd or component != "etcd"
    )


def a_cluster(control_planes: int = 3, workers: int = 3, **changed: Any) -> tuple[Node, ...]:
    """cp-1, cp-2 … and w-1, w-2 …"""
    names = [f"cp-{i}" for i in range(1, control_planes + 1)] + [f"w-{i}" for i in range(1, workers + 1)]
    return tuple(a_node(name, **changed) for name in names)


def replaced(nodes: Iterable[Node], *others: Node) -> tuple[Node, ...]:
    """The nodes with these in place of, or beside, those of the same names."""
    return tuple({node.name: node for node in (*nodes, *others)}.values())


def seen(
    *nodes: Node, plan: Plan | None = None, pods: Iterable[StaticPod] | None = None, **changed: Any
) -> ClusterSnapshot:
    """A possible snapshot: 3 + 3 unless nodes are given, each control plane's pods at its kubelet's version."""
    found = sorted(nodes or a_cluster(), key=lambda node: node.name)
    derived = [pod for node in found if node.control_plane for pod in static_pods(node.name, node.kubelet)]
    known: dict[str, Any] = {
        "now": NOW,
        "plan": plan or a_plan(),
        "nodes": tuple(found),
        "static_pods": tuple(derived if pods is None else pods),
        "kubeadm_config": OLD,
    }
    return checked(ClusterSnapshot(**(known | changed)))


def control_planes_done(*workers: Node, plan: Plan | None = None, **changed: Any) -> ClusterSnapshot:
    """Three upgraded control planes and these workers (three at the old version unless given)."""
    done = [upgraded(f"cp-{i}") for i in (1, 2, 3)]
    return seen(*done, *(workers or a_cluster(0, 3)), plan=plan, kubeadm_config=NEW, **changed)


def a_window(schedule: str = "0 2 * * *", hours: float = 4, zone_name: str = "UTC") -> Window:
    from zoneinfo import ZoneInfo

    return Window(schedule=schedule, duration=timedelta(hours=hours), zone=ZoneInfo(zone_name), zone_name=zone_name)


def a_drain(node: str = "w-1", *, cordoned_before: bool = False) -> DrainMark:
    """The lock server's mark on a node that it cordoned."""
    return DrainMark(group="default", id=f"{node}-id", since=NOW, cordoned_before=cordoned_before)


def with_claims(snapshot: ClusterSnapshot, *claims: Claim) -> ClusterSnapshot:
    """The same with these claims standing."""
    plan = replace(snapshot.plan, status=replace(snapshot.plan.status, claims=claims))
    return checked(replace(snapshot, plan=plan))
