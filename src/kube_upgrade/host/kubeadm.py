"""kubeadm: where it is, what to call, and a thin driver that calls it. Its output is read in kubeadm_output.py."""

from collections.abc import Sequence
from pathlib import Path

from kube_upgrade.host.drivers import KubeadmError
from kube_upgrade.host.kubeadm_output import problem_in
from kube_upgrade.host.paths import on_host
from kube_upgrade.host.runner import CommandRunner, Completed, NotStarted, TimedOut
from kube_upgrade.model.kubeadm import KubeadmProblem
from kube_upgrade.model.os import Deployment
from kube_upgrade.model.version import BadVersion, KubeVersion

MANIFESTS = "/etc/kubernetes/manifests"


def find_kubeadm(root: Path, staged: Deployment | None, configured: str = "") -> Path:
    """The staged deployment's kubeadm where there is one, else the configured path. Raises KubeadmError."""
    tried = [on_host(root, f"{staged.path}/usr/bin/kubeadm")] if staged else []
    tried += [on_host(root, configured)] if configured else []
    for path in tried:
        if path.is_file():
            return path
    places = ", ".join(map(str, tried)) or "no deployment is staged and kubeadmPath is empty"
    raise KubeadmError(KubeadmProblem.NOT_FOUND, f"no kubeadm: {places}")


def is_control_plane(root: Path) -> bool:
    """True where this node runs an API server: what kubeadm itself goes by."""
    return on_host(root, f"{MANIFESTS}/kube-apiserver.yaml").is_file()


def apply_argv(version: KubeVersion, ignore: Sequence[str] = ()) -> tuple[str, ...]:
    """`upgrade apply`, without its question. Certificates are renewed, which is kubeadm's default."""
    return ("upgrade", "apply", str(version), "--yes", *_ignoring(ignore))


def node_argv(ignore: Sequence[str] = ()) -> tuple[str, ...]:
    """`upgrade node`; it takes its version from kubeadm-config and never asks."""
    return ("upgrade", "node", *_ignoring(ignore))


def images_argv(config: Path, cri_socket: str) -> tuple[str, ...]:
    """`config images pull` for the cluster of this configuration file."""
    return ("config", "images", "pull", "--config", str(config), "--cri-socket", cri_socket)


def version_argv() -> tuple[str, ...]:
    """Print the version alone, such as v1.37.2."""
    return ("version", "-o", "short")


def _ignoring(checks: Sequence[str]) -> tuple[str, ...]:
    return (f"--ignore-preflight-errors={','.join(checks)}",) if checks else ()


class Kubeadm:
    """KubeadmDriver over one binary. `root` other than "/" is passed on as --rootfs: kubeadm changes into it.

    `timeout` (seconds) is far above the sum of kubeadm's own: to end it in the middle is worse than to wait.
    """

    def __init__(
        self,
        runner: CommandRunner,
        binary: Path,
        *,
        root: Path = Path("/"),
        ignore_preflight: Sequence[str] = (),
        timeout: float = 2400.0,
    ) -> None:
        self._runner = runner
        self._binary = binary
        self._rootfs = () if root == Path("/") else ("--rootfs", str(root))
        self._ignore = tuple(ignore_preflight)
        self._timeout = timeout

    @property
    def binary(self) -> Path:
        """The file that is run."""
        return self._binary

    async def version(self) -> KubeVersion:
        """What the binary says it is. Raises KubeadmError."""
        done = await self._call(version_argv(), 30.0, rootfs=False)
        try:
            return KubeVersion.parse(done.out)
        except BadVersion as error:
            raise KubeadmError(KubeadmProblem.UNKNOWN, f"{self._binary} version: {error}") from error

    async def upgrade_apply(self, version: KubeVersion) -> Completed:
        """Upgrade cluster configuration and this control plane. Raises KubeadmError."""
        await self._must_be(version)
        return await self._call(apply_argv(version, self._ignore), self._timeout)

    async def upgrade_node(self, version: KubeVersion) -> Completed:
        """Upgrade this node to kubeadm-config's version; the binary must be of `version`. Raises KubeadmError.

        kubeadm itself accepts any binary that is not two minors newer (domain.md 4.10), hence the check.
        """
        await self._must_be(version)
        return await self._call(node_argv(self._ignore), self._timeout)

    async def images_pull(self, config: Path, cri_socket: str) -> Completed:
        """Fetch the control plane's images; `config` as the host names it. Raises KubeadmError."""
        return await self._call(images_argv(config, cri_socket), self._timeout)

    async def _must_be(self, version: KubeVersion) -> None:
        found = await self.version()
        if found != version:
            raise KubeadmError(KubeadmProblem.WRONG_VERSION, f"{self._binary} is {found}, not {version}")

    async def _call(self, arguments: Sequence[str], timeout: float, *, rootfs: bool = True) -> Completed:
        argv = (str(self._binary), *(self._rootfs if rootfs else ()), *arguments)
        try:
            done = await self._runner.run(argv, timeout)
        except NotStarted as error:
            raise KubeadmError(KubeadmProblem.NOT_FOUND, str(error)) from error
        except TimedOut as error:
            raise KubeadmError(KubeadmProblem.TIMED_OUT, str(error)) from error
        if done.code != 0:
            kind, sentence = problem_in(done.err)
            raise KubeadmError(kind, f"kubeadm {' '.join(arguments[:2])}: {sentence}", done.code)
        return done
