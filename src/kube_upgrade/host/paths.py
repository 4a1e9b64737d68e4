"""Where a file of the host is for this process."""

from pathlib import Path


def on_host(root: Path, path: str | Path) -> Path:
    """`path` as the host names it (absolute), below `root`. With the root "/" that is the path itself."""
    return root / str(path).lstrip("/")
