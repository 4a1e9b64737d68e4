"""Runs a job as a transient unit of systemd, outside of this daemon's own: stopping us does not stop it.

A unit that starts late, after it was given up, finds its permit gone and runs nothing.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kube_upgrade.host.job_files import RUN
from kube_upgrade.host.jobs import LOOK, FolderJobs
from kube_upgrade.host.paths import on_host
from kube_upgrade.host.plain_jobs import PlainJobs
from kube_upgrade.host.runner import GRACE, CommandRunner, NotStarted, RunError

_PERMITTED = f'rm "$0/$1" || exit 125; shift; {RUN}'
_UNIT = ".service"


class SystemdJobs(FolderJobs):
    """With systemd as the init: a transient unit outside our own unit, so that stopping us does not stop it."""

    def __init__(
        self, root: Path, runner: CommandRunner, *, run: str, control: str, env: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(root, env)
        self._plain = PlainJobs(root, env)  # what a daemon without systemd left running
        self._runner = runner
        self._run_program = str(on_host(root, run))
        self._control = str(on_host(root, control))

    async def _start(self, name: str, folder: Path, key: str, argv: Sequence[str]) -> None:
        """systemd-run's word is not the last: whoever takes the permit first decides whether the unit runs anything."""
        unit, permit = f"kube-upgraded-{name}{_UNIT}", folder / f"permit-{secrets.token_hex(4)}"
        permit.touch()
        self._files.write(folder, key, argv, unit)
        variables = (f"--setenv={key}={value}" for key, value in self._env.items())
        options = (f"--unit={unit}", "--collect", "--quiet", "--service-type=exec", f"--description={argv[0]}")
        shell = ("/bin/sh", "-c", _PERMITTED, str(folder), permit.name)
        call = (self._run_program, *options, *variables, *shell, *argv)
        try:
            done = await self._runner.run(call, 30.0)
            wrong = f"{done.err.strip()} (exit code {done.code})" if done.code != 0 else ""
        except RunError as error:
            wrong = str(error)
        if wrong and await self._given_up(unit, permit):
            raise NotStarted(f"systemd-run {unit}: {wrong}")

    async def _given_up(self, unit: str, permit: Path) -> bool:
        """True where it runs nothing, now or later. A unit that was started has a moment to take its permit."""
        for _ in range(int(GRACE / LOOK)):
            if _taken(permit) or not await self._alive(unit):
                break
            await asyncio.sleep(LOOK)
        return _withdrawn(permit)

    async def _alive(self, child: str) -> bool:
        """Where systemd does not say, it counts as alive: better to wait than to run twice."""
        if not child.endswith(_UNIT):
            return await self._plain._alive(child)
        try:
            done = await self._runner.run((self._control, "show", "--property=ActiveState", "--value", child), 30.0)
        except RunError:
            return True
        return done.code != 0 or done.out.strip() not in ("inactive", "failed")

    async def _age(self, child: str) -> float:
        if not child.endswith(_UNIT):
            return await self._plain._age(child)
        wanted = ("show", "--property=ActiveEnterTimestampMonotonic", "--value", child)
        try:
            since = (await self._runner.run((self._control, *wanted), 30.0)).out.strip()
        except RunError:
            return 0.0
        known = since.isdecimal() and int(since) > 0  # microseconds; 0 where it never was active
        return max(0.0, time.monotonic() - int(since) / 1e6) if known else 0.0

    async def _end(self, child: str) -> None:
        if not child.endswith(_UNIT):
            return await self._plain._end(child)
        await self._runner.run((self._control, "stop", child), 120.0)
        return None

    async def _gone(self, child: str) -> None:
        for _ in range(int(GRACE / LOOK)):
            if not await self._alive(child):
                return
            await asyncio.sleep(LOOK)


def choose_jobs(root: Path, runner: CommandRunner, *, run: str, control: str) -> PlainJobs | SystemdJobs:
    """Transient units where systemd is the host's init (sd_booted(3)) and systemd-run is there, else plain children."""
    booted = on_host(root, "/run/systemd/system").is_dir()
    if booted and all(on_host(root, program).is_file() for program in (run, control)):
        return SystemdJobs(root, runner, run=run, control=control)
    return PlainJobs(root)


def _taken(permit: Path) -> bool:
    return not permit.exists()


def _withdrawn(permit: Path) -> bool:
    """True where the permit was still there: the unit will find none, whenever it starts."""
    try:
        permit.unlink()
    except OSError:
        return False
    return True
