"""KubeUpgradePlan object → model.Plan, and the body that writes its status.

Reading never fails on a decoded object: what the API server's rules cannot see, or let pass before they existed,
becomes a sentence in `Plan.problems`, and a plan with problems starts no node.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from kube_upgrade.kube.paths import PLAN_GROUP, PLAN_VERSION
from kube_upgrade.kube.wire import schema
from kube_upgrade.kube.wire.node import version_or_none
from kube_upgrade.kube.wire.plan_status import UNKNOWN_VERSION, status_body, to_status
from kube_upgrade.kube.wire.rules import LONGEST_WINDOW
from kube_upgrade.model.labels import Operator, Requirement, Selector
from kube_upgrade.model.moment import time_or_none
from kube_upgrade.model.node_config import BadValue, NodeConfig, parse_duration, read_config
from kube_upgrade.model.plan import Budget, Freeze, Group, Percent, Plan, Window
from kube_upgrade.model.status import PlanStatus
from kube_upgrade.model.version import KubeVersion

ONE_NODE: Budget = 1
_LEAP_YEAR = datetime(2024, 1, 1, tzinfo=UTC)  # where the search for a schedule's first moment begins
Value = TypeVar("Value")


class BadPlan(ValueError):
    """One field of a plan that means nothing. The text names field, value and what would be right."""

    def __init__(self, field: str, value: object, right: str) -> None:
        super().__init__(f"{field}: {value!r} {right}")
        self.field, self.value, self.right = field, value, right


class _Reader:
    """Collects what is wrong while it reads on."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def read(self, fallback: Value, parse: Callable[..., Value], *args: object) -> Value:
        """What `parse` makes of the arguments, or the fallback and one more problem."""
        try:
            return parse(*args)
        except BadPlan as bad:
            self.problems.append(str(bad))
            return fallback


def to_plan(wire: schema.PlanObject) -> Plan:
    """The model's value of a KubeUpgradePlan. `problems` says what is wrong with it."""
    meta, spec, reader = wire.metadata, wire.spec, _Reader()
    base = _config(reader, "spec.upgraded", spec.upgraded)
    plan = Plan(
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        generation=meta.generation,
        created=meta.creation_timestamp or datetime.min.replace(tzinfo=UTC),
        version=reader.read(UNKNOWN_VERSION, _version, "spec.kubernetesVersion", spec.kubernetes_version),
        groups=tuple(_group(reader, name, group, base) for name, group in sorted(spec.groups.items())),
        status=to_status(wire.status),
        via=_each(reader, "spec.via", spec.via, _version),
        workers_skip_hops=spec.workers_skip_hops,
        allow_downgrade=spec.allow_downgrade,
        paused=spec.paused,
        windows=_each(reader, "spec.windows", spec.windows, _window),
        freezes=_each(reader, "spec.freezes", spec.freezes, _freeze),
        progress_deadline=reader.read(
            timedelta(minutes=45), _positive, "spec.progressDeadline", spec.progress_deadline
        ),
        deleted=meta.deletion_timestamp is not None,
    )
    return replace(plan, problems=tuple(reader.problems))


def _config(reader: _Reader, at: str, raw: Mapping[str, Any]) -> NodeConfig:
    """The settings that parse; each other one is a problem of its own."""
    found = NodeConfig()
    for key, value in raw.items():
        found = reader.read(NodeConfig(), _setting, at, key, value).over(found)
    return found


def _setting(at: str, key: str, value: object) -> NodeConfig:
    try:
        return read_config({key: value})
    except BadValue as bad:
        raise BadPlan(f"{at}.{key}", value, str(bad).removeprefix(f"{key}: {value!r} ")) from None


def _group(reader: _Reader, name: str, wire: schema.GroupSpec, base: NodeConfig) -> Group:
    at = f"spec.groups.{name}"
    config = _config(reader, f"{at}.upgraded", wire.upgraded or {}).over(base)
    reader.read(None, _has_lock_server, f"{at}.upgraded.fleetlockUrl", config.fleetlock_url)
    return Group(
        name=name,
        selector=_selector(reader, at, wire),
        depends_on=tuple(wire.depends_on),
        max_unavailable=reader.read(ONE_NODE, _budget, f"{at}.maxUnavailable", wire.max_unavailable),
        max_failures=max(1, wire.max_failures),
        soak=reader.read(timedelta(0), _duration, f"{at}.soak", wire.soak),
        paused=wire.paused,
        config=config,
    )


def _has_lock_server(at: str, url: str | None) -> None:
    if not url:
        raise BadPlan(at, url, "must be set here or in spec.upgraded, such as http://fleetlock.example.com:8080")


def _selector(reader: _Reader, at: str, wire: schema.GroupSpec) -> Selector:
    """Labels and selector together: the API server lets only one of them through."""
    chosen = wire.selector or schema.SelectorSpec()
    same = [Requirement(key, Operator.IN, (value,)) for key, value in (wire.labels | chosen.match_labels).items()]
    more = _each(reader, f"{at}.selector.matchExpressions", chosen.match_expressions, _requirement)
    return Selector((*same, *more))


def _requirement(at: str, wire: schema.Expression) -> Requirement:
    if wire.operator not in tuple(Operator):
        raise BadPlan(f"{at}.operator", wire.operator, f"is none of {', '.join(Operator)}")
    return Requirement(wire.key, Operator(wire.operator), tuple(wire.values))


def _each(reader: _Reader, at: str, items: Iterable[object], parse: Callable[[str, Any], Value]) -> tuple[Value, ...]:
    """Every item that parses, in order."""
    read = (reader.read(None, parse, f"{at}[{index}]", item) for index, item in enumerate(items))
    return tuple(value for value in read if value is not None)


def _version(at: str, text: str) -> KubeVersion:
    version = version_or_none(text)
    if version is None:
        raise BadPlan(at, text, "is not a full version such as v1.37.2")
    return version


def _duration(at: str, text: str) -> timedelta:
    try:
        return parse_duration(text)
    except BadValue as bad:
        raise BadPlan(at, text, str(bad).removeprefix(f"{text!r} ")) from None


def _positive(at: str, text: str) -> timedelta:
    duration = _duration(at, text)
    if duration <= timedelta(0):
        raise BadPlan(at, text, "must be longer than 0s")
    return duration


def _budget(at: str, raw: int | str) -> Budget:
    if isinstance(raw, int):
        if raw >= 1:
            return raw
    elif raw.endswith("%") and raw[:-1].isdecimal() and 1 <= int(raw[:-1]) <= 100:
        return Percent(int(raw[:-1]))
    raise BadPlan(at, raw, "is neither a number from 1 on nor a share from 1% to 100%")


def _window(at: str, wire: schema.WindowSpec) -> Window:
    return Window(
        schedule=_schedule(f"{at}.schedule", wire.schedule),
        duration=_open_for(f"{at}.duration", wire.duration),
        zone=_zone(f"{at}.timeZone", wire.time_zone),
        zone_name=wire.time_zone,
    )


def _open_for(at: str, text: str) -> timedelta:
    duration = _positive(at, text)
    if duration > LONGEST_WINDOW:
        raise BadPlan(at, text, "must be 744h (31 days) at most: a plan that may always upgrade has no windows")
    return duration


def _schedule(at: str, text: str) -> str:
    try:
        if len(text.split()) == 5 and next(CronSim(text, _LEAP_YEAR), None):
            return text
    except CronSimError as bad:
        raise BadPlan(at, text, f"is not a cron expression such as 0 2 * * SAT: {bad}") from None
    raise BadPlan(at, text, "is not a cron expression of five fields that ever comes, such as 0 2 * * SAT")


def _zone(at: str, name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise BadPlan(at, name, "is not an IANA time zone such as Europe/Berlin or UTC") from None


def _freeze(at: str, wire: schema.FreezeSpec) -> Freeze:
    since, until = _moment(f"{at}.from", wire.since), _moment(f"{at}.until", wire.until)
    if since >= until:
        raise BadPlan(f"{at}.until", wire.until, f"must be later than from ({wire.since})")
    return Freeze(since=since, until=until, reason=wire.reason)


def _moment(at: str, text: str) -> datetime:
    moment = time_or_none(text.upper())
    if moment is None:
        raise BadPlan(at, text, "is not a moment with zone, before the year 9000, such as 2026-12-20T00:00:00Z")
    return moment


def status_object(plan: Plan, status: PlanStatus) -> dict[str, Any]:
    """Body of the PUT on /status: refused with a Conflict where the plan has changed since it was read."""
    return {
        "apiVersion": f"{PLAN_GROUP}/{PLAN_VERSION}",
        "kind": schema.KIND,
        "metadata": {"name": plan.name, "uid": plan.uid, "resourceVersion": plan.resource_version},
        "status": status_body(status),
    }
