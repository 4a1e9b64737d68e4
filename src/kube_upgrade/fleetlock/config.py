"""The config file: that of heathcliff26/fleetlock is read as it is, with our keys beside its own.

Keys of that file: domain 1.4. What it knows and we do not (its other stores) is refused by name rather than ignored;
what has no meaning here (its drain time-out) is named in `ignored`, which main logs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from kube_upgrade.core.eviction import DrainPolicy, Overdue
from kube_upgrade.core.fleetlock.protocol import valid_group
from kube_upgrade.fleetlock.settings import (
    DEFAULT_NAMESPACE,
    DEFAULT_STATE,
    BadSettings,
    GroupSettings,
    Postgres,
    Settings,
    StoreKind,
    Tls,
)
from kube_upgrade.model.node_config import LOG_LEVELS

LONGEST_HOLD = 600.0
MOST_WAITING = 10_000
PREFIX_CHARACTERS = 16  # at least: it stands for a password
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_NO_MEANING = ("drainTimeoutSeconds", "drainRetries")
_VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|([A-Za-z_][A-Za-z0-9_]*|[*#$@!?0-9-])|\{)")  # as Go's os.ExpandEnv
_TYPED = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
_PREFIX = re.compile(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*")
_REFUSED_STORES = {
    "memory": "its holders would be forgotten at a restart, which grants too much; use sqlite",
    "mysql": "use postgres, sqlite or kubernetes",
    "valkey": "use postgres, sqlite or kubernetes",
    "redis": "use postgres, sqlite or kubernetes",
    "etcd": "use kubernetes, which is kept in etcd, or postgres or sqlite",
    "mongodb": "use postgres, sqlite or kubernetes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the place says that we run in. `kubeconfig`: $KUBECONFIG names one."""

    in_pod: bool = False
    kubeconfig: bool = False
    namespace: str = DEFAULT_NAMESPACE
    state: Path = DEFAULT_STATE

    @classmethod
    def look(cls, environ: Mapping[str, str]) -> "Surroundings":
        """The pod's service account and the environment, as they are now."""
        try:
            namespace = _NAMESPACE_FILE.read_text().strip()
        except OSError:
            namespace = ""
        return cls(
            in_pod=bool(namespace),
            kubeconfig=bool(environ.get("KUBECONFIG")),
            namespace=namespace or DEFAULT_NAMESPACE,
            state=Path(environ.get("STATE_DIRECTORY") or DEFAULT_STATE),
        )


class _Camel(msgspec.Struct, rename="camel", frozen=True):
    """Keys in the file are camelCase; keys that it does not know are let through."""


class _Ssl(_Camel, frozen=True):
    enabled: bool = False
    cert: str = ""
    key: str = ""


class _Server(_Camel, frozen=True):
    listen: str = ""
    ssl: _Ssl = _Ssl()
    path_prefix_file: str = ""
    read_token_file: str = ""
    check_source: bool = False
    max_waiting: int = 1000


class _Sqlite(_Camel, frozen=True):
    file: str = ""


class _Postgres(_Camel, frozen=True):
    address: str = "localhost:5432"
    username: str = ""
    password: str = ""
    password_file: str = ""
    database: str = "fleetlock"
    options: str = ""


class _KubernetesStore(_Camel, frozen=True):
    namespace: str = ""


class _Storage(_Camel, frozen=True):
    type: str = ""
    sqlite: _Sqlite = _Sqlite()
    postgres: _Postgres = _Postgres()
    kubernetes: _KubernetesStore = _KubernetesStore()


class _Drain(_Camel, frozen=True):
    bare_pods: bool = True
    empty_dir: bool = True
    no_other_node: bool = True
    deadline_minutes: float | None = None
    on_deadline: Overdue | None = None


class _Group(_Camel, frozen=True):
    slots: int = 1
    drain: _Drain = _Drain()


class _File(_Camel, frozen=True):
    log_level: str = "info"
    server: _Server = _Server()
    storage: _Storage = _Storage()
    groups: dict[str, _Group] = {}
    kubernetes: dict[str, Any] = {}
    hold_seconds: float = 50.0
    node_gone_seconds: float = 60.0
    namespace: str = ""


class _Loader(yaml.SafeLoader):
    """Numbers and dates stay the text that stands there: its key says what it is, and a password of digits is text."""


_Loader.yaml_implicit_resolvers = {
    first: [each for each in known if each[0] not in _TYPED]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _present(found: Any) -> Any:
    """What is there: a section without content is none, as it is for upstream; a group without slots is a mistake."""
    if not isinstance(found, dict):
        return found
    return {key: each if key == "groups" else _present(each) for key, each in found.items() if each is not None}


def load(path: Path | None, environ: Mapping[str, str], *, expand: bool = False) -> Settings:
    """Read the file (None: the defaults) and what it names; `expand` fills in $VARS first. Raises BadSettings."""
    text = _read(str(path), path) if path is not None else ""
    return parse(expanded(text, environ) if expand else text, Surroundings.look(environ))


def expanded(text: str, environ: Mapping[str, str]) -> str:
    """$NAME and ${NAME} by their values, as upstream's --env does it: a name that is not set becomes nothing."""
    return _VARIABLE.sub(lambda found: environ.get(found[1] or found[2] or "", ""), text)


def parse(text: str, around: Surroundings = Surroundings()) -> Settings:
    """Settings from YAML, and from the secrets' files that it names. Raises BadSettings."""
    try:
        file = msgspec.convert(_present(_Loader(text).get_single_data() or {}), _File, strict=False)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise BadSettings(f"config: {error}") from None
    _check(file)
    ssl, server, storage = file.server.ssl, file.server, file.storage
    host, port = read_listen(server.listen or (":8443" if ssl.enabled else ":8080"))
    kubeconfig = str(file.kubernetes.get("kubeconfig") or "")
    cluster = bool(around.in_pod or around.kubeconfig or kubeconfig)
    store = _store(storage.type, cluster)
    return Settings(
        log_level=file.log_level.lower(),
        host=host,
        port=port,
        tls=Tls(cert=Path(ssl.cert), key=Path(ssl.key)) if ssl.enabled else None,
        path_prefix=_prefix(server.path_prefix_file),
        read_token=_secret("server.readTokenFile", server.read_token_file),
        check_source=server.check_source,
        max_waiting=server.max_waiting,
        hold_seconds=file.hold_seconds,
        store=store,
        sqlite=_sqlite(storage.sqlite.file, around),
        postgres=_postgres(storage.postgres),
        namespace=file.namespace or storage.kubernetes.namespace or around.namespace,
        cluster=cluster or store is StoreKind.KUBERNETES,
        kubeconfig=Path(kubeconfig) if kubeconfig else None,
        gone_seconds=file.node_gone_seconds,
        groups={name: _group(name, group) for name, group in (file.groups or {"default": _Group()}).items()},
        ignored=tuple(f"kubernetes.{key}" for key in _NO_MEANING if key in file.kubernetes),
    )


def read_listen(text: str) -> tuple[str, int]:
    """Host and port of `:8080`, `127.0.0.1:8080` or `[::1]:8080`; no host is every address. Raises BadSettings."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise BadSettings(f"server.listen: {text!r} must be like :8080 or 127.0.0.1:8080")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _check(file: _File) -> None:
    if file.log_level.lower() not in LOG_LEVELS:
        raise BadSettings(f"logLevel: {file.log_level!r} is none of {', '.join(LOG_LEVELS)}")
    if file.server.ssl.enabled and not (file.server.ssl.cert and file.server.ssl.key):
        raise BadSettings("server.ssl: enabled, so both cert and key must name a PEM file")
    if not 0 <= file.hold_seconds <= LONGEST_HOLD:
        raise BadSettings(f"holdSeconds: {file.hold_seconds:g} must be 0 to {LONGEST_HOLD:g}")
    if not file.node_gone_seconds >= 0:
        raise BadSettings(f"nodeGoneSeconds: {file.node_gone_seconds:g} must be 0 or more")
    if not 1 <= file.server.max_waiting <= MOST_WAITING:
        raise BadSettings(f"server.maxWaiting: {file.server.max_waiting} must be 1 to {MOST_WAITING}")


def _store(type: str, cluster: bool) -> StoreKind:
    if not type:
        return StoreKind.KUBERNETES if cluster else StoreKind.SQLITE
    try:
        return StoreKind(type)
    except ValueError:
        why = _REFUSED_STORES.get(type, f"supported: {', '.join(StoreKind)}")
        raise BadSettings(f"storage.type: {type!r} is not supported: {why}") from None


def _sqlite(file: str, around: Surroundings) -> Path:
    """Upstream's file may be a URI of SQLite's."""
    name = file.removeprefix("file:").partition("?")[0]
    if name.startswith(":memory:"):
        raise BadSettings(f"storage.sqlite.file: {file!r} must be a file: {_REFUSED_STORES['memory']}")
    return Path(name) if name else around.state / "locks.db"


def _postgres(file: _Postgres) -> Postgres:
    if file.password and file.password_file:
        raise BadSettings("storage.postgres: either password or passwordFile, not both")
    return Postgres(
        address=file.address,
        username=file.username,
        password=file.password or _secret("storage.postgres.passwordFile", file.password_file),
        database=file.database,
        options=file.options.removeprefix("?"),
    )


def _group(name: str, group: _Group) -> GroupSettings:
    if not valid_group(name):
        raise BadSettings(f"groups: {name!r} may only have letters, digits, dots and hyphens")
    if group.slots < 1:
        raise BadSettings(f"groups.{name}.slots: {group.slots} must be at least 1")
    drain, at = group.drain, f"groups.{name}.drain"
    overdue = drain.on_deadline or Overdue.WAIT
    if drain.deadline_minutes is not None and not drain.deadline_minutes > 0:
        raise BadSettings(f"{at}.deadlineMinutes: {drain.deadline_minutes:g} must be more than 0")
    if (drain.deadline_minutes is None) != (overdue is Overdue.WAIT):
        raise BadSettings(f"{at}: deadlineMinutes needs onDeadline: giveUp or delete, and they need it")
    policy = DrainPolicy(
        bare_pods=drain.bare_pods,
        empty_dir=drain.empty_dir,
        no_other_node=drain.no_other_node,
        deadline=drain.deadline_minutes * 60 if drain.deadline_minutes is not None else None,
        overdue=overdue,
    )
    return GroupSettings(slots=group.slots, policy=policy)


def _prefix(file: str) -> str:
    """The secret part of the path; never shown in a message."""
    found = _secret("server.pathPrefixFile", file).strip("/")
    if found and (len(found) < PREFIX_CHARACTERS or not _PREFIX.fullmatch(found)):
        wanted = f"at least {PREFIX_CHARACTERS} letters, digits and . _ ~ - between single slashes"
        raise BadSettings(f"server.pathPrefixFile: what {file} holds must be {wanted}")
    return found


def _secret(at: str, file: str) -> str:
    """What stands in this file, without white space around it; empty where none is named."""
    if not file:
        return ""
    found = _read(at, Path(file)).strip()
    if not found:
        raise BadSettings(f"{at}: {file} is empty")
    return found


def _read(at: str, path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{at}: {error}") from None
