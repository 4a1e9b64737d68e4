"""A Lease travels without losing anything that is not ours."""

from datetime import UTC, datetime

import msgspec

from kube_upgrade.kube.wire.lease import LeaseObject, to_record, with_record
from kube_upgrade.model.lease import LeaseRecord

FOREIGN = b"""{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"upgrade-controller",
"namespace":"kube-upgrade","resourceVersion":"7","labels":{"team":"a"},"managedFields":[{"manager":"x"}]},
"spec":{"holderIdentity":"pod-1_uuid","leaseDurationSeconds":15,"acquireTime":"2026-11-24T08:00:00.123456Z",
"renewTime":"2026-11-24T08:00:02.000000Z","leaseTransitions":2,"strategy":"OldestEmulationVersion"}}"""


def test_a_lease_of_client_go_reads_as_a_record() -> None:
    record = to_record(msgspec.json.decode(FOREIGN, type=LeaseObject))
    assert record == LeaseRecord(
        holder="pod-1_uuid",
        duration=15.0,
        acquired=datetime(2026, 11, 24, 8, 0, 0, 123456, tzinfo=UTC),
        renewed=datetime(2026, 11, 24, 8, 0, 2, tzinfo=UTC),
        transitions=2,
    )


def test_writing_a_record_back_changes_nothing_else() -> None:
    wire = msgspec.json.decode(FOREIGN, type=LeaseObject)
    assert msgspec.json.decode(msgspec.json.encode(with_record(wire, to_record(wire)))) == msgspec.json.decode(FOREIGN)


def test_a_lease_without_a_spec_is_free() -> None:
    assert to_record(msgspec.json.decode(b'{"metadata":{"name":"x"}}', type=LeaseObject)) == LeaseRecord()
    empty = b'{"metadata":{"name":"x"},"spec":{"holderIdentity":null,"renewTime":"soon"}}'
    assert to_record(msgspec.json.decode(empty, type=LeaseObject)) == LeaseRecord()


def test_a_duration_is_never_rounded_down() -> None:
    wire = with_record(LeaseObject(metadata={}), LeaseRecord(holder="me", duration=1.5))
    assert wire.spec.lease_duration_seconds == 2
