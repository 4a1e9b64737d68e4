"""Runs programs that must outlive this daemon: kubeadm and the fetching of an image are never cut off in the middle.

Whoever comes back finds a job by its files (job_files.py) and waits for it. A shell that is there can run only after
job.json says so: nobody starts what nobody can find. What an earlier boot left is swept when nobody can ask for it any
more. How a job is run: plain_jobs.py, systemd_jobs.py.
"""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from kube_upgrade.host.job_files import JobFiles, Record, exit_code, tail
from kube_upgrade.host.runner import Completed, NotStarted, RunError, TimedOut, host_environment
from kube_upgrade.model.host import Job

LOOK = 0.1  # seconds between two looks for the end
ASK_EVERY = 50  # looks: a unit that died without an exit code is found this much later
_NO_PROGRAM = (126, 127)  # the shell's exit codes for what it cannot run


class StillRunning(RunError):
    """A job of this name runs; it is not started a second time."""


class Lost(RunError):
    """The job is gone and left no exit code: nobody knows how it ended."""


class Jobs(Protocol):
    """Programs by name; at most one of each name runs on a host."""

    async def run(self, name: str, key: str, argv: Sequence[str], timeout: float) -> Completed:
        """Start and wait, `timeout` in seconds. `key` tells this run from others of the name.

        Raises NotStarted, StillRunning, TimedOut (its processes were ended) or Lost. Cancelling leaves it running.
        """

    async def join(self, name: str, timeout: float) -> Completed:
        """Wait for the one that was started before, at most `timeout` seconds from its start. Raises as `run`."""

    async def find(self, name: str) -> Job | None:
        """The last one of this name, running or ended."""


class FolderJobs(ABC):
    """What all kinds share: the files, and the waiting. `root` comes before every path."""

    def __init__(self, root: Path, env: Mapping[str, str] | None = None) -> None:
        self._files = JobFiles(root)
        self._env = dict(env) if env is not None else host_environment(os.environ)

    async def run(self, name: str, key: str, argv: Sequence[str], timeout: float) -> Completed:
        """As Jobs.run."""
        before = await self.find(name)
        if before and before.running:
            raise StillRunning(f"{argv[0]} is running already")
        try:
            if not os.access(argv[0], os.X_OK):
                raise NotStarted(f"{argv[0]} cannot be started: no such program")
            await self._start(name, self._files.emptied(name), key, argv)
        except OSError as error:
            raise NotStarted(f"{argv[0]} cannot be started: {error.strerror or error}") from error
        except ValueError as error:  # a null byte in a word
            raise NotStarted(f"{argv[0]!r} cannot be started: {error}") from error
        return await self.join(name, timeout)

    async def join(self, name: str, timeout: float) -> Completed:
        """As Jobs.join."""
        folder, record = self._files.folder(name), self._files.read(name)
        if record is None:
            raise Lost(f"{name} left no trace")
        looks = 0
        # The wall clock may be set by hours meanwhile; who goes by it ends kubeadm in the middle.
        deadline = time.monotonic() + timeout - await self._age(record.child)
        while not (folder / "code").exists():
            if time.monotonic() > deadline:
                await self._end(record.child)
                raise TimedOut(f"{record.argv[0]} did not end within {timeout:g} s")
            if looks % ASK_EVERY == 0 and not await self._alive(record.child) and not (folder / "code").exists():
                raise Lost(f"{record.argv[0]} is gone and left no exit code")
            await asyncio.sleep(LOOK)
            looks += 1
        await self._gone(record.child)
        return self._completed(folder, record)

    async def find(self, name: str) -> Job | None:
        """As Jobs.find."""
        record = self._files.read(name)
        if record is None:
            return None
        code = exit_code(self._files.folder(name))
        running = code is None and await self._alive(record.child)
        return Job(key=record.key, running=running, code=code if running else exit_code(self._files.folder(name)))

    def sweep(self, keep: Collection[str] = ()) -> tuple[str, ...]:
        """Remove what earlier boots left, all but the names to keep; gives the names of what went.

        A job of this boot stays, and one of which it is not known which boot it ran in.
        """
        old = tuple(name for name in self._files.of_earlier_boots() if name not in keep)
        for name in old:
            self._files.remove(name)
        return old

    @abstractmethod
    async def _start(self, name: str, folder: Path, key: str, argv: Sequence[str]) -> None:
        """Start it and leave its record in `folder`. Raises NotStarted, OSError."""

    @abstractmethod
    async def _alive(self, child: str) -> bool:
        """True while it runs."""

    @abstractmethod
    async def _age(self, child: str) -> float:
        """Seconds since it was started, by the kernel's clock; 0 where nobody can tell."""

    @abstractmethod
    async def _end(self, child: str) -> None:
        """Kill it, with all that it started."""

    @abstractmethod
    async def _gone(self, child: str) -> None:
        """Wait until the child that has said its exit code can be started again."""

    def _completed(self, folder: Path, record: Record) -> Completed:
        code = exit_code(folder)
        err = tail(folder / "err")
        if code is None:
            raise Lost(f"{record.argv[0]} left no readable exit code")
        if code in _NO_PROGRAM:
            raise NotStarted(f"{record.argv[0]} cannot be started: {err.strip()}")
        seconds = (folder / "code").stat().st_mtime - record.started
        return Completed(argv=record.argv, code=code, out=tail(folder / "out"), err=err, seconds=max(0.0, seconds))
