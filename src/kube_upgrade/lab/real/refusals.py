"""What the real kubeadm refuses, in the words of the recordings that hold the stand-in (tests/fixtures/kubeadm)."""

from dataclasses import dataclass

from kube_upgrade.lab.real.machine import TREES

IGNORE = "--ignore-preflight-errors=SystemVerification"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call on a cluster at v1.36.3 that has not been touched. `case` is the recording's name."""

    case: str
    node: str
    kubeadm: str  # version
    arguments: tuple[str, ...]

    @property
    def argv(self) -> tuple[str, ...]:
        """By the tree of its version, as the daemon calls it."""
        return (f"{TREES}/{self.kubeadm}/usr/bin/kubeadm", "upgrade", *self.arguments)


_FIRST, _WORKER = "control-plane-1", "worker-1"
REFUSALS = (
    Refusal("02-apply-bad-version", _FIRST, "v1.36.3", ("apply", "not-a-version", "--yes", IGNORE)),
    Refusal("02-apply-downgrade-minor", _FIRST, "v1.36.3", ("apply", "v1.35.4", "--yes", IGNORE)),
    Refusal("02-apply-older-kubeadm-minor", _FIRST, "v1.36.3", ("apply", "v1.37.2", "--yes", IGNORE)),
    Refusal("02-apply-older-kubeadm-patch", _FIRST, "v1.36.3", ("apply", "v1.36.9", "--yes", IGNORE)),
    Refusal("02-apply-on-worker", _WORKER, "v1.36.3", ("apply", "v1.36.3", "--yes", IGNORE)),
    Refusal("02-apply-unknown-flag", _FIRST, "v1.36.3", ("apply", "v1.36.3", "--no-such-flag")),
    Refusal("03-apply-newer-than-kubeadm-minor", _FIRST, "v1.37.2", ("apply", "v1.38.0", "--yes", IGNORE)),
    Refusal("03-apply-newer-than-kubeadm-patch", _FIRST, "v1.37.2", ("apply", "v1.37.9", "--yes", IGNORE)),
    Refusal("03-apply-no-yes-stdin-null", _FIRST, "v1.37.2", ("apply", "v1.37.2", IGNORE)),
    Refusal("03-apply-nothing-ignored", _FIRST, "v1.37.2", ("apply", "v1.37.2", "--yes")),
    Refusal("03-upgrade-node-worker-nothing-ignored", _WORKER, "v1.37.2", ("node",)),
)
