"""Where a file of the host is for this process, and what makes its name last."""

import os
from pathlib import Path


def on_host(root: Path, path: str | Path) -> Path:
    """`path` as the host names it (absolute), below `root`. With the root "/" that is the path itself."""
    return root / str(path).lstrip("/")


def sync_folder(folder: Path) -> None:
    """A file's new name survives a power cut only when its folder is on disk, too. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
