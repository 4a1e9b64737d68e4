"""kubeadm: where it is, what to call, and a thin driver that calls it. Its output is read in kubeadm_output.py."""

from collections.abc import Awaitable, Sequence
from pathlib import Path

from kube_upgrade.host.drivers import KubeadmError
from kube_upgrade.host.jobs import Jobs, Lost, StillRunning
from kube_upgrade.host.kubeadm_output import problem_in
from kube_upgrade.host.paths import on_host
from kube_upgrade.host.runner import CommandRunner, Completed, NotStarted, RunError, TimedOut
from kube_upgrade.model.kubeadm import KubeadmProblem
from kube_upgrade.model.version import BadVersion, KubeVersion

MANIFESTS = "/etc/kubernetes/manifests"
# The old etcd does not start over data that the new one has touched, whatever kubeadm says: seen on real nodes.
ETCD_WAY_BACK = (
    "; where etcd does not come up, put back kubeadm's copy (/etc/kubernetes/tmp/kubeadm-backup-etcd-*) or the snapshot"
    " in /var/lib/kube-upgraded/etcd: docs/reference/etcd.md"
)
JOB = "kubeadm"  # the name under which an upgrade runs: one at a time
_PROBLEMS: tuple[tuple[type[RunError], KubeadmProblem], ...] = (
    (NotStarted, KubeadmProblem.NOT_FOUND),
    (TimedOut, KubeadmProblem.TIMED_OUT),
    (StillRunning, KubeadmProblem.RUNNING),
    (Lost, KubeadmProblem.LOST),
)


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
    Upgrades are `jobs`, which outlive this process; `options` go to each of them.
    """

    def __init__(
        self,
        runner: CommandRunner,
        jobs: Jobs,
        binary: Path,
        *,
        root: Path = Path("/"),
        ignore_preflight: Sequence[str] = (),
        options: Sequence[str] = (),
        timeout: float = 2400.0,
    ) -> None:
        self._runner = runner
        self._jobs = jobs
        self._binary = binary
        self._rootfs = () if root == Path("/") else ("--rootfs", str(root))
        self._ignore = tuple(ignore_preflight)
        self._options = tuple(options)
        self._timeout = timeout

    @property
    def binary(self) -> Path:
        """The file that is run."""
        return self._binary

    async def version(self) -> KubeVersion:
        """What the binary says it is. Raises KubeadmError."""
        done = _checked(await _told(self._runner.run((str(self._binary), *version_argv()), 30.0)), version_argv())
        try:
            return KubeVersion.parse(done.out)
        except BadVersion as error:
            raise KubeadmError(KubeadmProblem.UNKNOWN, f"{self._binary} version: {error}") from error

    async def upgrade_apply(self, version: KubeVersion, key: str) -> Completed:
        """Upgrade cluster configuration and this control plane. Raises KubeadmError."""
        await self._must_be(version)
        return await self._upgrade(key, apply_argv(version, self._ignore))

    async def upgrade_node(self, version: KubeVersion, key: str) -> Completed:
        """Upgrade this node to kubeadm-config's version; the binary must be of `version`. Raises KubeadmError.

        kubeadm itself accepts any binary that is not two minors newer (domain.md 4.10), hence the check.
        """
        await self._must_be(version)
        return await self._upgrade(key, node_argv(self._ignore))

    async def upgrade_end(self) -> Completed:
        """Wait for the run that was started last. Raises KubeadmError."""
        return _checked(await _told(self._jobs.join(JOB, self._timeout)), ("upgrade",))

    async def images_pull(self, config: Path, cri_socket: str) -> Completed:
        """Fetch the control plane's images; `config` as the host names it. Raises KubeadmError."""
        arguments = images_argv(config, cri_socket)
        return _checked(await _told(self._runner.run(self._argv(arguments), self._timeout)), arguments)

    async def _must_be(self, version: KubeVersion) -> None:
        found = await self.version()
        if found != version:
            raise KubeadmError(KubeadmProblem.WRONG_VERSION, f"{self._binary} is {found}, not {version}")

    async def _upgrade(self, key: str, arguments: Sequence[str]) -> Completed:
        call = self._jobs.run(JOB, key, self._argv((*arguments, *self._options)), self._timeout)
        return _checked(await _told(call), arguments)

    def _argv(self, arguments: Sequence[str]) -> tuple[str, ...]:
        return (str(self._binary), *self._rootfs, *arguments)


async def _told(call: Awaitable[Completed]) -> Completed:
    """What it gives; what kept it from running to its end as a KubeadmError."""
    try:
        return await call
    except RunError as error:
        kind = next((kind for known, kind in _PROBLEMS if isinstance(error, known)), KubeadmProblem.UNKNOWN)
        raise KubeadmError(kind, str(error)) from error


def _checked(done: Completed, arguments: Sequence[str]) -> Completed:
    if done.code != 0:
        kind, sentence = problem_in(done.err)
        way_back = ETCD_WAY_BACK if kind is KubeadmProblem.ETCD_ROLLED_BACK else ""
        raise KubeadmError(kind, f"kubeadm {' '.join(arguments[:2])}: {sentence}{way_back}", done.code)
    return done
