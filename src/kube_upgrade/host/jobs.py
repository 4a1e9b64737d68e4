"""Runs programs that must outlive this daemon: kubeadm and the fetching of an image are never cut off in the middle.

Each job has a folder /var/lib/kube-upgraded/jobs/NAME with job.json (what runs, under which key, as which child), its
output and, at the end, its exit code, written by the shell that runs it. Whoever comes back finds a job by its folder
and waits for it. A shell that is there can run only after job.json says so: nobody starts what nobody can find.
A unit that starts late, after it was given up, finds its permit gone and runs nothing. What an earlier boot left is
swept when nobody can ask for it any more.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from kube_upgrade.host import identity
from kube_upgrade.host.paths import on_host
from kube_upgrade.host.runner import (
    GRACE,
    OUTPUT_LIMIT,
    CommandRunner,
    Completed,
    NotStarted,
    RunError,
    TimedOut,
    host_environment,
)
from kube_upgrade.model.host import Job

FOLDER = "/var/lib/kube-upgraded/jobs"
LOOK = 0.1  # seconds between two looks for the end
ASK_EVERY = 50  # looks: a unit that died without an exit code is found this much later
_RUN = '"$@" >"$0/out" 2>"$0/err" </dev/null; echo $? >"$0/new" && mv "$0/new" "$0/code"'
_GATED = f"read -r go || exit 125; {_RUN}"
_PERMITTED = f'rm "$0/$1" || exit 125; shift; {_RUN}'
_UNIT = ".service"
_NO_PROGRAM = (126, 127)  # the shell's exit codes for what it cannot run
_UNKNOWN = "unknown"  # boot


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


@dataclass(frozen=True, slots=True)
class _Record:
    key: str
    argv: tuple[str, ...]
    child: str
    boot: str
    started: float  # by the wall clock


class _FolderJobs(ABC):
    """What both kinds share: the folder. `root` comes before every path."""

    def __init__(self, root: Path, env: Mapping[str, str] | None = None) -> None:
        self._root = root
        self._env = dict(env) if env is not None else host_environment(os.environ)

    async def run(self, name: str, key: str, argv: Sequence[str], timeout: float) -> Completed:
        """As Jobs.run."""
        before = await self.find(name)
        if before and before.running:
            raise StillRunning(f"{argv[0]} is running already")
        try:
            if not os.access(argv[0], os.X_OK):
                raise NotStarted(f"{argv[0]} cannot be started: no such program")
            await self._start(name, self._emptied(name), key, argv)
        except OSError as error:
            raise NotStarted(f"{argv[0]} cannot be started: {error.strerror or error}") from error
        except ValueError as error:  # a null byte in a word
            raise NotStarted(f"{argv[0]!r} cannot be started: {error}") from error
        return await self.join(name, timeout)

    async def join(self, name: str, timeout: float) -> Completed:
        """As Jobs.join."""
        folder, record = self._folder(name), self._read(name)
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
        record = self._read(name)
        if record is None:
            return None
        code = _code(self._folder(name))
        running = code is None and await self._alive(record.child)
        return Job(key=record.key, running=running, code=code if running else _code(self._folder(name)))

    def sweep(self, keep: Collection[str] = ()) -> tuple[str, ...]:
        """Remove what earlier boots left, all but the names to keep; gives the names of what went.

        A job of this boot stays, and one of which it is not known which boot it ran in.
        """
        names = sorted(path.name for path in on_host(self._root, FOLDER).glob("*"))
        old = tuple(name for name in names if name not in keep and self._of_another_boot(name))
        for name in old:
            shutil.rmtree(self._folder(name), ignore_errors=True)
        return old

    def _of_another_boot(self, name: str) -> bool:
        record, here = self._read(name), self._boot()
        return record is not None and _UNKNOWN not in (record.boot, here) and record.boot != here

    def _boot(self) -> str:
        try:
            return identity.boot_id(self._root)
        except identity.NoIdentity:
            return _UNKNOWN

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

    def _folder(self, name: str) -> Path:
        return on_host(self._root, f"{FOLDER}/{name}")

    def _emptied(self, name: str) -> Path:
        folder = self._folder(name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        return folder

    def _read(self, name: str) -> _Record | None:
        path = self._folder(name) / "job.json"
        try:
            raw = json.loads(path.read_text())
            return _Record(
                key=str(raw["key"]),
                argv=tuple(raw["argv"]),
                child=str(raw["child"]),
                boot=str(raw.get("boot", _UNKNOWN)),  # daemons before this one did not write it
                started=path.stat().st_mtime,
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write(self, folder: Path, key: str, argv: Sequence[str], child: str) -> None:
        new = folder / "job.new"
        new.write_text(json.dumps({"key": key, "argv": list(argv), "child": child, "boot": self._boot()}))
        new.replace(folder / "job.json")

    def _completed(self, folder: Path, record: _Record) -> Completed:
        code = _code(folder)
        err = _tail(folder / "err")
        if code is None:
            raise Lost(f"{record.argv[0]} left no readable exit code")
        if code in _NO_PROGRAM:
            raise NotStarted(f"{record.argv[0]} cannot be started: {err.strip()}")
        seconds = (folder / "code").stat().st_mtime - record.started
        return Completed(argv=record.argv, code=code, out=_tail(folder / "out"), err=err, seconds=max(0.0, seconds))


class PlainJobs(_FolderJobs):
    """Without systemd: a process group of its own. The child is known by pid, start time and boot."""

    async def _start(self, name: str, folder: Path, key: str, argv: Sequence[str]) -> None:
        """The shell waits at its stdin until job.json names it; where we die before, it ends without running."""
        pid, gate = _gated(("/bin/sh", "-c", _GATED, str(folder), *argv), self._env)
        with gate:
            self._write(folder, key, argv, f"{pid} {_start_of(pid)} {self._boot()}")
            gate.write(b"go\n")

    async def _alive(self, child: str) -> bool:
        pid, started, boot = (*child.split(" "), "", "")[:3]
        if boot != self._boot() or not pid.isdecimal():
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


class SystemdJobs(_FolderJobs):
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
        self._write(folder, key, argv, unit)
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


def _code(folder: Path) -> int | None:
    """The exit code that the shell wrote; negative where a signal ended the program."""
    try:
        code = int((folder / "code").read_text())
    except (OSError, ValueError):
        return None
    return 128 - code if code > 128 else code


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


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - OUTPUT_LIMIT))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


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
