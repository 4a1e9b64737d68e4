"""Runs a job as a child of ours in a process group of its own: what is left to a daemon without systemd."""

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from kube_upgrade.host.job_files import RUN
from kube_upgrade.host.jobs import LOOK, FolderJobs
from kube_upgrade.host.runner import GRACE

_GATED = f"read -r go || exit 125; {RUN}"


class PlainJobs(FolderJobs):
    """Without systemd: a process group of its own. The child is known by pid, start time and boot."""

    async def _start(self, name: str, folder: Path, key: str, argv: Sequence[str]) -> None:
        """The shell waits at its stdin until job.json names it; where we die before, it ends without running."""
        pid, gate = _gated(("/bin/sh", "-c", _GATED, str(folder), *argv), self._env)
        with gate:
            self._files.write(folder, key, argv, f"{pid} {_start_of(pid)} {self._files.boot()}")
            gate.write(b"go\n")

    async def _alive(self, child: str) -> bool:
        pid, started, boot = (*child.split(" "), "", "")[:3]
        if boot != self._files.boot() or not pid.isdecimal():
            return False
        _reap(int(pid))
        now = _start_of(int(pid))
        return now == started if now else _group_exists(int(pid))

    async def _age(self, child: str) -> float:
        if not await self._alive(child) or not (ticks := child.split(" ")[1]).isdecimal():
            return 0.0
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / os.sysconf("SC_CLK_TCK"))

    async def _end(self, child: str) -> None:
        if not await self._alive(child):
            return
        group = _pid_of(child)
        _signal_group(group, signal.SIGTERM)
        for _ in range(int(GRACE / LOOK)):
            await asyncio.sleep(LOOK)
            _reap(group)
            if not _group_exists(group):
                return
        _signal_group(group, signal.SIGKILL)

    async def _gone(self, child: str) -> None:
        """Nothing is left to wait for where it is no process of ours."""
        if pid := _pid_of(child):
            _reap(pid)


def _gated(argv: tuple[str, ...], env: Mapping[str, str]) -> tuple[int, BinaryIO]:
    """The pid of a program in a session of its own, and its stdin. asyncio's children would end with its loop."""
    read, write = os.pipe()
    nothing = (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)
    actions = ((os.POSIX_SPAWN_DUP2, read, 0), nothing, (os.POSIX_SPAWN_DUP2, 1, 2))
    try:
        pid = os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True)
    except BaseException:
        os.close(write)
        raise
    finally:
        os.close(read)
    return pid, os.fdopen(write, "wb")


def _pid_of(child: str) -> int:
    """0 where it is no process, but a unit of systemd."""
    pid = child.partition(" ")[0]
    return int(pid) if pid.isdecimal() else 0


def _start_of(pid: int) -> str:
    """A process's start time in clock ticks since the boot; empty where there is none, or only its zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if state in "ZX" else fields[18]


def _reap(pid: int) -> None:
    """Take the end of a child of ours; a stranger's is its parent's business."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
