"""A KubeUpgradePlan as the user meant it, after validation."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo

from kube_upgrade.model.labels import Selector
from kube_upgrade.model.node_config import NodeConfig
from kube_upgrade.model.status import PlanStatus
from kube_upgrade.model.version import KubeVersion


@dataclass(frozen=True, slots=True)
class Percent:
    """A share of a group, in whole percent."""

    value: int


Budget = int | Percent


def nodes_allowed(budget: Budget, of: int) -> int:
    """How many of a group's nodes may be out of service: rounded down, at least 1."""
    if isinstance(budget, Percent):
        return max(1, of * budget.value // 100)
    return max(1, budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """New nodes may start from each moment of the cron `schedule` in `zone` on, for `duration`."""

    schedule: str
    duration: timedelta
    zone: tzinfo
    zone_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """No node starts in [since, until)."""

    since: datetime
    until: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Some nodes of the cluster and the pace at which they are upgraded."""

    name: str
    selector: Selector
    depends_on: tuple[str, ...] = ()
    max_unavailable: Budget = 1
    max_failures: int = 1
    soak: timedelta = timedelta(0)
    paused: bool = False
    config: NodeConfig = field(default_factory=NodeConfig)  # the group's values over the plan's


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What shall become of the cluster, and the status last written about it."""

    name: str
    uid: str
    resource_version: str
    generation: int
    created: datetime
    version: KubeVersion
    groups: tuple[Group, ...]
    status: PlanStatus = field(default_factory=PlanStatus)
    via: tuple[KubeVersion, ...] = ()
    workers_skip_hops: bool = False
    allow_downgrade: bool = False
    paused: bool = False
    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    progress_deadline: timedelta = timedelta(minutes=45)
    deleted: bool = False
    problems: tuple[str, ...] = ()  # settings that only we can check and that are wrong: no node starts
