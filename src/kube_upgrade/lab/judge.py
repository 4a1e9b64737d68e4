"""The lab's verdict, from the API's own history alone: were the bounds held at every revision, and is every node done?

It shares no rule with the controller: what `decide` thinks safe is not read here (design: 7).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from kube_upgrade.lab.history import History, Revision, World, in_service
from kube_upgrade.model.node import Node, NodeStatus
from kube_upgrade.model.plan import Plan, nodes_allowed
from kube_upgrade.model.status import Claim


class Result(StrEnum):
    """The three ways a run ends. Only `complete` is success."""

    COMPLETE = "complete"
    FAILED = "failed"
    UNPROVEN = "unproven"


class Rule(StrEnum):
    """What must hold; a breach names one of these."""

    CLAIMS_WITHIN_BUDGET = "ClaimsWithinBudget"
    ONE_CONTROL_PLANE = "OneControlPlane"
    ORDERS_ARE_CLAIMED = "OrdersAreClaimed"
    STARTS_WITHIN_BUDGET = "StartsWithinBudget"
    NODE_PROVEN = "NodeProven"
    PLAN_THERE = "PlanThere"


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken rule: at which resourceVersion, and what was seen."""

    rule: Rule
    revision: int
    message: str

    def __str__(self) -> str:
        return f"{self.rule} at revision {self.revision}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judge's word, and what it rests on."""

    result: Result
    breaches: tuple[Breach, ...] = ()
    gaps: tuple[str, ...] = ()
    worst_unavailable: Mapping[str, int] = field(default_factory=dict)  # per group, at any revision


def judge(history: History, *, proven: bool = True) -> Verdict:
    """Read the whole history once, in order. A gap makes a good end unproven; a breach stays a breach.

    Without `proven` the bounds must hold, but no node has to be at the target in the end.
    """
    world, breaches, worst, number = history.start, list[Breach](), Counter[str](), 0
    for revision in history.in_order():
        before, world, number = world, world.after(revision), revision.number
        breaches.extend(_breaches(before, world, revision))
        for group, out in _unavailable(world):
            worst[group] = max(worst[group], out)
    breaches.extend(unproven(history.baseline(), world, number) if proven else ())
    return Verdict(
        result=_result(breaches, history.gaps), breaches=tuple(breaches), gaps=history.gaps, worst_unavailable=worst
    )


def judge_all(histories: Sequence[History], *, proven: bool = True) -> Verdict:
    """One after the other, where etcd was put back in between: the bounds hold in all, and the last one ends well."""
    *earlier, last = histories
    verdicts = [*(judge(each, proven=False) for each in earlier), judge(last, proven=proven)]
    breaches = tuple(breach for verdict in verdicts for breach in verdict.breaches)
    gaps = tuple(gap for verdict in verdicts for gap in verdict.gaps)
    groups = sorted({group for verdict in verdicts for group in verdict.worst_unavailable})
    worst = {group: max(verdict.worst_unavailable.get(group, 0) for verdict in verdicts) for group in groups}
    return Verdict(result=_result(breaches, gaps), breaches=breaches, gaps=gaps, worst_unavailable=worst)


def unproven(baseline: Mapping[str, Node], world: World, number: int = 0) -> tuple[Breach, ...]:
    """Which nodes of the last world are not at the plan's target, with evidence; none means the work is done."""
    if not world.plans:
        return (Breach(Rule.PLAN_THERE, number, "no plan is there at the end"),)
    plan = min(world.plans.values(), key=lambda each: each.created)
    lacks = ((name, _lacking(baseline.get(name, node), node, plan)) for name, node in sorted(world.nodes.items()))
    found = tuple(Breach(Rule.NODE_PROVEN, number, f"{name} {lack}") for name, lack in lacks if lack)
    return found if world.nodes else (Breach(Rule.NODE_PROVEN, number, "no node is there at the end"),)


def _lacking(first: Node, last: Node, plan: Plan) -> str | None:
    if last.kubelet != plan.version:
        return f"runs {last.kubelet}, not {plan.version}"
    if not last.ready:
        return "is not Ready"
    if not last.boot_id or last.boot_id == first.boot_id:
        return "has not been rebooted"
    if last.unschedulable and not first.unschedulable:
        return "is still cordoned"
    return None


def _result(breaches: Sequence[Breach], gaps: tuple[str, ...]) -> Result:
    if breaches:
        return Result.FAILED
    return Result.UNPROVEN if gaps else Result.COMPLETE


def _breaches(before: World, world: World, revision: Revision) -> Iterator[Breach]:
    found = [*_claims(before, world), *_orders(before, world)]
    return (Breach(rule, revision.number, message) for rule, message in found)


def _claims(before: World, world: World) -> Iterator[tuple[Rule, str]]:
    """Looked at where claims are added: a budget that shrinks below what is open already breaks nothing."""
    added = set(world.claims) - set(before.claims)
    for plan in world.plans.values():
        for group in sorted({claim.group for claim in plan.status.claims if claim in added}):
            held = [claim.node for claim in plan.status.claims if claim.group == group]
            if len(held) > (allowed := _budget(world, plan, group)):
                yield Rule.CLAIMS_WITHIN_BUDGET, f"group {group} claims {', '.join(held)} with a budget of {allowed}"
    control = [claim.node for claim in world.claims if _is_control_plane(world, claim)]
    if len(control) > 1 and world.claims != before.claims:
        yield Rule.ONE_CONTROL_PLANE, f"control planes {', '.join(control)} are claimed together"


def _orders(before: World, world: World) -> Iterator[tuple[Rule, str]]:
    """Every open order needs its claim at every revision; where it opens, its group must have had room."""
    for node in _open_orders(world):
        was_open = any(_same_order(node, each) for each in _open_orders(before))
        claimed = _claim(world, node)
        if claimed is None and not was_open:
            yield Rule.ORDERS_ARE_CLAIMED, f"{node.name} is ordered to {_version(node)} without a claim"
        elif was_open and _held(before, node) and not _held(world, node):
            yield Rule.ORDERS_ARE_CLAIMED, f"{node.name} lost its claim while its order to {_version(node)} is open"
        elif claimed is not None and not was_open:
            yield from _room(world, *claimed)


def _room(world: World, plan: Plan, claim: Claim) -> Iterator[tuple[Rule, str]]:
    claimed = {each.node for each in plan.status.claims if each.group == claim.group}
    out = {node.name for node in world.members(plan, claim.group) if not in_service(node)} - claimed
    if len(claimed) + len(out) > (allowed := _budget(world, plan, claim.group)):
        names = ", ".join(sorted(claimed | out))
        yield Rule.STARTS_WITHIN_BUDGET, f"{claim.node} starts while {names} use a budget of {allowed}"


def _open_orders(world: World) -> list[Node]:
    """A failed order is closed: it opens again where the node tries once more."""
    closed = (NodeStatus.COMPLETED, NodeStatus.ERROR)
    return [node for node in world.nodes.values() if node.order and node.report.status not in closed]


def _same_order(one: Node, other: Node) -> bool:
    return (one.name, one.uid, _version(one)) == (other.name, other.uid, _version(other))


def _version(node: Node) -> str:
    return str(node.order.version) if node.order else ""


def _claim(world: World, node: Node) -> tuple[Plan, Claim] | None:
    return next(
        (
            (plan, claim)
            for plan in world.plans.values()
            for claim in plan.status.claims
            if (claim.node, claim.uid, str(claim.version)) == (node.name, node.uid, _version(node))
        ),
        None,
    )


def _held(world: World, node: Node) -> bool:
    """True where any claim names this node: an edited plan moves a claim to its new version before the order."""
    return any((claim.node, claim.uid) == (node.name, node.uid) for claim in world.claims)


def _is_control_plane(world: World, claim: Claim) -> bool:
    node = world.nodes.get(claim.node)
    return node is not None and node.control_plane


def _budget(world: World, plan: Plan, group: str) -> int:
    """0 for a group the plan does not have: nothing may be claimed in its name."""
    found = next((each for each in plan.groups if each.name == group), None)
    return nodes_allowed(found.max_unavailable, len(world.members(plan, group))) if found else 0


def _unavailable(world: World) -> Iterator[tuple[str, int]]:
    for plan in world.plans.values():
        for group in plan.groups:
            yield group.name, sum(not in_service(node) for node in world.members(plan, group.name))
