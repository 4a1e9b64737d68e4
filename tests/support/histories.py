"""Histories for the judge, written as a story: each call is one revision of one object."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from kube_upgrade.lab.history import History, Revision
from kube_upgrade.model.labels import CONTROL_PLANE_LABEL, Operator, Requirement, Selector
from kube_upgrade.model.node import Node, NodeStatus, Order, Report
from kube_upgrade.model.plan import Group, Plan
from kube_upgrade.model.status import Claim, PlanStatus
from kube_upgrade.model.version import KubeVersion

START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
OLD = KubeVersion.parse("v1.36.3")
NEW = KubeVersion.parse("v1.37.2")
CONTROL = Group(name="control-plane", selector=Selector((Requirement(CONTROL_PLANE_LABEL, Operator.EXISTS),)))
WORKERS = Group(
    name="workers", selector=Selector((Requirement(CONTROL_PLANE_LABEL, Operator.DOES_NOT_EXIST),)), max_unavailable=1
)

PLAN = Plan(
    name="plan",
    uid="plan-uid",
    resource_version="",
    generation=1,
    created=START,
    version=NEW,
    groups=(CONTROL, WORKERS),
)


@dataclass
class Story:
    """Grows a history; every change comes one second after the one before."""

    seen: list[Revision] = field(default_factory=list)
    plan: Plan = PLAN
    nodes: dict[str, Node] = field(default_factory=dict)

    def add(self, subject: Plan | Node, *, deleted: bool = False) -> "Story":
        """One revision of any object."""
        number = len(self.seen) + 1
        at = START + timedelta(seconds=number)
        self.seen.append(Revision(number=number, at=at, subject=subject, deleted=deleted))
        return self

    def edit_plan(self, **changed: Any) -> "Story":
        self.plan = replace(self.plan, **changed)
        return self.add(self.plan)

    def node(self, name: str, **changed: Any) -> "Story":
        """The node with these fields changed; a new one is Ready at the old version."""
        known = self.nodes.get(name) or Node(
            name=name,
            uid=f"{name}-uid",
            resource_version="",
            created=START,
            labels={CONTROL_PLANE_LABEL: ""} if name.startswith("cp") else {},
            kubelet=OLD,
            ready=True,
            boot_id="boot-1",
        )
        self.nodes[name] = replace(known, **changed)
        return self.add(self.nodes[name])

    def claims(self, *names: str, version: KubeVersion = NEW) -> "Story":
        """The plan's claims become exactly these nodes."""
        claims = tuple(
            Claim(
                node=name,
                uid=self.nodes[name].uid,
                group="control-plane" if name.startswith("cp") else "workers",
                version=version,
                since=START,
            )
            for name in names
        )
        return self.edit_plan(status=PlanStatus(claims=claims))

    def order(self, name: str, version: KubeVersion = NEW) -> "Story":
        return self.node(name, order=Order(version=version), report=Report(status=NodeStatus.PENDING))

    def drain(self, name: str) -> "Story":
        return self.node(name, unschedulable=True)

    def reboot(self, name: str) -> "Story":
        """Away, and back at the new version with a new boot-id."""
        return self.node(name, ready=False).node(name, ready=True, kubelet=NEW, boot_id="boot-2")

    def done(self, name: str) -> "Story":
        return self.node(name, report=Report(status=NodeStatus.COMPLETED)).node(name, unschedulable=False)

    def upgrade(self, name: str) -> "Story":
        """One node's whole way, alone."""
        return self.claims(name).order(name).drain(name).reboot(name).done(name).claims()

    def history(self, *gaps: str) -> History:
        """What the watch would hand to the judge."""
        return History(revisions=tuple(self.seen), gaps=gaps)


def begin(*names: str) -> Story:
    """Nodes and a plan, before anything is ordered."""
    story = Story()
    for name in names:
        story.node(name)
    return story.add(story.plan)
