"""Everything the rollout may ask for. Each is idempotent and guarded by what it was decided on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from kube_upgrade.model.node import KubeadmRole, Node
from kube_upgrade.model.status import Claim, Hold, PlanStatus
from kube_upgrade.model.version import KubeVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishStatus:
    """Replace the plan's status, which also claims and releases nodes: compare-and-swap on its resourceVersion.

    Valid only while the Nodes that it adopts, or releases by a proof that may be an earlier order's, are at the work
    they were seen at, and those whose claims end because they are not there, (name, uid) of each, are not there.
    """

    status: PlanStatus
    adopts: tuple[Node, ...] = ()
    gone: tuple[tuple[str, str], ...] = ()


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
    """Write what the node lacks of its group's settings. None and empty leave a field as it is."""

    node: str
    resource_version: str
    config: Mapping[str, str | None]
    os_updates: datetime | Literal["no"] | None = None  # until when an OS-only update may take the lock
    stage: KubeVersion | None = None  # to be fetched now, in service
    unstage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetNode:
    """Take away everything that a controller wrote. `config` names the settings that are there."""

    node: str
    resource_version: str
    config: tuple[str, ...]


NodeAction = OrderNode | WithdrawOrder | ConfigureNode | ForgetNode
Action = PublishStatus | NodeAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now, why the others wait, and when to look again if nothing happens before."""

    actions: tuple[Action, ...]
    status: PlanStatus
    holds: Mapping[str, Hold]
    hop: KubeVersion | None
    wake_at: datetime | None
