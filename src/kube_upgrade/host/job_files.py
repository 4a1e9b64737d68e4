"""What a job leaves on disk: a folder NAME with job.json, its output and, at the end, its exit code.

job.json says what runs, under which key, as which child and in which boot; the shell that runs it writes the rest.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kube_upgrade.host import identity
from kube_upgrade.host.paths import on_host
from kube_upgrade.host.runner import OUTPUT_LIMIT

FOLDER = "/var/lib/kube-upgraded/jobs"
RUN = '"$@" >"$0/out" 2>"$0/err" </dev/null; echo $? >"$0/new" && mv "$0/new" "$0/code"'  # sh; $0 is the folder
_UNKNOWN = "unknown"  # boot


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """job.json. `child` is a process (pid, start time, boot) or a unit's name; `started` is by the wall clock."""

    key: str
    argv: tuple[str, ...]
    child: str
    boot: str
    started: float


class JobFiles:
    """The folders of all jobs of a host; `root` comes before every path."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, name: str) -> Path:
        """The job's folder, which may not be there."""
        return on_host(self._root, f"{FOLDER}/{name}")

    def emptied(self, name: str) -> Path:
        """The job's folder with nothing in it. Raises OSError."""
        self.remove(name)
        folder = self.folder(name)
        folder.mkdir(parents=True, mode=0o700)
        return folder

    def remove(self, name: str) -> None:
        """The job's folder goes, as far as the disk lets it."""
        shutil.rmtree(self.folder(name), ignore_errors=True)

    def read(self, name: str) -> Record | None:
        """The job's record; None where there is no readable one."""
        path = self.folder(name) / "job.json"
        try:
            raw = json.loads(path.read_text())
            return Record(
                key=str(raw["key"]),
                argv=tuple(raw["argv"]),
                child=str(raw["child"]),
                boot=str(raw.get("boot", _UNKNOWN)),  # daemons before this one did not write it
                started=path.stat().st_mtime,
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: Path, key: str, argv: Sequence[str], child: str) -> None:
        """The record of what runs as this child, in one piece. Raises OSError, and TypeError for what is no text."""
        new = folder / "job.new"
        new.write_text(json.dumps({"key": key, "argv": list(argv), "child": child, "boot": self.boot()}))
        new.replace(folder / "job.json")

    def boot(self) -> str:
        """The id of this boot; a word that is none where it cannot be read."""
        try:
            return identity.boot_id(self._root)
        except identity.NoIdentity:
            return _UNKNOWN

    def of_earlier_boots(self) -> Iterator[str]:
        """Names of jobs that are known to have run in another boot."""
        here = self.boot()
        for name in sorted(path.name for path in on_host(self._root, FOLDER).glob("*")):
            record = self.read(name)
            if record is not None and _UNKNOWN not in (record.boot, here) and record.boot != here:
                yield name


def exit_code(folder: Path) -> int | None:
    """The exit code that the shell wrote; negative where a signal ended the program."""
    try:
        code = int((folder / "code").read_text())
    except (OSError, ValueError):
        return None
    return 128 - code if code > 128 else code


def tail(path: Path) -> str:
    """The end of an output, as much of it as is of use; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - OUTPUT_LIMIT))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
