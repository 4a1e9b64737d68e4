"""One daemon per node: a lock on /var/lib/kube-upgraded/lock that the kernel drops with the process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AnotherDaemon(Exception):
    """The lock is held: a DaemonSet beside a host service, or one started by hand."""


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
