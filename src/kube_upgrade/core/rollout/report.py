"""From facts and holds to the plan's status: upstream's exact words (domain: 2.5), counts, conditions, reasons."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from kube_upgrade.core.rollout.fleet import Fleet, failed, stalled
from kube_upgrade.core.rollout.ownership import CONDITION as FOREIGN
from kube_upgrade.core.rollout.path import api_servers
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Group
from kube_upgrade.model.status import (
    Claim,
    Condition,
    Hold,
    HoldSummary,
    NodeCounts,
    PlanStatus,
    Reason,
    Run,
    VersionStatus,
)

RISKY = "RiskySettings"  # the condition's type
MAX_HISTORY = 10
MAX_HOLDS = 20
SAMPLE = 3
BROKEN = (
    Reason.INVALID_SETTING,
    Reason.MINOR_SKIPPED,
    Reason.KUBELET_TOO_OLD,
    Reason.DOWNGRADE_REFUSED,
    Reason.VERSION_UNKNOWN,
    Reason.GROUP_CONFLICT,
    Reason.UNMANAGED_CONTROL_PLANE,
    Reason.API_UNHEALTHY,
    Reason.QUORUM_AT_RISK,
    Reason.PATCH_REFUSED,
)


class State(StrEnum):
    """Where a group stands, in upstream's words. The first of them that a group of the plan is in is the plan's."""

    UNKNOWN = "Unknown"
    ERROR = "Error"
    PROGRESSING = "Progressing"
    WAITING = "Waiting"
    COMPLETE = "Complete"


@dataclass(slots=True)
class GroupView:
    """The nodes of one group by what has become of them."""

    done: list[str] = field(default_factory=list)
    flying: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)  # other groups select them too: they wait in each

    @property
    def total(self) -> int:
        """All nodes of the group."""
        return len(self.done) + len(self.flying) + len(self.failed) + len(self.waiting) + len(self.torn)

    @property
    def state(self) -> State:
        """By what has become of its nodes."""
        if not self.total:
            return State.UNKNOWN
        if self.failed:
            return State.ERROR
        if len(self.done) == self.total:
            return State.COMPLETE
        return State.PROGRESSING if self.done or self.flying else State.WAITING

    def words(self) -> str:
        """Upstream's string for a group."""
        match self.state:
            case State.ERROR:
                return f"Error: The nodes [{' '.join(self.failed)}] are reporting errors"
            case State.PROGRESSING:
                return f"Progressing: {len(self.done)}/{self.total} nodes upgraded"
            case State.UNKNOWN | State.WAITING | State.COMPLETE as state:
                return str(state)


def report(fleet: Fleet, claims: tuple[Claim, ...], holds: Mapping[str, Hold]) -> PlanStatus:
    """The status to publish; equal to the old one where nothing changed."""
    views = view_groups(fleet, claims)
    summary = summarize(views)
    old, ranked = fleet.seen.plan.status, summarize_holds(holds)
    status = PlanStatus(
        summary=summary,
        groups={name: view.words() for name, view in views.items()},
        observed_generation=fleet.seen.plan.generation,
        conditions=_conditions(fleet, views, summary, ranked),
        version=_version(fleet),
        nodes=_counts(views),
        claims=claims,
        durations=fleet.durations,
        holds=ranked,
        history=old.history,
    )
    return _remember(fleet, status)


def view_groups(fleet: Fleet, claims: tuple[Claim, ...]) -> dict[str, GroupView]:
    """Every node in the place it has earned."""
    views = {group.name: GroupView() for group in fleet.seen.plan.groups}
    claimed = {claim.node: claim for claim in claims}
    for name, groups in fleet.members.items():
        for group in groups:
            view = views[group.name]
            _place(fleet, view, fleet.nodes[name], claimed.get(name)).append(name)
    return views


def _place(fleet: Fleet, view: GroupView, node: Node, claim: Claim | None) -> list[str]:
    if (group := fleet.group_of(node.name)) is None:
        return view.torn
    if claim:
        return view.failed if failed(node, claim) or stalled(fleet.seen, claim) else view.flying
    if fleet.hop == fleet.path.target:
        done = node.name not in fleet.unsettled[group.name]
    else:
        done = fleet.proven(node, fleet.path.target)
    return view.done if done else view.waiting


def summarize(views: Mapping[str, GroupView]) -> str:
    """Upstream's summary, by its precedence."""
    by_state: dict[State, list[str]] = defaultdict(list)
    for name, view in views.items():
        by_state[view.state].append(name)
    match next((state for state in State if state in by_state), State.UNKNOWN):
        case State.ERROR:
            return f"Error: Some groups encountered errors [{' '.join(by_state[State.ERROR])}]"
        case State.PROGRESSING:
            return f"Progressing: Upgrading groups [{' '.join(by_state[State.PROGRESSING])}]"
        case State.UNKNOWN | State.WAITING | State.COMPLETE as state:
            return str(state)


def summarize_holds(holds: Mapping[str, Hold]) -> tuple[HoldSummary, ...]:
    """Nodes that wait for one reason together, the most frequent first."""
    by_hold: dict[Hold, list[str]] = defaultdict(list)
    for name in sorted(holds):
        by_hold[holds[name]].append(name)
    ranked = sorted(by_hold.items(), key=lambda pair: (-len(pair[1]), pair[0].reason, pair[0].message))
    return tuple(
        HoldSummary(reason=hold.reason, message=hold.message, nodes=len(names), sample=tuple(names[:SAMPLE]))
        for hold, names in ranked[:MAX_HOLDS]
    )


def _counts(views: Mapping[str, GroupView]) -> NodeCounts:
    each = list(views.values())
    torn = len({name for view in each for name in view.torn})
    return NodeCounts(
        total=sum(view.total - len(view.torn) for view in each) + torn,
        completed=sum(len(view.done) for view in each),
        in_flight=sum(len(view.flying) for view in each),
        failed=sum(len(view.failed) for view in each),
        waiting=sum(len(view.waiting) for view in each) + torn,
    )


def _version(fleet: Fleet) -> VersionStatus:
    old, target = fleet.seen.plan.status.version, fleet.path.target
    start = old.start if old and old.target == target else None
    known = [version for version in api_servers(fleet.seen).values() if version]
    hops = fleet.path.hops
    return VersionStatus(
        start=start or min(known, default=None), target=target, hop=hops.index(fleet.hop) + 1, hops=len(hops)
    )


def _conditions(
    fleet: Fleet, views: Mapping[str, GroupView], summary: str, holds: tuple[HoldSummary, ...]
) -> tuple[Condition, ...]:
    failing = [name for view in views.values() for name in view.failed]
    flying = [name for view in views.values() for name in view.flying]
    first = holds[0] if holds else None
    complete = summary == State.COMPLETE
    why = first.message if first else summary
    broken = next((hold for hold in holds if hold.reason in BROKEN), None)
    return (
        _condition(fleet, "Ready", complete, State.COMPLETE if complete else "NotComplete", summary),
        _condition(
            fleet,
            "Progressing",
            bool(flying),
            "Upgrading" if flying else (State.COMPLETE if complete else (first.reason if first else State.WAITING)),
            f"upgrading {', '.join(flying[:SAMPLE])} to {fleet.hop}" if flying else why,
        ),
        _degraded(fleet, failing, broken, views),
        *_foreign(fleet),
        *_risky(fleet),
    )


def _foreign(fleet: Fleet) -> tuple[Condition, ...]:
    """Shown only while another controller has to be reckoned with."""
    if not fleet.foreign_until:
        return ()
    message = f"another controller overwrites this status; nothing is started before {fleet.foreign_until:%H:%M:%S} UTC"
    return (_condition(fleet, FOREIGN, True, "StatusOverwritten", message),)


def _risky(fleet: Fleet) -> tuple[Condition, ...]:
    """Names the guards that the plan itself lifts, for as long as it does."""
    plan = fleet.seen.plan
    unsigned = [group.name for group in plan.groups if group.config.allow_unsigned_ostree_images]
    lifted = ["allowDowngrade"] * plan.allow_downgrade
    lifted += [f"allowUnsignedOstreeImages for {', '.join(unsigned)}"] * bool(unsigned)
    return (_condition(fleet, RISKY, True, "GuardsLifted", "; ".join(lifted)),) if lifted else ()


def _degraded(
    fleet: Fleet, failing: list[str], broken: HoldSummary | None, views: Mapping[str, GroupView]
) -> Condition:
    empty = [name for name, view in views.items() if not view.total]
    if failing:
        name = failing[0]
        claim = fleet.claims.get(name)
        reason = "Stalled" if claim and stalled(fleet.seen, claim) else "NodesFailed"
        return _condition(fleet, "Degraded", True, reason, f"{name}: {fleet.nodes[name].report.message}")
    if broken:
        return _condition(fleet, "Degraded", True, broken.reason, broken.message)
    if empty:
        return _condition(fleet, "Degraded", True, "EmptyGroup", _empty(fleet, empty[0]))
    return _condition(fleet, "Degraded", False, "AsExpected", "")


def _empty(fleet: Fleet, name: str) -> str:
    """Names the label that exists with another value, the usual reason for a group without nodes."""
    group: Group = next(group for group in fleet.seen.plan.groups if group.name == name)
    for need in group.selector.requirements:
        values = sorted({node.labels[need.key] for node in fleet.seen.nodes if need.key in node.labels})
        if need.values and values and not set(need.values) & set(values):
            shown = ", ".join(repr(value) for value in values[:SAMPLE])
            return f"group {name} matches no node: label {need.key} has value {shown}, not {need.values[0]!r}"
    return f"group {name} matches no node"


def _condition(fleet: Fleet, type: str, status: bool, reason: str, message: str) -> Condition:
    old = next((each for each in fleet.seen.plan.status.conditions if each.type == type), None)
    return Condition(
        type=type,
        status=status,
        reason=str(reason),
        message=message,
        observed_generation=fleet.seen.plan.generation,
        last_transition=old.last_transition if old and old.status == status else fleet.seen.now,
    )


def _remember(fleet: Fleet, status: PlanStatus) -> PlanStatus:
    """Add the upgrade that has just ended to the history. It ends with its last claim; it began as Ready ended."""
    old = fleet.seen.plan.status
    if status.summary != State.COMPLETE or not old.claims:
        return status
    began = next((c.last_transition for c in old.conditions if c.type == "Ready"), fleet.seen.now)
    run = Run(
        version=fleet.path.target,
        started=began,
        finished=fleet.seen.now,
        result=status.summary,
        nodes=status.nodes.total,
    )
    return replace(status, history=(*status.history, run)[-MAX_HISTORY:])
