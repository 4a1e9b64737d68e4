"""Is there room for another deployment? An image is fetched into the ostree repository, its kernel into /boot."""

import shutil
from pathlib import Path

from kube_upgrade.host.paths import on_host

# Fedora CoreOS images hold some 2 GB, of which a new one shares most; ostree itself stops at 3 % free space. A kernel
# and its initramfs need some 110 MB, for which ostree frees what an older deployment left.
NEEDED = (("/ostree", 1 << 30), ("/boot", 16 << 20))


def too_small(root: Path) -> str:
    """Which file system is too full to stage onto, in words; empty where none is, or none is there to ask."""
    for name, needed in NEEDED:
        path = on_host(root, name)
        try:
            free = shutil.disk_usage(path).free
        except OSError:
            continue
        if free < needed:
            return f"{name} has {free >> 20} MiB free, and {needed >> 20} MiB are needed to stage an image"
    return ""
