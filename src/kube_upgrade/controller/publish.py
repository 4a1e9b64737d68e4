"""A decision in logs, metrics and Events: the same values that the status shows."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from kube_upgrade.controller.announce import OnNode, of_actions, of_status
from kube_upgrade.core.rollout.fleet import selecting
from kube_upgrade.kube.wire.event import Announcement
from kube_upgrade.model.action import Decision, NodeAction
from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Group
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import Claim, Hold
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import CLAIMS, HOLDS, NODE_SECONDS, NODES, OLDEST_CLAIM, STATES

log = logs.logger("rollout")


class Publisher:
    """Logs what is new since the decision before, and keeps the gauges.

    `nodes` are those of this moment: a daemon's phase changes without any decision about it.
    """

    def __init__(self, announce: Callable[[Announcement], None], nodes: Callable[[], Iterable[Node]]) -> None:
        self._announce = announce
        self._nodes = nodes
        self._holds: dict[str, Mapping[str, Hold]] = {}
        self._last: dict[str, tuple[ClusterSnapshot, Decision]] = {}
        self._failures: dict[str, set[Announcement]] = {}  # those that still stand were told

    def publish(self, seen: ClusterSnapshot, decision: Decision) -> None:
        """Say it once."""
        plan = seen.plan.name
        self._log_claims(plan, seen.plan.status.claims, decision.status.claims)
        self._log_holds(plan, decision.holds)
        if decision.status.summary != seen.plan.status.summary:
            log.info("plan", plan=plan, summary=decision.status.summary)
        failures = set[Announcement]()
        for said in of_status(seen, decision):
            if said.reason == OnNode.FAILED:
                failures.add(said)
            if said.reason != OnNode.FAILED or said not in self._failures.get(plan, ()):
                self._announce(said)
        self._failures[plan] = failures
        self._last[plan] = (seen, decision)

    def tell(self, seen: ClusterSnapshot, written: Sequence[NodeAction]) -> None:
        """What was written on nodes."""
        for said in of_actions(seen, written):
            self._announce(said)

    def refresh(self) -> None:
        """Set the gauges to the last decision about each plan, and the phases to what the daemons say now: when
        somebody asks, not at each turn."""
        for gauge in (NODES, STATES, CLAIMS, HOLDS, OLDEST_CLAIM, NODE_SECONDS):
            gauge.clear()
        for seen, decision in self._last.values():
            _set_gauges(seen.plan.name, decision)
            for (group, phase), number in _phases(seen.plan.groups, self._nodes()).items():
                NODES.labels(seen.plan.name, group, phase).set(number)

    def forget(self, plans: Iterable[str] = ()) -> None:
        """Only these plans are left; none of them once this replica leads no longer."""
        self._last = {plan: self._last[plan] for plan in plans if plan in self._last}
        self._holds = {plan: self._holds[plan] for plan in plans if plan in self._holds}
        self._failures = {plan: self._failures[plan] for plan in plans if plan in self._failures}

    def _log_claims(self, plan: str, old: tuple[Claim, ...], new: tuple[Claim, ...]) -> None:
        before, after = {claim.node for claim in old}, {claim.node for claim in new}
        for node in sorted(after - before):
            log.info("claiming", plan=plan, node=node)
        for node in sorted(before - after):
            log.info("releasing the claim", plan=plan, node=node)

    def _log_holds(self, plan: str, holds: Mapping[str, Hold]) -> None:
        known = self._holds.get(plan, {})
        for node, hold in holds.items():
            if (before := known.get(node)) is None or before.reason is not hold.reason:
                log.info("waiting", plan=plan, node=node, reason=str(hold.reason), message=hold.message)
        self._holds[plan] = holds


def _set_gauges(plan: str, decision: Decision) -> None:
    """Of all holds, not only of those for which the status has room."""
    status, counts = decision.status, decision.status.nodes
    for state in ("completed", "in_flight", "failed", "waiting"):
        STATES.labels(plan, state).set(getattr(counts, state))
    for group, number in Counter(claim.group for claim in status.claims).items():
        CLAIMS.labels(plan, group).set(number)
    for reason, number in Counter(hold.reason for hold in decision.holds.values()).items():
        HOLDS.labels(plan, reason).set(number)
    if status.claims:
        OLDEST_CLAIM.labels(plan).set(min(claim.since for claim in status.claims).timestamp())
    for group, known in status.durations.items():
        NODE_SECONDS.labels(plan, group, "0.5").set(known.p50)
        NODE_SECONDS.labels(plan, group, "0.9").set(known.p90)


def _phases(groups: tuple[Group, ...], nodes: Iterable[Node]) -> Counter[tuple[str, str]]:
    """How many nodes of each group are in which phase, by their daemons' words."""
    return Counter((group.name, node.report.phase or "unknown") for node in nodes for group in selecting(groups, node))
