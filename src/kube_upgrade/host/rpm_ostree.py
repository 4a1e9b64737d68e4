"""rpm-ostree: what to call, and a thin driver that calls it. Its output is read in rpm_ostree_output.py."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from kube_upgrade.host.drivers import OsError
from kube_upgrade.host.jobs import Jobs, Lost, StillRunning
from kube_upgrade.host.paths import on_host
from kube_upgrade.host.rpm_ostree_output import parse_status, problem_in
from kube_upgrade.host.runner import CommandRunner, Completed, NotStarted, RunError, TimedOut
from kube_upgrade.host.space import too_small
from kube_upgrade.model.os import (
    SIGNED,
    UNVERIFIED,
    Deployment,
    ImageReference,
    OsProblem,
    OsStatus,
    Staged,
    StageOutcome,
)

DRIVER_NAME = "upgraded"  # as upstream's daemon registers itself
JOB = "stage"  # the name under which an image is fetched: one at a time
_RUN_PROBLEMS: tuple[tuple[type[RunError], OsProblem], ...] = (
    (NotStarted, OsProblem.NOT_FOUND),
    (TimedOut, OsProblem.TIMED_OUT),
    (StillRunning, OsProblem.TRANSACTION_RUNNING),
    (Lost, OsProblem.COMMAND_FAILED),
)
_FOREIGN_FIRST = "let it end, or disable it: only one may drive updates of this host"


def status_argv() -> tuple[str, ...]:
    """All deployments, as JSON."""
    return ("status", "--json")


def stage_argv(wanted: ImageReference, digest: str, origin: ImageReference | None) -> tuple[str, ...]:
    """Stage `wanted`, locked and pinned to the digest.

    Another digest of the tag that the host follows is `deploy`: `rebase` to the same reference is refused with
    "Old and new refs are equal". `origin` is the reference of the first deployment, which is what rpm-ostree compares.
    """
    verb = ("deploy",) if origin == wanted else ("rebase",)
    reference = () if origin == wanted else (str(wanted),)
    return (*verb, "--lock-finalization", "--bypass-driver", *reference, digest)


def finalize_argv(digest: str, *, allow_unlocked: bool) -> tuple[str, ...]:
    """Unlock and reboot. For a container image the manifest's digest is the checksum it checks."""
    return ("finalize-deployment", *(("--allow-unlocked",) if allow_unlocked else ()), digest)


def cleanup_argv() -> tuple[str, ...]:
    """Forget the pending deployment, staged or not."""
    return ("cleanup", "-p")


def register_argv(name: str) -> tuple[str, ...]:
    """Only register as update driver; with an empty revision nothing is deployed."""
    return ("deploy", f"--register-driver={name}", "--bypass-driver", "")


def wanted_reference(reference: str, *, unsigned: bool) -> ImageReference:
    """HOST/REPO:TAG with the prefix that says how the host shall trust it. Raises OsError."""
    repository, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag or not repository:
        raise OsError(OsProblem.UNREADABLE, f"image {reference!r} has no tag; HOST/REPO:TAG is needed")
    return ImageReference(UNVERIFIED if unsigned else SIGNED, repository, tag)


class RpmOstree:
    """OsDriver over rpm-ostree and, to lock again, ostree. Times are in seconds. A fetch outlives this process."""

    def __init__(
        self,
        runner: CommandRunner,
        jobs: Jobs,
        *,
        root: Path = Path("/"),
        path: str = "/usr/bin/rpm-ostree",
        ostree_path: str = "/usr/bin/ostree",
        stage_timeout: float = 3600.0,
        call_timeout: float = 120.0,
    ) -> None:
        self._runner = runner
        self._jobs = jobs
        self._root = root
        self._program = str(on_host(root, path))
        self._ostree = str(on_host(root, ostree_path))
        self._stage_timeout = stage_timeout
        self._call_timeout = call_timeout

    async def status(self) -> OsStatus:
        """Read all deployments. Raises OsError."""
        return parse_status(await self._call(status_argv()))

    async def stage(self, reference: str, digest: str, *, unsigned: bool) -> Staged:
        """Stage the image locked, unless it is staged or booted. Raises OsError; see OsDriver.stage."""
        wanted = wanted_reference(reference, unsigned=unsigned)
        seen = await self.status()
        refuse_while_busy(seen)
        if there := already_there(seen, digest):
            return await self._locked(there, digest)
        refuse_foreign_driver(seen)
        refuse_failed_boot(seen, digest)
        refuse_full_disk(self._root)
        origin = seen.deployments[0].image if seen.deployments else None
        argv = (self._program, *stage_argv(wanted, digest, origin))
        checked(await told(self._jobs.run(JOB, digest, argv, self._stage_timeout)))
        return Staged(outcome=StageOutcome.STAGED, deployment=await self._staged(digest))

    async def finalize(self, digest: str, *, allow_unlocked: bool = False) -> None:
        """Unlock the staged deployment and ask for the reboot. Raises OsError."""
        await self._call(finalize_argv(digest, allow_unlocked=allow_unlocked))

    async def lock_finalization(self) -> None:
        """Lock the staged deployment again. Raises OsError; NOTHING_STAGED where there is none."""
        await self._run(self._ostree, ("admin", "lock-finalization"))

    async def cleanup_pending(self) -> None:
        """Forget the pending deployment. Raises OsError."""
        await self._call(cleanup_argv())

    async def register_driver(self) -> None:
        """Register as this host's update driver, unless another program is. Raises OsError."""
        seen = await self.status()
        refuse_foreign_driver(seen)
        if seen.driver is None:
            await self._call(register_argv(DRIVER_NAME))

    async def _locked(self, there: Staged, digest: str) -> Staged:
        if not there.deployment.staged or there.deployment.locked:
            return there
        await self.lock_finalization()
        return Staged(outcome=there.outcome, deployment=await self._staged(digest))

    async def _staged(self, digest: str) -> Deployment:
        staged = (await self.status()).staged
        if staged is None or staged.digest != digest or not staged.locked:
            found = "nothing" if staged is None else f"{staged.digest}, {'' if staged.locked else 'not '}locked"
            raise OsError(OsProblem.NO_EFFECT, f"staging {digest} ended well, but staged is {found}")
        return staged

    async def _call(self, arguments: Sequence[str]) -> str:
        return await self._run(self._program, arguments)

    async def _run(self, program: str, arguments: Sequence[str]) -> str:
        return checked(await told(self._runner.run((program, *arguments), self._call_timeout))).out


async def told(call: Awaitable[Completed]) -> Completed:
    """What it gives; what kept it from running to its end as an OsError."""
    try:
        return await call
    except RunError as error:
        kind = next((kind for known, kind in _RUN_PROBLEMS if isinstance(error, known)), OsProblem.COMMAND_FAILED)
        raise OsError(kind, str(error)) from error


def checked(done: Completed, reader: Callable[[str], tuple[OsProblem, str]] = problem_in) -> Completed:
    """The same where it ended well. Raises OsError with what it said, as `reader` reads stderr."""
    if done.code != 0:
        kind, sentence = reader(done.err)
        program, verb = Path(done.argv[0]).name, done.argv[1]
        raise OsError(kind, f"{program} {verb}: {sentence} (exit code {done.code})")
    return done


def refuse_while_busy(seen: OsStatus) -> None:
    """Raise OsError where a transaction runs: rpm-ostree takes one at a time, and it may be changing what is staged."""
    if seen.transaction:
        raise OsError(OsProblem.TRANSACTION_RUNNING, f"rpm-ostree is busy with: {seen.transaction}")


def refuse_failed_boot(seen: OsStatus, digest: str) -> None:
    """Raise OsError where the host fell back from this very image: booting it again would do no better."""
    if seen.failed_boot(digest):
        raise OsError(OsProblem.FAILED_BOOT, f"{digest} was to be booted, and the host came up without it")


def refuse_full_disk(root: Path) -> None:
    """Raise OsError before minutes of download that could end nowhere else."""
    if wrong := too_small(root):
        raise OsError(OsProblem.NO_SPACE, wrong)


def refuse_foreign_driver(seen: OsStatus) -> None:
    """Raise OsError where another program drives the updates: --bypass-driver would overrule it."""
    if seen.driver and seen.driver.name != DRIVER_NAME:
        who = f"{seen.driver.name} ({seen.driver.unit})"
        raise OsError(OsProblem.OTHER_DRIVER, f"updates are driven by {who}; {_FOREIGN_FIRST}")


def already_there(seen: OsStatus, digest: str) -> Staged | None:
    """The deployment that holds the image already, if one does: staged before booted."""
    if seen.staged and seen.staged.digest == digest:
        return Staged(outcome=StageOutcome.ALREADY_STAGED, deployment=seen.staged)
    if seen.booted and seen.booted.digest == digest:
        return Staged(outcome=StageOutcome.ALREADY_BOOTED, deployment=seen.booted)
    return None
