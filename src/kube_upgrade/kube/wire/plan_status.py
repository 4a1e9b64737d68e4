"""`status` of a KubeUpgradePlan ↔ model.PlanStatus. What this version does not know is left aside."""

from typing import Any

import msgspec
from msgspec import UNSET

from kube_upgrade.kube.wire import schema
from kube_upgrade.kube.wire.node import version_or_none
from kube_upgrade.model.status import (
    Claim,
    Condition,
    Duration,
    HoldSummary,
    NodeCounts,
    PlanStatus,
    Reason,
    Run,
    VersionStatus,
)
from kube_upgrade.model.version import KubeVersion

UNKNOWN_VERSION = KubeVersion(0, 0, 0)  # stands where a version does not parse: no node is ever at it


def to_status(wire: schema.PlanStatusBody) -> PlanStatus:
    """The model's value of a status. A claim always counts, even at a version that does not parse."""
    return PlanStatus(
        summary=wire.summary,
        groups=wire.groups,
        observed_generation=wire.observed_generation,
        conditions=tuple(_read_condition(condition) for condition in wire.conditions),
        version=_read_version(wire.version) if isinstance(wire.version, schema.VersionBody) else None,
        nodes=NodeCounts(**msgspec.structs.asdict(wire.nodes)),
        claims=tuple(_read_claim(claim) for claim in wire.claims),
        durations={name: Duration(count=d.count, p50=d.p50, p90=d.p90) for name, d in wire.durations.items()},
        holds=tuple(_read_hold(hold) for hold in wire.holds if hold.reason in tuple(Reason)),
        history=tuple(_read_run(run) for run in wire.history),
    )


def _read_condition(wire: schema.ConditionBody) -> Condition:
    return Condition(
        type=wire.type,
        status=wire.status == "True",
        reason=wire.reason,
        message=wire.message,
        observed_generation=wire.observed_generation,
        last_transition=wire.last_transition_time,
    )


def _read_version(wire: schema.VersionBody) -> VersionStatus:
    return VersionStatus(
        start=version_or_none(wire.start),
        target=version_or_none(wire.target) or UNKNOWN_VERSION,
        hop=wire.hop,
        hops=wire.hops,
    )


def _read_claim(wire: schema.ClaimBody) -> Claim:
    return Claim(
        node=wire.node,
        uid=wire.uid,
        group=wire.group,
        version=version_or_none(wire.version) or UNKNOWN_VERSION,
        since=wire.since,
        started_at=wire.started_at,
        proven_at=wire.proven_at,
        untimed=wire.untimed,
    )


def _read_hold(wire: schema.HoldBody) -> HoldSummary:
    return HoldSummary(reason=Reason(wire.reason), message=wire.message, nodes=wire.nodes, sample=tuple(wire.sample))


def _read_run(wire: schema.RunBody) -> Run:
    return Run(
        version=version_or_none(wire.version) or UNKNOWN_VERSION,
        started=wire.started,
        finished=wire.finished,
        result=wire.result,
        nodes=wire.nodes,
    )


def status_body(status: PlanStatus) -> dict[str, Any]:
    """The status as it goes on the wire. All fields are written, so that nothing old stays."""
    body = schema.PlanStatusBody(
        summary=status.summary,
        groups=dict(status.groups),
        observed_generation=status.observed_generation,
        conditions=[_write_condition(condition) for condition in status.conditions],
        version=_write_version(status.version) if status.version else UNSET,
        nodes=_write_nodes(status.nodes),
        claims=[_write_claim(claim) for claim in status.claims],
        durations={n: schema.DurationBody(count=d.count, p50=d.p50, p90=d.p90) for n, d in status.durations.items()},
        holds=[_write_hold(hold) for hold in status.holds],
        history=[_write_run(run) for run in status.history],
    )
    written: dict[str, Any] = msgspec.to_builtins(body)
    return written


def _write_condition(condition: Condition) -> schema.ConditionBody:
    return schema.ConditionBody(
        type=condition.type,
        status="True" if condition.status else "False",
        reason=condition.reason,
        message=condition.message,
        observed_generation=condition.observed_generation,
        last_transition_time=condition.last_transition,
    )


def _write_version(version: VersionStatus) -> schema.VersionBody:
    start = str(version.start) if version.start else ""
    return schema.VersionBody(start=start, target=str(version.target), hop=version.hop, hops=version.hops)


def _write_nodes(nodes: NodeCounts) -> schema.NodesBody:
    return schema.NodesBody(
        total=nodes.total,
        completed=nodes.completed,
        in_flight=nodes.in_flight,
        failed=nodes.failed,
        waiting=nodes.waiting,
    )


def _write_claim(claim: Claim) -> schema.ClaimBody:
    return schema.ClaimBody(
        node=claim.node,
        uid=claim.uid,
        group=claim.group,
        version=str(claim.version),
        since=claim.since,
        started_at=claim.started_at,
        proven_at=claim.proven_at,
        untimed=claim.untimed,
    )


def _write_hold(hold: HoldSummary) -> schema.HoldBody:
    return schema.HoldBody(reason=hold.reason, message=hold.message, nodes=hold.nodes, sample=list(hold.sample))


def _write_run(run: Run) -> schema.RunBody:
    return schema.RunBody(
        version=str(run.version),
        started=run.started,
        finished=run.finished,
        result=run.result,
        nodes=run.nodes,
    )
