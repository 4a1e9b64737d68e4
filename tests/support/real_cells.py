"""Cells of the failure matrix with real processes: who, at which step, what goes wrong, and what must come of it.

docs/reference/failure-matrix.md shows them all, tests/integration/test_failure_cells.py plays them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from kube_upgrade.lab.standins.kubeadm_faults import RecordedFault

PROVEN = "proven"


class Who(StrEnum):
    """Which node, and what it is on its way to."""

    WORKER = "worker"
    CONTROL_PLANE = "control plane"  # `kubeadm upgrade apply`, with the real etcd
    OS = "OS update"  # of a node that nothing is ordered of


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One step and one fault. `end` in the words of support.failure_matrix."""

    who: Who
    step: str
    fault: str
    end: str = PROVEN

    def __str__(self) -> str:
        return f"{self.who}: {self.step} × {self.fault}"

    @property
    def alone(self) -> bool:
        """True where it needs an API server for itself: a cluster has one kubeadm-config, and one API to take away."""
        return self.who is Who.CONTROL_PLANE or self.fault == API_AWAY


API_AWAY = "API away"
STRIKES = ("killed", "SIGTERM", "power cut", "disk full")  # when the node says that it is at the step
PHASES = {
    "resolve": "resolving", "check": "checking-signature", "stage": "staging", "images": "pulling", "lock": "locking",
    "etcd": "saving-etcd", "kubeadm": "kubeadm", "reboot": "rebooting", "verify": "verifying", "release": "releasing",
}  # fmt: skip
STEPS = {
    Who.WORKER: ("resolve", "stage", "lock", "kubeadm", "reboot", "verify", "release"),
    Who.CONTROL_PLANE: ("resolve", "stage", "images", "lock", "etcd", "kubeadm", "reboot", "verify", "release"),
    Who.OS: ("resolve", "stage", "lock", "reboot", "verify", "release"),
}
COMMANDS = {
    (Who.OS, "stage"): "rpm-ostree deploy",
    "stage": "rpm-ostree rebase",
    "images": "kubeadm config",
    "kubeadm": "kubeadm upgrade",
    "reboot": "rpm-ostree finalize-deployment",
}
ANSWERS = {
    "500": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTML": b"HTTP/1.1 503 Busy\r\nContent-Length: 6\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://[::1]:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "202": b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "no answer": b"",
}  # of the lock server, twice
ONCE = {
    "resolve": ("registry away",),
    "check": ("signed later",),
    "stage": ("fails", "slow", "no effect"),
    "images": ("fails", "slow", "no effect"),
    "lock": (*ANSWERS, "slow"),
    "etcd": ("certificate missing",),
    "kubeadm": ("fails", "slow", "no effect"),
    "reboot": ("fails", "slow", "no effect", "certificate rotated"),
}
ROTATED = "certificate rotated"
LASTING = (
    (Who.WORKER, "check", "never signed", "error: ImageNotSigned; lock never taken"),
    (Who.WORKER, "stage", "always fails", "error: CommandFailed; lock never taken"),
    (Who.WORKER, "kubeadm", "always fails", "error: Unknown; lock kept"),
    (Who.WORKER, "reboot", "never comes", "error: NoReboot; lock kept"),
    (Who.WORKER, "reboot", "falls back", "error: BadImage; lock given back"),
    (Who.CONTROL_PLANE, "images", "always fails", "error: Unknown; lock never taken"),
    (Who.CONTROL_PLANE, "etcd", "cannot be written", "error: EtcdSnapshotNotWritten; lock given back"),
    (Who.CONTROL_PLANE, "kubeadm", "always without effect", "error: NoEffect; lock kept"),
    (Who.CONTROL_PLANE, "kubeadm", f"always {RecordedFault.ETCD_TIMES_OUT}", "error: EtcdRolledBack; lock kept"),
    (Who.CONTROL_PLANE, "reboot", "falls back", "error: BadImage; lock given back"),
    (Who.OS, "stage", "always fails", "waits: CommandFailed; lock never taken"),
    (Who.OS, "reboot", "never comes", "failed: NoReboot; lock kept"),
    (Who.OS, "reboot", "falls back", "stays: BadImage; lock given back"),
)


def _all() -> Iterator[Cell]:
    for who, steps in STEPS.items():
        faults = (*STRIKES, API_AWAY) if who is not Who.WORKER else STRIKES
        yield from (Cell(who=who, step=step, fault=fault) for step in steps for fault in faults)
        once = {step: ONCE[step] for step in ONCE if step in steps}
        yield from (Cell(who=who, step=step, fault=fault) for step, faults in once.items() for fault in faults)
    yield Cell(who=Who.WORKER, step="check", fault="signed later")
    yield Cell(who=Who.CONTROL_PLANE, step="verify", fault="static pod gone")
    yield from (Cell(who=Who.CONTROL_PLANE, step="kubeadm", fault=f"once {mode}") for mode in RecordedFault)
    yield from (Cell(who=who, step=step, fault=fault, end=end) for who, step, fault, end in LASTING)


CELLS = tuple(_all())
# Each of these found a mistake once: played in every run, by its present name.
RENAMED = {"control plane: etcd × certificate gone": "control plane: etcd × cannot be written"}
EVER_FAILED = (
    Cell(who=Who.WORKER, step="reboot", fault="power cut"),
    Cell(who=Who.OS, step="release", fault="killed"),
    Cell(who=Who.OS, step="lock", fault="202"),
    next(cell for cell in CELLS if (cell.step, cell.fault) == ("etcd", "cannot be written")),
)
