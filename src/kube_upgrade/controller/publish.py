"""A decision in logs, metrics and Events: the same values that the status shows."""

from collections.abc import Callable, Mapping

from kube_upgrade.controller.announce import announcements
from kube_upgrade.kube.wire.event import Announcement
from kube_upgrade.model.action import Decision
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import Claim, Hold
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import CLAIMS, HOLDS, NODES

log = logs.logger("rollout")


class Publisher:
    """Logs what is new since the decision before, and keeps the gauges."""

    def __init__(self, announce: Callable[[Announcement], None]) -> None:
        self._announce = announce
        self._holds: dict[str, Mapping[str, Hold]] = {}

    def publish(self, seen: ClusterSnapshot, decision: Decision) -> None:
        """Say it once."""
        plan = seen.plan.name
        self._log_claims(plan, seen.plan.status.claims, decision.status.claims)
        self._log_holds(plan, decision.holds)
        if decision.status.summary != seen.plan.status.summary:
            log.info("plan", plan=plan, summary=decision.status.summary)
        for said in announcements(seen, decision):
            self._announce(said)
        _set_gauges(plan, seen, decision)

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


def _set_gauges(plan: str, seen: ClusterSnapshot, decision: Decision) -> None:
    status = decision.status
    counts = {"completed": status.nodes.completed, "in_flight": status.nodes.in_flight}
    counts |= {"failed": status.nodes.failed, "waiting": status.nodes.waiting}
    for state, number in counts.items():
        NODES.labels(plan, state).set(number)
    CLAIMS.remove_by_labels({"plan": plan})
    for group in seen.plan.groups:
        CLAIMS.labels(plan, group.name).set(sum(claim.group == group.name for claim in status.claims))
    HOLDS.remove_by_labels({"plan": plan})
    for hold in status.holds:
        HOLDS.labels(plan, hold.reason).inc(hold.nodes)
