"""A small cluster in memory: the API's rules on model values, and a daemon per node that takes one step at a time.

Writes keep the API server's promises that the controller rests on: a status is replaced, and a Node patched, only at
the resourceVersion that was read. Every state is kept, so that a leader may look at an old one.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.model.action import (
    ConfigureNode,
    Decision,
    ForgetNode,
    NodeAction,
    OrderNode,
    PublishStatus,
    WithdrawOrder,
)
from kube_upgrade.model.node import KubeadmRole, Node, NodeStatus, Order, Report
from kube_upgrade.model.plan import Plan
from kube_upgrade.model.snapshot import ClusterSnapshot, StaticPod
from kube_upgrade.model.status import PlanStatus
from kube_upgrade.model.version import KubeVersion
from support.builders import NOW, a_drain, a_node, static_pods
from support.consistency import checked


class Refused(Exception):
    """409 or 404: the object is not what it was, or is gone."""


@dataclass(frozen=True, slots=True)
class State:
    """Everything in the API at one revision."""

    revision: int
    plan: Plan
    nodes: dict[str, Node]
    pods: dict[tuple[str, str], StaticPod]
    kubeadm_config: KubeVersion


class World:
    """The API server's content and the machines behind its nodes."""

    def __init__(self, plan: Plan, nodes: Iterable[Node], *, now: datetime = NOW) -> None:
        self.now = now
        self.machines: dict[str, Machine] = {}
        nodes = list(nodes)
        pods = [pod for node in nodes if node.control_plane for pod in static_pods(node.name, node.kubelet)]
        oldest = min(node.kubelet for node in nodes if node.control_plane and node.kubelet)
        self.states = [State(1, plan, {}, {(pod.node, pod.component): pod for pod in pods}, oldest)]
        self.watchers: list[Callable[[State, State], None]] = []
        for node in nodes:
            self.add_node(node)

    # --- reading --------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self.states[-1]

    @property
    def plan(self) -> Plan:
        return self.state.plan

    @property
    def nodes(self) -> dict[str, Node]:
        return self.state.nodes

    def snapshot(
        self, *, plan: State | None = None, nodes: State | None = None, clock: timedelta = timedelta()
    ) -> ClusterSnapshot:
        """What a controller sees whose watches have come as far as these states, by its own clock."""
        seen = nodes or self.state
        return checked(
            ClusterSnapshot(
                now=self.now + clock,
                plan=(plan or self.state).plan,
                nodes=tuple(seen.nodes[name] for name in sorted(seen.nodes)),
                static_pods=tuple(seen.pods[key] for key in sorted(seen.pods)),
                kubeadm_config=seen.kubeadm_config,
            )
        )

    # --- what the controller writes -------------------------------------------------------------

    def check(self, action: PublishStatus) -> None:
        """GET of the Nodes that a status adopts or finds missing. Raises Refused."""
        for node in action.adopts:
            if node.name not in self.nodes or not self.nodes[node.name].same_work(node):
                raise Refused(node.name)
        for name, uid in action.gone:
            if name in self.nodes and self.nodes[name].uid == uid:
                raise Refused(name)

    def publish(self, read: Plan, status: PlanStatus) -> None:
        """PUT on /status. Raises Refused."""
        if (read.uid, read.resource_version) != (self.plan.uid, self.plan.resource_version):
            raise Refused("plan")
        self._plan(status=status)

    def apply(self, action: NodeAction) -> None:
        """PATCH of a Node with its resourceVersion. Raises Refused."""
        node = self.nodes.get(action.node)
        if node is None or node.resource_version != action.resource_version:
            raise Refused(action.node)
        match action:
            case OrderNode():
                order = Order(version=action.claim.version, kubeadm=action.kubeadm, start_before=action.start_before)
                report = replace(node.report, status=NodeStatus.PENDING)
                config = _merged(node, action)
                self.patch(node.name, order=order, report=report, config=config, stage=None, os_updates="no")
            case WithdrawOrder():
                self.patch(node.name, order=None, withdrawn=action.at)
            case ConfigureNode():
                self.patch(node.name, config=_merged(node, action), **_told(node, action))
            case ForgetNode():
                self.patch(node.name, order=None, withdrawn=None, stage=None, os_updates=None, config={})

    # --- what people, kubelets and daemons do ---------------------------------------------------

    def edit_plan(self, **changed: Any) -> None:
        """A person changes the plan's spec."""
        self._plan(generation=self.plan.generation + 1, **changed)

    def patch(self, name: str, **changed: Any) -> None:
        """Some fields of a Node, whatever its version."""
        node = self.nodes[name]
        if replace(node, **changed) == node:
            return
        new = replace(node, **changed, resource_version=str(self.state.revision + 1))
        self._commit(nodes=self.nodes | {name: new})

    def add_node(self, node: Node) -> None:
        """A Node object is created; a control-plane node brings its static pods."""
        self.machines.setdefault(node.name, Machine(self, node.name))
        new = replace(node, resource_version=str(self.state.revision + 1))
        shown = static_pods(node.name, node.kubelet) if node.control_plane else ()
        pods = self.state.pods | {(pod.node, pod.component): pod for pod in shown}
        self._commit(nodes=self.nodes | {node.name: new}, pods=pods)

    def delete_node(self, name: str) -> None:
        """The Node object and its machine are gone."""
        del self.machines[name]
        pods = {key: pod for key, pod in self.state.pods.items() if key[0] != name}
        self._commit(nodes={key: node for key, node in self.nodes.items() if key != name}, pods=pods)

    def show_pods(self, name: str, *, version: KubeVersion | None = None, ready: bool) -> None:
        """The static pods of a control-plane node become Ready or not, and may change their version."""
        pods = {
            key: replace(pod, ready=ready, version=version if version and key[1] != "etcd" else pod.version)
            for key, pod in self.state.pods.items()
            if key[0] == name
        }
        self._commit(pods=self.state.pods | pods)

    def write_kubeadm_config(self, version: KubeVersion) -> None:
        self._commit(kubeadm_config=version)

    def _plan(self, **changed: Any) -> None:
        self._commit(plan=replace(self.plan, **changed, resource_version=str(self.state.revision + 1)))

    def _commit(self, **changed: Any) -> None:
        before = self.state
        self.states.append(replace(before, **changed, revision=before.revision + 1))
        for watcher in self.watchers:
            watcher(before, self.state)


def _merged(node: Node, action: OrderNode | ConfigureNode) -> dict[str, str]:
    wanted = {**node.config, **action.config}
    return {key: value for key, value in wanted.items() if value is not None}


def _told(node: Node, action: ConfigureNode) -> dict[str, Any]:
    until = action.os_updates
    text = until.isoformat() if isinstance(until, datetime) else until
    return {
        "os_updates": node.os_updates if until is None else text,
        "stage": None if action.unstage else action.stage or node.stage,
    }


@dataclass(slots=True)
class Machine:
    """One node behind its Node object: kubelet, lock and daemon. `step` does the next thing and says what."""

    world: World
    name: str
    locked: bool = False
    target: KubeVersion | None = None  # what kubeadm and the reboot go to; an order withdrawn later changes nothing
    role: KubeadmRole | None = None
    away: bool = False
    rebooted: bool = False
    kubeadm_fails: int = 0  # so many times
    stays_away: bool = False
    slow: int = 0  # steps that it lets pass before it begins with kubeadm

    def step(self) -> str | None:
        """The machine's next step, or None where it has nothing to do."""
        node = self.world.nodes[self.name]
        match node.report.status:
            case _ if self.away:
                return self._come_back(node)
            case NodeStatus.UPGRADING:
                return self._kubeadm(node)
            case NodeStatus.REBASING:
                return (
                    self._report(NodeStatus.COMPLETED, "completed", phase="idle") if self.rebooted else self._reboot()
                )
            case NodeStatus.ERROR if node.order:
                return None  # lock and cordon are kept until somebody retries or corrects
            case _:
                return self._before_kubeadm(node)

    def retry(self) -> None:
        """A person asks for another try."""
        self._report(NodeStatus.UPGRADING, "")

    def _before_kubeadm(self, node: Node) -> str | None:
        if node.order is None or node.report.status is NodeStatus.COMPLETED or self._late(node.order):
            return self._release(node) if self.locked else None
        if not self.locked:
            return self._lock(node)
        if self.slow:
            self.slow -= 1
            return "waits for its pods to go"
        return self._begin(node.order)

    def _late(self, order: Order) -> bool:
        return order.start_before is not None and self.world.now > order.start_before

    def _lock(self, node: Node) -> str:
        mark = a_drain(node.name, cordoned_before=node.unschedulable)
        self.world.patch(self.name, unschedulable=True, drain=mark)
        self.locked = True
        return "drained"

    def _release(self, node: Node) -> str:
        cordoned = node.drain is not None and node.drain.cordoned_before
        self.world.patch(self.name, unschedulable=cordoned, drain=None)
        self.locked = False
        return "gives its lock back"

    def _begin(self, order: Order) -> str:
        self.target, self.role, self.rebooted = order.version, order.kubeadm, False
        return self._report(NodeStatus.UPGRADING, f"kubeadm upgrade {order.kubeadm} {order.version}")

    def _kubeadm(self, node: Node) -> str:
        assert self.target is not None
        if self.kubeadm_fails:
            self.kubeadm_fails -= 1
            return self._report(NodeStatus.ERROR, "kubeadm failed", message="kubeadm: disk full")
        if node.control_plane:
            self.world.show_pods(self.name, version=self.target, ready=True)
        applied = node.report.applied
        if self.role is KubeadmRole.APPLY:
            self.world.write_kubeadm_config(self.target)
            applied = self.target
        return self._report(NodeStatus.REBASING, "kubeadm done", applied=applied)

    def _reboot(self) -> str:
        self.away = True
        self.world.patch(self.name, ready=False)
        if self.world.nodes[self.name].control_plane:
            self.world.show_pods(self.name, ready=False)
        return "reboots"

    def _come_back(self, node: Node) -> str | None:
        if self.stays_away:
            return None
        self.away, self.rebooted = False, True
        self.world.patch(self.name, ready=True, kubelet=self.target, boot_id=f"{node.boot_id}+")
        if node.control_plane:
            self.world.show_pods(self.name, ready=True)
        return f"is back at {self.target}"

    def _report(self, status: NodeStatus, said: str, **report: Any) -> str:
        before = self.world.nodes[self.name].report
        self.world.patch(self.name, report=replace(before, **({"message": ""} | report), status=status))
        return said


# --- a leader -----------------------------------------------------------------------------------


def carry_out(world: World, seen: ClusterSnapshot, decision: Decision) -> Iterator[str]:
    """What controller/act does, one request per step; a refused guard ends it, as there.

    Orders rest on a plan that was written, or read, after the Nodes were read (ADR 2).
    """
    written = False
    for action in decision.actions:
        if isinstance(action, PublishStatus):
            try:
                world.check(action)
                world.publish(seen.plan, action.status)
            except Refused:
                return
            written, standing = True, set(action.status.claims)
            yield "published"
    orders = [action for action in decision.actions if isinstance(action, OrderNode)]
    if orders and not written:
        standing = set(world.plan.status.claims)
        yield "read the claims again"
    for order in orders:
        if order.claim in standing:
            _try(world, order)
            yield f"ordered {order.node}"
    for action in decision.actions:
        if isinstance(action, WithdrawOrder | ConfigureNode | ForgetNode):
            _try(world, action)
            yield f"patched {action.node}"


def _try(world: World, action: NodeAction) -> None:
    try:
        world.apply(action)
    except Refused:
        return


def turn(world: World) -> Decision:
    """One undisturbed look and everything that follows from it."""
    seen = world.snapshot()
    decision = decide(seen)
    for _ in carry_out(world, seen, decision):
        pass
    return decision


def rebuilt(node: Node, uid: str) -> Node:
    """The node as it comes when it is created anew under its name: no annotations, another uid."""
    return a_node(node.name, uid=uid, kubelet=node.kubelet, labels=dict(node.labels), report=Report())
