"""What users read about a plan: upstream's words, conditions, claims and the reasons to wait."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from kube_upgrade.model.version import KubeVersion

MAX_CLAIMS = 1_000  # open per plan: each costs the API server a tenth of a millisecond whenever the status is written


class Reason(StrEnum):
    """Why a node waits. The order is the order in which the gates ask."""

    FOREIGN_CONTROLLER = "ForeignController"
    ANOTHER_PLAN_ACTIVE = "AnotherPlanActive"
    PLAN_DELETED = "PlanDeleted"
    PAUSED = "Paused"
    NODE_HOLD = "NodeHold"
    GROUP_CONFLICT = "GroupConflict"
    INVALID_SETTING = "InvalidSetting"
    UNMANAGED_CONTROL_PLANE = "UnmanagedControlPlane"
    ORDER_WITHDRAWN = "OrderWithdrawn"
    VERSION_UNKNOWN = "VersionUnknown"
    DOWNGRADE_REFUSED = "DowngradeRefused"
    MINOR_SKIPPED = "MinorSkipped"
    KUBELET_TOO_OLD = "KubeletTooOld"
    OUTSIDE_WINDOW = "OutsideWindow"
    FREEZE = "Freeze"
    API_UNHEALTHY = "ApiUnhealthy"
    CONTROL_PLANE_FIRST = "ControlPlaneFirst"
    QUORUM_AT_RISK = "QuorumAtRisk"
    DEPENDENCY = "Dependency"
    TOO_MANY_FAILURES = "TooManyFailures"
    SOAKING = "Soaking"
    NODE_NOT_READY = "NodeNotReady"
    NOT_PROVEN = "NotProven"
    BUDGET = "Budget"
    LOCK_BUSY = "LockBusy"
    DRAIN_BLOCKED = "DrainBlocked"
    STALLED = "Stalled"
    PATCH_REFUSED = "PatchRefused"


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason to wait, in a word and in a sentence."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldSummary:
    """How many nodes wait for one reason, with up to three names as a sample."""

    reason: Reason
    message: str
    nodes: int
    sample: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One node counted in the plan's budget, from before its order until it is proven and has soaked.

    A claim belongs to a Node object: a node re-created under the same name has another uid. `started_at` is when the
    node was first seen past the lock and the drain: the progress deadline counts from there. `untimed` is true once its
    time says nothing about other nodes': it failed, fell ill in its soak, took too long, was not seen to begin or goes
    the way again. Its proof is looked at again before it ends the claim: it may be that of an earlier order.
    """

    node: str
    uid: str
    group: str
    version: KubeVersion
    since: datetime
    started_at: datetime | None = None
    proven_at: datetime | None = None
    untimed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """metav1.Condition: `last_transition` changes only when `status` does."""

    type: str
    status: bool
    reason: str
    message: str
    observed_generation: int
    last_transition: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionStatus:
    """Where the cluster stands on its way: hop k of n."""

    start: KubeVersion | None  # "from" in the API
    target: KubeVersion
    hop: int
    hops: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCounts:
    """Every node of the plan is in exactly one of the last four."""

    total: int = 0
    completed: int = 0
    in_flight: int = 0
    failed: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """Learned seconds from kubeadm's start to proven, per group."""

    count: int
    p50: float
    p90: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One finished upgrade of the history."""

    version: KubeVersion
    started: datetime
    finished: datetime
    result: str
    nodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStatus:
    """`status` of a plan. An empty one is a plan nobody has looked at."""

    summary: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    version: VersionStatus | None = None
    nodes: NodeCounts = field(default_factory=NodeCounts)
    claims: tuple[Claim, ...] = ()
    durations: Mapping[str, Duration] = field(default_factory=dict)
    holds: tuple[HoldSummary, ...] = ()
    history: tuple[Run, ...] = ()
