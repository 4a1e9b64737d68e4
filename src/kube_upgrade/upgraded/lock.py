"""One daemon per node: a lock on /var/lib/kube-upgraded/lock that the kernel drops with the process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AnotherDaemon(Exception):
    """The lock is held: a DaemonSet beside a host service, or one started by hand."""


def running(path: Path) -> int | None:
    """The pid of the daemon that holds this lock; None where none does. It only looks, as /proc/locks shows it.

    Who tried the lock to find out would for that moment be the other daemon that a starting one ends for.
    """
    try:
        inode, locks = str(path.stat().st_ino), Path("/proc/locks").read_text()
    except OSError:
        return None
    held = (line.split() for line in locks.splitlines())
    return next((int(words[4]) for words in held if _is_flock_of(inode, words)), None)


def _is_flock_of(inode: str, words: list[str]) -> bool:
    """`N: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF` (proc_locks(5)); one that waits has `->` before FLOCK."""
    return words[1:2] == ["FLOCK"] and words[5].rpartition(":")[2] == inode


@contextmanager
def only_daemon(path: Path) -> Iterator[None]:
    """Hold the node for this process. Raises AnotherDaemon; OSError where the folder cannot be used."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise AnotherDaemon(f"{path} is held by another upgraded (pid {holder}) on this node") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
