"""The `upgraded` settings, each defined once: CRD, annotations and config.yaml all read this table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

_GO_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s))+", re.ASCII)
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)", re.ASCII)
LONGEST = timedelta(hours=8760)  # a year: longer than any wait that makes sense, and far from where dates end
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class BadValue(ValueError):
    """A setting's value is not what its field takes. The text names field, value and what would be right."""


@dataclass(frozen=True, slots=True)
class Field:
    """One setting: its name in every place, its type and its default."""

    name: str  # in Python
    camel: str  # in the plan
    kebab: str  # in annotations and config.yaml of the 0.2-0.5 era
    kind: type  # str, bool or timedelta
    default: str | bool | timedelta | None
    doc: str


FIELDS: tuple[Field, ...] = (
    Field("stream", "stream", "stream", str, "ghcr.io/heathcliff26/fcos-k8s",
          "Image repository of the OS, without tag; the tag is the Kubernetes version."),
    Field("fleetlock_url", "fleetlockUrl", "fleetlock-url", str, None,
          "Base URL of the FleetLock server. Required in the plan's spec.upgraded."),
    Field("fleetlock_group", "fleetlockGroup", "fleetlock-group", str, "default",
          "FleetLock group whose slots these nodes take."),
    Field("check_interval", "checkInterval", "check-interval", timedelta, timedelta(hours=3),
          "How often to look for a new OS image of the running tag."),
    Field("retry_interval", "retryInterval", "retry-interval", timedelta, timedelta(minutes=1),
          "Shortest pause before a failed step is tried again."),
    Field("log_level", "logLevel", "log-level", str, "info", "debug, info, warn or error."),
    Field("kubelet_config", "kubeletConfig", "kubelet-config", str, "/etc/kubernetes/kubelet.conf",
          "Kubeconfig of the node's kubelet, as a path on the host."),
    Field("kubeadm_path", "kubeadmPath", "kubeadm-path", str, "",
          "kubeadm to use where the staged image has none that fits; empty for none."),
    Field("allow_unsigned_ostree_images", "allowUnsignedOstreeImages", "allow-unsigned-ostree-images", bool, False,
          "Stage images through ostree-unverified-registry."),
)  # fmt: skip
LOG_LEVELS = ("debug", "info", "warn", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """Settings of one node; None where nobody said anything (see `with_defaults`)."""

    stream: str | None = None
    fleetlock_url: str | None = None
    fleetlock_group: str | None = None
    check_interval: timedelta | None = None
    retry_interval: timedelta | None = None
    log_level: str | None = None
    kubelet_config: str | None = None
    kubeadm_path: str | None = None
    allow_unsigned_ostree_images: bool | None = None

    def over(self, base: "NodeConfig") -> "NodeConfig":
        """This config where it says something, the base elsewhere: field by field."""
        said = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return replace(base, **said)

    def with_defaults(self) -> "NodeConfig":
        """The same with every default filled in; `fleetlock_url` has none."""
        return self.over(read_config({f.name: f.default for f in FIELDS}))

    def to_annotations(self) -> dict[str, str]:
        """Kebab-case keys with text values, only of the fields that are set."""
        return {f.kebab: render(value) for f in FIELDS if (value := getattr(self, f.name)) is not None}


def read_config(raw: Mapping[str, Any]) -> NodeConfig:
    """Build a config from camelCase, kebab-case or snake_case keys. Unknown keys are ignored. Raises BadValue."""
    found: dict[str, Any] = {}
    for field in FIELDS:
        for key in (field.camel, field.kebab, field.name):
            if key in raw and raw[key] is not None:
                found[field.name] = read_value(field, raw[key])
    return NodeConfig(**found)


def read_value(field: Field, raw: object) -> str | bool | timedelta:
    """Turn a raw value (YAML scalar or annotation text) into the field's type. Raises BadValue."""
    if field.kind is timedelta and isinstance(raw, timedelta):
        return raw
    if field.kind is bool:
        if isinstance(raw, bool):
            return raw
        if raw in ("true", "false"):
            return raw == "true"
        raise BadValue(f"{field.camel}: {raw!r} is neither true nor false")
    text = _read_text(field, raw)
    return _read_duration(field, text) if field.kind is timedelta else text


def _read_text(field: Field, raw: object) -> str:
    if not isinstance(raw, str):
        raise BadValue(f"{field.camel}: {raw!r} is not text")
    if not raw.isprintable():
        raise BadValue(f"{field.camel}: {raw!r} holds what cannot be printed")
    if field.name == "log_level" and raw not in LOG_LEVELS:
        raise BadValue(f"{field.camel}: {raw!r} is none of {', '.join(LOG_LEVELS)}")
    return raw


def _read_duration(field: Field, text: str) -> timedelta:
    try:
        duration = parse_duration(text)
    except BadValue as bad:
        raise BadValue(f"{field.camel}: {bad}") from None
    if duration <= timedelta(0):
        raise BadValue(f"{field.camel}: {text!r} must be longer than 0s")
    return duration


def parse_duration(text: str) -> timedelta:
    """Read Go's duration form with h, m, s and ms, such as 1h30m, up to LONGEST. Raises BadValue."""
    if not _GO_DURATION.fullmatch(text):
        raise BadValue(f"{text!r} is not a duration like 90s, 5m or 1h30m")
    try:
        parts = (timedelta(seconds=float(n) * _SECONDS[unit]) for n, unit in _GO_PART.findall(text))
        duration = sum(parts, timedelta(0))
    except OverflowError:
        duration = timedelta.max
    if duration > LONGEST:
        raise BadValue(f"{text!r} must be {render_duration(LONGEST)} (a year) at most")
    return duration


def render_duration(value: timedelta) -> str:
    """Write Go's duration form, to the microsecond: 3h, 1m30s, 0s, 1.5s."""
    hours, rest = divmod(value, timedelta(hours=1))
    minutes, rest = divmod(rest, timedelta(minutes=1))
    seconds = f"{rest.seconds}.{rest.microseconds:06}".rstrip("0").removesuffix(".") if rest else ""
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", f"{seconds}s" if seconds else ""]
    return "".join(parts) or "0s"


def render(value: str | bool | timedelta) -> str:
    """Annotation text of a value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return render_duration(value) if isinstance(value, timedelta) else value
