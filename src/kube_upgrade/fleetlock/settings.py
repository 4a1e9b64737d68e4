"""Settings of the lock server, as values. Where they come from: fleetlock.config."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from kube_upgrade.core.eviction import DrainPolicy

DEFAULT_NAMESPACE = "kube-upgrade"
DEFAULT_STATE = Path("/var/lib/fleetlock")


class BadSettings(ValueError):
    """The file can't be used. The text names the field, its value and what would be right."""


class StoreKind(StrEnum):
    """Where slots are kept, by upstream's words for it."""

    KUBERNETES = "kubernetes"
    SQLITE = "sqlite"
    POSTGRES = "postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """How to reach the database; `options` are libpq's, as in a URL: `sslmode=require&application_name=x`."""

    address: str = "localhost:5432"
    username: str = ""
    password: str = field(default="", repr=False)
    database: str = "fleetlock"
    options: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """PEM files; both are read again when they change."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """One lock group."""

    slots: int = 1
    policy: DrainPolicy = field(default_factory=DrainPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a replica needs to know.

    `host` is empty for all addresses. `cluster` is false where there is none to drain; `kubeconfig` is None inside one.
    `path_prefix` (no slash at its ends) and `read_token` are secrets, empty where there is none. `ignored` names keys
    of the file that have no meaning here.
    """

    log_level: str = "info"
    host: str = ""
    port: int = 8080
    tls: Tls | None = None
    path_prefix: str = field(default="", repr=False)
    read_token: str = field(default="", repr=False)
    check_source: bool = False
    max_waiting: int = 1000
    hold_seconds: float = 50.0
    store: StoreKind = StoreKind.KUBERNETES
    sqlite: Path = DEFAULT_STATE / "locks.db"
    postgres: Postgres = Postgres()
    namespace: str = DEFAULT_NAMESPACE
    cluster: bool = True
    kubeconfig: Path | None = None
    gone_seconds: float = 60.0
    groups: Mapping[str, GroupSettings] = field(default_factory=lambda: {"default": GroupSettings()})
    ignored: tuple[str, ...] = ()

    @property
    def server(self) -> str:
        """What all replicas of this lock server have in common, and another one in the same cluster has not."""
        return f"{self.store}/{self.namespace}" if self.store is StoreKind.KUBERNETES else str(self.store)

    @property
    def slots(self) -> dict[str, int]:
        """Group name to number of slots."""
        return {name: group.slots for name, group in self.groups.items()}
