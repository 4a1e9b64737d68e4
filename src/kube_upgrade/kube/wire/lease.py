"""Lease object ↔ model.LeaseRecord."""

from datetime import UTC, datetime

import msgspec

from kube_upgrade.model.lease import LeaseRecord
from kube_upgrade.model.moment import time_or_none

MICRO_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class LeaseSpec(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """spec; `strategy` and `preferred_holder` are other people's and only carried along."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None
    strategy: str | None = None
    preferred_holder: str | None = None


class LeaseObject(msgspec.Struct, rename="camel", frozen=True):
    """A coordination.k8s.io/v1 Lease. The metadata is carried whole: a PUT must not drop another's labels."""

    metadata: dict[str, object]
    spec: LeaseSpec = LeaseSpec()
    api_version: str = "coordination.k8s.io/v1"
    kind: str = "Lease"


def new_lease(namespace: str, name: str) -> LeaseObject:
    """A Lease that does not exist yet."""
    return LeaseObject(metadata={"namespace": namespace, "name": name})


def to_record(wire: LeaseObject) -> LeaseRecord:
    """The model's value. A time that does not parse reads as absent."""
    spec = wire.spec
    return LeaseRecord(
        holder=spec.holder_identity or "",
        duration=float(spec.lease_duration_seconds or 0),
        acquired=time_or_none(spec.acquire_time),
        renewed=time_or_none(spec.renew_time),
        transitions=spec.lease_transitions or 0,
    )


def with_record(wire: LeaseObject, record: LeaseRecord) -> LeaseObject:
    """The same object, resourceVersion included, with this record: what to write. Durations are whole seconds, up."""
    spec = LeaseSpec(
        holder_identity=record.holder,
        lease_duration_seconds=-int(-record.duration // 1),
        acquire_time=micro_time(record.acquired),
        renew_time=micro_time(record.renewed),
        lease_transitions=record.transitions,
        strategy=wire.spec.strategy,
        preferred_holder=wire.spec.preferred_holder,
    )
    return msgspec.structs.replace(wire, spec=spec)


def micro_time(moment: datetime | None) -> str | None:
    """metav1.MicroTime: always six digits, in UTC."""
    return moment.astimezone(UTC).strftime(MICRO_TIME) if moment else None
