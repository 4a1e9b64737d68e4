"""The few calls of Linux that Python 3.11 has no name for: mount(2), pivot_root(2), unshare(2)."""

import ctypes
import os
import platform
from pathlib import Path

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 1, 32, 4096, 16384, 1 << 18, 1 << 20
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str | Path, target: str | Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError that names the target."""
    arguments = (str(source).encode(), str(target).encode(), kind.encode(), flags, data.encode())
    _check(_libc.mount(*arguments[:3], ctypes.c_ulong(arguments[3]), arguments[4]), target)


def bind(source: str | Path, target: str | Path, *, read_only: bool = False) -> None:
    """Show a file or folder at another place, with what is mounted below it."""
    mount(source, target, flags=MS_BIND | MS_REC)
    if read_only:
        mount("none", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def unmount(target: str | Path) -> None:
    """Lazily: it is gone from the tree at once, and for good when nobody uses it any more."""
    _check(_libc.umount2(str(target).encode(), MNT_DETACH), target)


def pivot_root(new: str | Path, old: str | Path) -> None:
    """pivot_root(2)."""
    _check(_libc.syscall(PIVOT_ROOT[platform.machine()], str(new).encode(), str(old).encode()), new)


def unshare(flags: int) -> None:
    """unshare(2) for the calling thread, and for all that it starts later."""
    _check(_libc.unshare(flags), "unshare")


def _check(answer: int, what: str | Path) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(what))
