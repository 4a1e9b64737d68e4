"""What the node daemon asks of the operating system and of kubeadm, whatever does it."""

from pathlib import Path
from typing import Protocol

from kube_upgrade.host.runner import Completed
from kube_upgrade.model.kubeadm import KubeadmProblem
from kube_upgrade.model.os import OsProblem, OsStatus, Staged
from kube_upgrade.model.version import KubeVersion


class OsError(Exception):
    """The OS was not changed. `kind` tells what to do about it, `message` tells people."""

    def __init__(self, kind: OsProblem, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class KubeadmError(Exception):
    """kubeadm ended with an error, or could not be run (`code` is None then)."""

    def __init__(self, kind: KubeadmProblem, message: str, code: int | None = None) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
        self.code = code


class OsDriver(Protocol):
    """Stages, applies and forgets OS images. Every method may be repeated at any time. All raise OsError."""

    async def status(self) -> OsStatus:
        """Read all deployments."""

    async def stage(self, reference: str, digest: str, *, unsigned: bool) -> Staged:
        """Fetch HOST/REPO:TAG, pinned to the per-arch manifest `digest`, and stage it locked.

        Already staged (an unlocked one is locked) and already booted end well without a pull. Errors:
        TRANSACTION_RUNNING (the caller waits), OTHER_DRIVER, FAILED_BOOT (the host fell back from this image) and
        what the pull said. NO_EFFECT where the command ended well and the image is not staged.
        """

    async def finalize(self, digest: str, *, allow_unlocked: bool = False) -> None:
        """Unlock the staged deployment of this digest and ask for the reboot. Returning is not yet a reboot."""

    async def lock_finalization(self) -> None:
        """Lock the staged deployment again, so that no ordinary reboot applies it."""

    async def cleanup_pending(self) -> None:
        """Forget what is staged, or what a failed boot left as the next boot's default."""

    async def register_driver(self) -> None:
        """Tell the host that this daemon drives its updates; lost at each reboot. OTHER_DRIVER where somebody does."""


class KubeadmDriver(Protocol):
    """One kubeadm binary. All raise KubeadmError."""

    @property
    def binary(self) -> Path:
        """The file that is run."""

    async def version(self) -> KubeVersion:
        """What the binary says it is."""

    async def upgrade_apply(self, version: KubeVersion, key: str) -> Completed:
        """Upgrade the cluster's configuration and this control plane; WRONG_VERSION where the binary is another one.

        The run outlives this process, and is found again by its `key`; so does and is that of `upgrade_node`.
        """

    async def upgrade_node(self, version: KubeVersion, key: str) -> Completed:
        """Upgrade this node to what kubeadm-config says; `version` is what the binary must be."""

    async def upgrade_end(self) -> Completed:
        """Wait for the run that was started last, whoever started it. LOST where it left no exit code."""

    async def images_pull(self, config: Path, cri_socket: str) -> Completed:
        """Fetch the control plane's images. `config` is a path on the host with a ClusterConfiguration."""
