"""A run: one folder, the processes started for it, and the reaper that outlives its owner.

    with Run.open("lab") as run:
        child = subprocess.Popen(argv, env=run.environment(), start_new_session=True)
        run.adopt(child.pid)

Whatever way the owner ends, kill -9 included, the reaper (reaper.py) ends those process groups and removes the folder.
What a killed reaper left is swept by the next `Run.open`. Folders lie in one private directory per user,
`$TMPDIR/kube-upgrade-UID` (short: unix sockets inside allow 107 bytes of path). Since $TMPDIR is everybody's, that
directory must be a real one, ours and closed to others, and only what looks like a run's folder is ever removed.
"""

import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from kube_upgrade.lab import proc
from kube_upgrade.lab.real import cgroups

REAPS = "--run="  # what the reaper is given: the folder of the run to which it does not belong itself
# One JSON object a line: {"place": proc.place()}, {"owner"|"reaper"|"group": [pid, started]}, {"cgroup": name},
# {"keep": true}.
RECORD = "run.jsonl"
NAME = re.compile(r".+-[0-9a-f]{6}")  # of a run's folder
REAPER_PATIENCE = 10.0  # seconds an orderly close waits for the reaper, which needs at most 5


class RunError(Exception):
    """A run could not be opened; the message says why and what to do."""


@dataclass(slots=True, kw_only=True)
class Record:
    """What a run's record file tells: who watches over it, which groups it started, whether its folder stays."""

    watchers: dict[int, int] = field(default_factory=dict)
    groups: dict[int, int] = field(default_factory=dict)
    cgroups: set[str] = field(default_factory=set)
    keep: bool = False
    place: str = ""

    def take(self, line: str | bytes) -> None:
        """Add one line; a torn one (its writer was killed) tells nothing."""
        with suppress(ValueError, TypeError, KeyError):
            entry = json.loads(line)
            self.place = str(entry.get("place", self.place))
            self.keep = self.keep or bool(entry.get("keep"))
            self.cgroups |= {str(entry["cgroup"])} if "cgroup" in entry else set()
            for key, table in (("owner", self.watchers), ("reaper", self.watchers), ("group", self.groups)):
                if key in entry:
                    pid, started = entry[key]
                    table[int(pid)] = int(started)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The record in this folder; an empty one where there is none."""
        record = cls()
        with suppress(FileNotFoundError):
            for line in (folder / RECORD).read_bytes().splitlines():
                record.take(line)
        return record

    @property
    def elsewhere(self) -> bool:
        """True where its pids are those of another boot or PID namespace: nothing can be said of them here."""
        return self.place not in ("", proc.place())

    @property
    def watched(self) -> bool:
        """True while the owner or the reaper lives."""
        return any(proc.alive(pid, started) for pid, started in self.watchers.items())


def reap(folder: Path, record: Record, *, words: bool = True) -> list[proc.Seen]:
    """End what belongs to the run in `folder` and remove the folder, unless it is kept. Returns who would not end.

    `words` as in proc.belonging.
    """
    left = proc.end(record.groups, str(folder), words=words)
    for name in record.cgroups:
        cgroups.remove(name)
    if not record.keep:
        remove(folder)
    return left


def remove(folder: Path) -> None:
    """Remove a run's folder, the record last: a removal that is cut off leaves what the next sweep still knows.

    Nothing is removed while something is mounted below it: that would be another place's files.
    """
    if mounted_below(folder):
        return
    with suppress(OSError):
        for entry in folder.iterdir():
            if entry.name != RECORD:
                _remove_entry(entry)
    shutil.rmtree(folder, ignore_errors=True)


def mounted_below(folder: Path) -> list[str]:
    """Mount points at this folder or below it, as this process sees them."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if f"{point}/".startswith(f"{folder.resolve()}/")]


def _remove_entry(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)


def runs_directory() -> Path:
    """Where this user's runs lie."""
    return Path(tempfile.gettempdir()) / f"kube-upgrade-{os.getuid()}"


def own_directory(path: Path) -> Path:
    """The directory at `path`, made where it is missing. Raises RunError unless it is ours alone to write in."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    found = path.lstat()
    advice = "set TMPDIR to a directory of your own"
    if not stat.S_ISDIR(found.st_mode):
        raise RunError(f"{path} is no directory, or a link to one: remove it, or {advice}")
    if found.st_uid != os.getuid():
        raise RunError(f"{path} belongs to user {found.st_uid}, not to you: {advice}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise RunError(f"others may write in {path}: `chmod 700` it where you trust what is in it, or {advice}")
    return path


def _of_a_run(entry: Path) -> bool:
    """True for a folder that a run made: its name, our own, with a record, or empty since its owner died early."""
    found = entry.lstat()
    if not (NAME.fullmatch(entry.name) and stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()):
        return False
    record = entry / RECORD
    if os.path.lexists(record):
        return stat.S_ISREG(record.lstat().st_mode)
    return stat.S_IMODE(found.st_mode) == 0o700 and not any(entry.iterdir())


def sweep(base: Path) -> list[Path]:
    """Reap every run of this boot and PID namespace whose owner and reaper are both dead. Returns their folders.

    The caller holds the lock.
    """
    swept = []
    for folder in sorted(entry for entry in base.iterdir() if _of_a_run(entry)):
        record = Record.read(folder)
        if record.elsewhere or record.watched:
            continue
        if not record.keep or proc.belonging(record.groups, str(folder), words=False):
            reap(folder, record, words=not record.keep)
            swept.append(folder)
    return swept


class Run:
    """An open run; made by `Run.open`."""

    def __init__(self, folder: Path, reaper: subprocess.Popen[bytes], *, keep: bool) -> None:
        self.folder = folder
        self.keep = keep
        self.swept: list[Path] = []
        self._reaper = reaper

    @classmethod
    def open(cls, name: str, *, base: Path | None = None, keep: bool = False) -> Self:
        """Sweep what earlier runs left, make a folder `name-XXXXXX` and start its reaper.

        With `keep` the folder stays when the run ends. Raises RunError.
        """
        base = base or runs_directory()
        with _locked(base):
            swept = sweep(base)
            folder = base / f"{name}-{secrets.token_hex(3)}"
            folder.mkdir(mode=0o700)
            reaper = _start_reaper(folder)
            run = cls(folder, reaper, keep=keep)
            run.swept = swept
            run._tell({"place": proc.place()})
            run._tell({"owner": _identity(os.getpid())})
            run._tell({"reaper": _identity(reaper.pid)})
            if keep:
                run._tell({"keep": True})
        return run

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment that every process of this run is started with: it carries the run's mark."""
        return {**os.environ, **(extra or {}), proc.MARK: str(self.folder)}

    def adopt(self, pid: int) -> None:
        """Tell the reaper of a process just started as the leader of its own group."""
        seen = proc.see(pid)
        if seen is not None:
            self._tell({"group": [pid, seen.started]})

    def adopt_cgroup(self, name: str) -> None:
        """Tell the reaper of cgroups (real/cgroups.py) that belong to this run alone."""
        self._tell({"cgroup": name})

    @property
    def reaper_pid(self) -> int:
        """The reaper's pid."""
        return self._reaper.pid

    def close(self) -> None:
        """End everything of this run, orderly: the reaper does it. Raises RunError where it does not finish."""
        pipe = self._reaper.stdin
        if pipe is not None and not pipe.closed:
            pipe.close()
        try:
            self._reaper.wait(REAPER_PATIENCE)
        except subprocess.TimeoutExpired as late:
            raise RunError(f"the reaper of {self.folder} did not end within {REAPER_PATIENCE:.0f} s") from late
        if self.folder.exists() and not self.keep:  # the reaper was killed
            reap(self.folder, Record.read(self.folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tell(self, entry: dict[str, object]) -> None:
        """Write one line to the record and the same to the reaper, each by a single write."""
        line = (json.dumps(entry) + "\n").encode()
        record = os.open(self.folder / RECORD, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(record, line)
        finally:
            os.close(record)
        assert self._reaper.stdin is not None
        with suppress(BrokenPipeError):  # a killed reaper: the record serves the next sweep
            os.write(self._reaper.stdin.fileno(), line)


def _identity(pid: int) -> list[int]:
    seen = proc.see(pid)
    return [pid, seen.started if seen else 0]


def _start_reaper(folder: Path) -> subprocess.Popen[bytes]:
    """Start the reaper in a session of its own and wait until it watches."""
    reaper = subprocess.Popen(
        [sys.executable, "-m", "kube_upgrade.lab.reaper", f"{REAPS}{folder}"],  # no word of its own: proc.given
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    assert reaper.stdout is not None
    with reaper.stdout:
        answer = reaper.stdout.readline()
    if answer != b"watching\n":
        raise RunError(
            f"the reaper did not start (exit code {reaper.wait()}): is {sys.executable} the project's Python?"
        )
    return reaper


@contextmanager
def _locked(base: Path) -> Iterator[None]:
    """Hold the user's runs directory for one: nobody sweeps a folder whose record is still being written."""
    with (own_directory(base) / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
