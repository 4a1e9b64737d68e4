"""From settings to a replica: which store, and whether there is a cluster."""

from collections.abc import Callable
from datetime import datetime

from kube_upgrade.fleetlock.announce import Announcer
from kube_upgrade.fleetlock.cluster import Cluster
from kube_upgrade.fleetlock.replica import Replica
from kube_upgrade.fleetlock.settings import Settings, StoreKind
from kube_upgrade.fleetlock.stores import Records
from kube_upgrade.fleetlock.stores.kubernetes import LeaseRecords
from kube_upgrade.fleetlock.stores.store import LockStore
from kube_upgrade.kube.api import Api


def open_records(settings: Settings, api: Api | None) -> Records:
    """The records that the settings name; nothing is read yet. Kubernetes needs an `api`."""
    if settings.store is StoreKind.KUBERNETES:
        if api is None:
            raise ValueError("the Kubernetes store needs a cluster")
        return LeaseRecords(api, settings.namespace, settings.slots)
    from kube_upgrade.fleetlock.stores import database, sql  # noqa: PLC0415 - 28 MiB that the Kubernetes store has no use for

    sqlite = settings.store is StoreKind.SQLITE
    url = database.sqlite_url(settings.sqlite) if sqlite else database.postgres_url(settings.postgres)
    return sql.SqlRecords(url, settings.slots)


def replica(
    settings: Settings, *, name: str, api: Api | None, announcer: Announcer, now: Callable[[], datetime]
) -> Replica:
    """A replica called `name`; without an `api` it only keeps slots. `now` is the wall clock."""
    records = open_records(settings, api)
    store = LockStore(records, now)
    cluster = None
    if api is not None:
        cluster = Cluster(api=api, store=store, settings=settings, announcer=announcer, groups=records.groups)
    return Replica(settings, name=name, records=records, store=store, cluster=cluster)
