"""bootc: what to call, and a thin driver that calls it, for hosts without rpm-ostree (design 3.1 and 3.4).

bootc pulls tags, not digests: what came is read back, and another digest than the wanted one is left locked and told.
"""

from collections.abc import Sequence
from pathlib import Path

from kube_upgrade.host.bootc_output import layered, parse_host, problem_in
from kube_upgrade.host.drivers import OsError
from kube_upgrade.host.jobs import Jobs
from kube_upgrade.host.paths import on_host
from kube_upgrade.host.rpm_ostree import (
    JOB,
    already_there,
    checked,
    refuse_failed_boot,
    refuse_full_disk,
    told,
    wanted_reference,
)
from kube_upgrade.host.runner import CommandRunner
from kube_upgrade.model.os import Deployment, ImageReference, OsProblem, OsStatus, Staged, StageOutcome


def status_argv() -> tuple[str, ...]:
    """The host's deployments, as JSON: without the flag it depends on the terminal."""
    return ("status", "--format=json")


def stage_argv(wanted: ImageReference, origin: ImageReference | None, *, unsigned: bool) -> tuple[str, ...]:
    """Stage `wanted`. Of the repository that the host follows it is staged locked; `switch` knows no such option."""
    if origin is not None and origin.repository == wanted.repository:
        tag = () if origin.tag == wanted.tag else ("--tag", wanted.tag)
        return ("upgrade", "--download-only", "--quiet", *tag)
    return ("switch", *(() if unsigned else ("--enforce-container-sigpolicy",)), f"{wanted.repository}:{wanted.tag}")


def finalize_argv() -> tuple[str, ...]:
    """Unlock what is staged and reboot into it, with nothing asked of the registry."""
    return ("upgrade", "--from-downloaded", "--apply")


class Bootc:
    """OsDriver over bootc and, to lock and to forget, ostree. Times are in seconds. A fetch outlives this process."""

    def __init__(
        self,
        runner: CommandRunner,
        jobs: Jobs,
        *,
        root: Path = Path("/"),
        path: str = "/usr/bin/bootc",
        ostree_path: str = "/usr/bin/ostree",
        systemctl_path: str = "/usr/bin/systemctl",
        stage_timeout: float = 3600.0,
        call_timeout: float = 120.0,
    ) -> None:
        self._runner = runner
        self._jobs = jobs
        self._root = root
        self._program = str(on_host(root, path))
        self._ostree = str(on_host(root, ostree_path))
        self._systemctl = str(on_host(root, systemctl_path))
        self._stage_timeout = stage_timeout
        self._call_timeout = call_timeout

    async def status(self) -> OsStatus:
        """Read all deployments. Raises OsError."""
        return parse_host(await self._status_text())

    async def stage(self, reference: str, digest: str, *, unsigned: bool) -> Staged:
        """Stage the image locked, unless it is staged or booted. Raises OsError; see OsDriver.stage.

        TAG_MOVED where the tag names another image by now; LAYERED where bootc may change nothing.
        """
        wanted = wanted_reference(reference, unsigned=unsigned)
        text = await self._status_text()
        seen = parse_host(text)
        if there := already_there(seen, digest):
            return await self._locked(there, digest)
        refuse_failed_boot(seen, digest)
        if layered(text):
            raise OsError(OsProblem.LAYERED, "packages are layered onto this host's image; bootc upgrades no such host")
        refuse_full_disk(self._root)
        origin = seen.deployments[0].image if seen.deployments else None
        argv = (self._program, *stage_argv(wanted, origin, unsigned=unsigned))
        checked(await told(self._jobs.run(JOB, digest, argv, self._stage_timeout)), problem_in)
        staged = (await self.status()).staged
        if staged is not None and not staged.locked:
            await self.lock_finalization()
        return Staged(outcome=StageOutcome.STAGED, deployment=await self._staged(digest))

    async def finalize(self, digest: str, *, allow_unlocked: bool = False) -> None:
        """Unlock the staged deployment and ask for the reboot. Raises OsError. bootc itself checks no digest."""
        staged = (await self.status()).staged
        if staged is None:
            raise OsError(OsProblem.NOTHING_STAGED, "nothing is staged")
        if staged.digest != digest:
            raise OsError(OsProblem.OTHER_STAGED, f"staged is {staged.digest}, not {digest}")
        if staged.locked:
            await self._run(self._program, finalize_argv())
        elif allow_unlocked:
            await self._run(self._systemctl, ("reboot",))
        else:
            raise OsError(OsProblem.ALREADY_UNLOCKED, f"{digest} is unlocked already")

    async def lock_finalization(self) -> None:
        """Lock the staged deployment again. Raises OsError; NOTHING_STAGED where there is none."""
        await self._run(self._ostree, ("admin", "lock-finalization"))

    async def cleanup_pending(self) -> None:
        """Forget what comes before the running deployment in the boot order. Raises OsError."""
        for _ in range(3):
            if (await self.status()).pending is None:
                return
            await self._run(self._ostree, ("admin", "undeploy", "0"))

    async def register_driver(self) -> None:
        """bootc knows no drivers."""

    async def _locked(self, there: Staged, digest: str) -> Staged:
        if not there.deployment.staged or there.deployment.locked:
            return there
        await self.lock_finalization()
        return Staged(outcome=there.outcome, deployment=await self._staged(digest))

    async def _staged(self, digest: str) -> Deployment:
        staged = (await self.status()).staged
        if staged is None or not staged.locked:
            found = "nothing" if staged is None else f"{staged.digest}, not locked"
            raise OsError(OsProblem.NO_EFFECT, f"staging {digest} ended well, but staged is {found}")
        if staged.digest != digest:
            raise OsError(OsProblem.TAG_MOVED, f"the tag names {staged.digest} by now, not {digest}")
        return staged

    async def _status_text(self) -> str:
        return await self._run(self._program, status_argv())

    async def _run(self, program: str, arguments: Sequence[str]) -> str:
        return checked(await told(self._runner.run((program, *arguments), self._call_timeout)), problem_in).out
