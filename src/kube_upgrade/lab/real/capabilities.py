"""What a machine must be able to do for real nodes, asked before anything is built or started."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kube_upgrade.lab.real.kernel import PIVOT_ROOT

CGROUPS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
PROGRAMS = ("unshare", "nsenter", "ip")
NEEDED = {"CAP_SYS_ADMIN": 21, "CAP_NET_ADMIN": 12, "CAP_MKNOD": 27, "CAP_SYS_CHROOT": 18, "CAP_SYS_PTRACE": 19}
MEMORY = 3 * 1024**3  # bytes: one control plane and one worker need 1.1 GB, and the builds' cache is dropped for it
DISK = 4 * 1024**3  # bytes: a control plane's disk has 2.2 GB after an upgrade, a worker's 0.5
TRY_NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork", "--propagation", "private")
TRY_OVERLAY = """
set -e
mkdir -p lower upper work merged
mount -t overlay overlay -o lowerdir=lower:/usr,upperdir=upper,workdir=work merged
"""
TRY_NETWORK = """
set -e
ip link add br0 type bridge
ip link add e0 type veth peer name e1
ip link set e0 master br0
test -e /proc/sys/net/bridge/bridge-nf-call-iptables
"""


class Incapable(Exception):
    """This machine cannot run real nodes; the message has every reason on a line of its own."""


def check(folder: Path, *, user: int | None = None) -> None:
    """Raise Incapable where something is missing. `folder` is where the nodes' disks will be; `user` runs it."""
    found = [*_basics(os.geteuid() if user is None else user)]
    found += [] if found else [*_disk(folder), *_tried(folder)]
    if found:
        raise Incapable("this machine cannot run real nodes:\n" + "\n".join(f"  - {line}" for line in found))


def _basics(user: int) -> Iterator[str]:
    if sys.platform != "linux" or os.uname().machine not in PIVOT_ROOT:
        yield f"it is {sys.platform} on {os.uname().machine}; needed is Linux on {' or '.join(PIVOT_ROOT)}"
        return
    if user != 0:
        yield f"it is run by user {user}; needed is root (namespaces, mounts and cgroups of whole nodes)"
        return
    yield from (f"no program {name} on PATH" for name in PROGRAMS if shutil.which(name) is None)
    held = _capabilities()
    yield from (f"{name} is not in the effective set" for name, bit in NEEDED.items() if not held >> bit & 1)
    yield from _cgroups()
    if _memory() < MEMORY:
        yield f"{_memory() >> 20} MiB of memory are available; needed are {MEMORY >> 20}"


def _disk(folder: Path) -> Iterator[str]:
    if (free := shutil.disk_usage(folder).free) < DISK:
        yield f"{free >> 20} MiB of disk are free at {folder}; needed are {DISK >> 20} (TMPDIR names another place)"


def _cgroups() -> Iterator[str]:
    base = Path("/sys/fs/cgroup")
    if (base / "cgroup.controllers").exists():
        yield "/sys/fs/cgroup is cgroup v2 alone; these nodes are made of cgroup v1 hierarchies"
        return
    for name in (*CGROUPS, "systemd"):
        if not (base / name / "cgroup.procs").exists():
            yield f"no cgroup v1 hierarchy {name} at {base / name}"
        elif not os.access(base / name, os.W_OK):
            yield f"{base / name} is not writable"


def _tried(folder: Path) -> Iterator[str]:
    """What only an attempt tells, each in namespaces of its own that are gone afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        if why := _attempt("true", scratch):
            yield f"a node's namespaces cannot be made: {why}"
            return
        if why := _attempt(TRY_OVERLAY, scratch):
            yield f"no overlay can be mounted over {folder} (needed: an ordinary file system, CONFIG_OVERLAY_FS): {why}"
        if why := _attempt(TRY_NETWORK, scratch):
            yield f"no bridge, veth or br_netfilter in a network namespace (CONFIG_BRIDGE, CONFIG_VETH): {why}"


def _attempt(script: str, scratch: str) -> str:
    """Empty where the script ends well; else the last thing it said."""
    argv = ["unshare", *TRY_NAMESPACES, "sh", "-c", script]
    try:
        done = subprocess.run(argv, cwd=scratch, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def _capabilities() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    return int(line.split()[1], 16)


def _memory() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
