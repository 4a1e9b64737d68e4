"""What a watch on plans and nodes saw, as values in the one order that etcd gives them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Plan
from kube_upgrade.model.status import Claim

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One object as it was from resourceVersion `number` on. `at` is when the watch brought it."""

    number: int
    at: datetime
    subject: Plan | Node
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Plans and nodes by name, as they stood at one revision."""

    plans: Mapping[str, Plan] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)

    def after(self, revision: Revision) -> "World":
        """The world with this revision in it."""
        subject = revision.subject
        if isinstance(subject, Node):
            return replace(self, nodes=_put(self.nodes, subject.name, None if revision.deleted else subject))
        return replace(self, plans=_put(self.plans, subject.name, None if revision.deleted else subject))

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The open claims of all plans."""
        return tuple(claim for plan in self.plans.values() for claim in plan.status.claims)

    def members(self, plan: Plan, group: str) -> tuple[Node, ...]:
        """The nodes a group of the plan selects; none where the plan has no such group."""
        found = next((each for each in plan.groups if each.name == group), None)
        return tuple(node for node in self.nodes.values() if found and found.selector.matches(node.labels))


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Every revision from before the start to the end; `gaps` says where something may be missing, and why.

    Where etcd was put back to an earlier point another history begins: `start` is the world as it was found then, and
    `before` the nodes as the run had found them.
    """

    revisions: tuple[Revision, ...] = ()
    gaps: tuple[str, ...] = ()
    start: World = field(default_factory=World)
    before: Mapping[str, Node] = field(default_factory=dict)

    def in_order(self) -> tuple[Revision, ...]:
        """The revisions merged by resourceVersion: both kinds live in one etcd, so this order is total."""
        return tuple(sorted(self.revisions, key=lambda revision: revision.number))

    def began(self) -> datetime | None:
        """When the first plan was seen: what happens to nodes before is none of the run's business."""
        planned = bool(self.start.plans)
        return next((each.at for each in self.in_order() if planned or isinstance(each.subject, Plan)), None)

    def baseline(self) -> dict[str, Node]:
        """Each node as the run found it: as it was before the first plan, or at its first boot if it came later."""
        found = {**self.start.nodes, **self.before}
        planned = bool(self.start.plans)
        for revision in self.in_order():
            if isinstance(revision.subject, Plan):
                planned = True
            elif not planned or not (known := found.get(revision.subject.name)) or not known.boot_id:
                found[revision.subject.name] = revision.subject
        return found


def in_service(node: Node) -> bool:
    """True where the node is Ready and takes pods."""
    return node.ready and not node.unschedulable


def _put(known: Mapping[str, T], name: str, value: T | None) -> dict[str, T]:
    rest = {key: each for key, each in known.items() if key != name}
    return rest if value is None else rest | {name: value}
