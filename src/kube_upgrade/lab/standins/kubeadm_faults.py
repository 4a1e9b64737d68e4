"""Failures that were recorded on real nodes and that a scenario may ask for, by the name of the recording."""

from enum import StrEnum

from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Refused


class RecordedFault(StrEnum):
    """The mode of a machine's fault "kubeadm"."""

    IMAGES_MISSING = "03-apply-image-missing"
    SYSTEM_VERIFICATION = "03-apply-nothing-ignored"
    TIMESTAMP = "05-upgrade-node-worker-again"
    ETCD_TIMES_OUT = "30-apply-etcd-step-times-out-rollback"
    API_SERVER_NEVER_SERVES = "31-apply-apiserver-never-serves-rollback"


def recorded_fault(machine: Machine) -> RecordedFault | None:
    """The failure that is due on this machine, counted as used. Raises Refused where the recording is not known."""
    fault = machine.take_fault("kubeadm")
    if fault is None:
        return None
    try:
        return RecordedFault(fault.mode)
    except ValueError:
        raise Refused(f"machine.json: fault kubeadm: {fault.mode!r} is none of {', '.join(RecordedFault)}") from None
