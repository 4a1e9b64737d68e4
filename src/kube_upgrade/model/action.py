"""Everything the rollout may ask for. Each is idempotent and guarded by what it was decided on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from kube_upgrade.model.node import KubeadmRole
from kube_upgrade.model.status import Claim, Hold, PlanStatus
from kube_upgrade.model.version import KubeVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishStatus:
    """Replace the plan's status, which also claims and releases nodes: compare-and-swap on its resourceVersion."""

    status: PlanStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderNode:
    """Tell a claimed node to upgrade. Valid only while `claim` stands in the plan and the node is unchanged."""

    node: str
    resource_version: str
    claim: Claim
    kubeadm: KubeadmRole
    start_before: datetime | None
    config: Mapping[str, str | None]  # changes of config.* annotations; None removes a key


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawOrder:
    """Take an order back, and fence the order that a paused leader may still be about to write (ADR 2)."""

    node: str
    resource_version: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureNode:
    """Write the merged settings of the node's group."""

    node: str
    resource_version: str
    config: Mapping[str, str | None]


Action = PublishStatus | OrderNode | WithdrawOrder | ConfigureNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now, why the others wait, and when to look again if nothing happens before."""

    actions: tuple[Action, ...]
    status: PlanStatus
    holds: Mapping[str, Hold]
    hop: KubeVersion | None
    wake_at: datetime | None
