"""Settings of the lock server: the file of heathcliff26/fleetlock is read as it is, with our keys beside its own.

Keys of that file: domain 1.4. What it knows and we do not yet (other stores, TLS) is refused by name rather than
ignored; what has no meaning here (its drain time-out) is named in `ignored`, which main logs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

from kube_upgrade.core.eviction import DrainPolicy
from kube_upgrade.core.fleetlock.protocol import valid_group
from kube_upgrade.model.node_config import LOG_LEVELS

DEFAULT_NAMESPACE = "kube-upgrade"
LONGEST_HOLD = 600.0
STORES = ("kubernetes",)
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_NO_MEANING = ("drainTimeoutSeconds", "drainRetries")


class BadSettings(ValueError):
    """The file can't be used. The text names the field, its value and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """One lock group."""

    slots: int = 1
    policy: DrainPolicy = field(default_factory=DrainPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a replica needs to know. `host` is empty for all addresses, `kubeconfig` None inside a cluster."""

    log_level: str = "info"
    host: str = ""
    port: int = 8080
    namespace: str = DEFAULT_NAMESPACE
    kubeconfig: Path | None = None
    hold_seconds: float = 50.0
    groups: Mapping[str, GroupSettings] = field(default_factory=lambda: {"default": GroupSettings()})
    ignored: tuple[str, ...] = ()


class _Camel(msgspec.Struct, rename="camel", frozen=True):
    """Keys in the file are camelCase; keys that it does not know are let through."""


class _Ssl(_Camel, frozen=True):
    enabled: bool = False


class _Server(_Camel, frozen=True):
    listen: str = ":8080"
    ssl: _Ssl = _Ssl()


class _KubernetesStore(_Camel, frozen=True):
    namespace: str = ""


class _Storage(_Camel, frozen=True):
    type: str = "kubernetes"
    kubernetes: _KubernetesStore = _KubernetesStore()


class _Drain(_Camel, frozen=True):
    bare_pods: bool = True
    empty_dir: bool = True
    no_other_node: bool = True


class _Group(_Camel, frozen=True):
    slots: int = 1
    drain: _Drain = _Drain()


class _File(_Camel, frozen=True):
    log_level: str = "info"
    server: _Server = _Server()
    storage: _Storage = _Storage()
    groups: dict[str, _Group] = msgspec.field(default_factory=lambda: {"default": _Group()})
    kubernetes: dict[str, Any] = {}
    hold_seconds: float = 50.0
    namespace: str = ""


def load(path: Path | None) -> Settings:
    """Read the file; None: the defaults. Raises BadSettings."""
    if path is None:
        return parse("", own_namespace=_own_namespace())
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path}: {error}") from None
    return parse(text, own_namespace=_own_namespace())


def parse(text: str, *, own_namespace: str = DEFAULT_NAMESPACE) -> Settings:
    """Settings from YAML; `own_namespace` is used where the file names none. Raises BadSettings."""
    try:
        file = msgspec.convert(yaml.safe_load(text) or {}, _File)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise BadSettings(f"config: {error}") from None
    _check(file)
    host, port = read_listen(file.server.listen)
    kubeconfig = str(file.kubernetes.get("kubeconfig") or "")
    return Settings(
        log_level=file.log_level,
        host=host,
        port=port,
        namespace=file.namespace or file.storage.kubernetes.namespace or own_namespace,
        kubeconfig=Path(kubeconfig) if kubeconfig else None,
        hold_seconds=file.hold_seconds,
        groups={name: _group(group) for name, group in file.groups.items()},
        ignored=tuple(f"kubernetes.{key}" for key in _NO_MEANING if key in file.kubernetes),
    )


def read_listen(text: str) -> tuple[str, int]:
    """Host and port of `:8080`, `127.0.0.1:8080` or `[::1]:8080`; no host is every address. Raises BadSettings."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise BadSettings(f"server.listen: {text!r} must be like :8080 or 127.0.0.1:8080")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _check(file: _File) -> None:
    if file.log_level not in LOG_LEVELS:
        raise BadSettings(f"logLevel: {file.log_level!r} is none of {', '.join(LOG_LEVELS)}")
    if file.storage.type not in STORES:
        raise BadSettings(f"storage.type: {file.storage.type!r} is not supported; supported: {', '.join(STORES)}")
    if file.server.ssl.enabled:
        raise BadSettings("server.ssl.enabled: true is not supported yet; terminate TLS before the server")
    if not 0 <= file.hold_seconds <= LONGEST_HOLD:
        raise BadSettings(f"holdSeconds: {file.hold_seconds:g} must be 0 to {LONGEST_HOLD:g}")
    if not file.groups:
        raise BadSettings("groups: at least one group is needed")
    for name, group in file.groups.items():
        if not valid_group(name):
            raise BadSettings(f"groups: {name!r} may only have letters, digits, dots and hyphens")
        if group.slots < 1:
            raise BadSettings(f"groups.{name}.slots: {group.slots} must be at least 1")


def _group(group: _Group) -> GroupSettings:
    drain = group.drain
    policy = DrainPolicy(bare_pods=drain.bare_pods, empty_dir=drain.empty_dir, no_other_node=drain.no_other_node)
    return GroupSettings(slots=group.slots, policy=policy)


def _own_namespace() -> str:
    """The namespace of the pod that we run in; the usual one elsewhere."""
    try:
        return _NAMESPACE_FILE.read_text().strip() or DEFAULT_NAMESPACE
    except OSError:
        return DEFAULT_NAMESPACE
