"""A node's cgroups: one folder of its own in every v1 hierarchy, which its cgroup namespace shows it as the root."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from kube_upgrade.lab.real.capabilities import CGROUPS

BASE = Path("/sys/fs/cgroup")
PATIENCE = 3.0  # seconds until the kernel has let go of what has just ended
MUST_BE_SET = ("cpuset.cpus", "cpuset.mems")  # a new cpuset takes no process before


def folders(name: str) -> list[Path]:
    """One for each hierarchy."""
    return [BASE / hierarchy / name for hierarchy in (*CGROUPS, "systemd")]


def make(name: str) -> list[Path]:
    """Make them; a process joins by its pid in each folder's cgroup.procs."""
    made = folders(name)
    for folder in made:
        folder.mkdir(exist_ok=True)
    for knob in MUST_BE_SET:
        (BASE / "cpuset" / name / knob).write_text((BASE / "cpuset" / knob).read_text())
    return made


def remove(name: str) -> list[Path]:
    """Remove them with all below, and end who is still inside. Returns what would not go."""
    deadline = time.monotonic() + PATIENCE
    while left := [folder for folder in folders(name) if folder.exists()]:
        for folder in left:
            _remove(folder)
        if time.monotonic() > deadline:
            return [folder for folder in left if folder.exists()]
        time.sleep(0.02)
    return []


def _remove(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            for pid in Path(path, "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        with suppress(OSError):
            os.rmdir(path)
