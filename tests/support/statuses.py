"""A status in which every field says something."""

from datetime import UTC, datetime, timedelta

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

NOW = datetime(2026, 11, 24, 2, 0, 0, 125000, tzinfo=UTC)
FROM, TO = KubeVersion(1, 36, 3), KubeVersion(1, 37, 2)

FULL = PlanStatus(
    summary="Progressing: Upgrading groups [compute]",
    groups={"control-plane": "Complete", "compute": "Progressing: 1/4 nodes upgraded"},
    observed_generation=3,
    conditions=(
        Condition(
            type="Degraded",
            status=True,
            reason="NodesFailed",
            message="w4 reports an error",
            observed_generation=3,
            last_transition=NOW,
        ),
        Condition(
            type="Ready",
            status=False,
            reason="Progressing",
            message="1 of 5 nodes are done",
            observed_generation=3,
            last_transition=NOW - timedelta(minutes=5),
        ),
    ),
    version=VersionStatus(start=FROM, target=TO, hop=1, hops=1),
    nodes=NodeCounts(total=5, completed=1, in_flight=2, failed=1, waiting=1),
    claims=(
        Claim(node="w1", uid="u-1", group="compute", version=TO, since=NOW - timedelta(minutes=9), proven_at=NOW),
        Claim(node="w1", uid="u-2", group="compute", version=TO, since=NOW),
    ),
    durations={"compute": Duration(count=2, p50=181.5, p90=240.0)},
    holds=(
        HoldSummary(
            reason=Reason.BUDGET, message="2 of at most 2 nodes of compute are out of service", nodes=1, sample=("w3",)
        ),
    ),
    history=(
        Run(
            version=FROM,
            started=NOW - timedelta(days=30),
            finished=NOW - timedelta(days=29),
            result="Complete",
            nodes=5,
        ),
    ),
)
