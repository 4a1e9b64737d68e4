"""Who this machine is: machine-id, and the boot-id that changes at every start."""

import uuid
from pathlib import Path

from kube_upgrade.core.fleetlock.identity import plain_machine_id
from kube_upgrade.host.paths import on_host

MACHINE_ID = "/etc/machine-id"
BOOT_ID = "/proc/sys/kernel/random/boot_id"


class NoIdentity(Exception):
    """A file that says who this machine is cannot be read, or says nothing of use."""


def machine_id(root: Path = Path("/")) -> str:
    """32 lower-case hex digits. Raises NoIdentity; BadMachineId where the file holds something else."""
    return plain_machine_id(_read(root, MACHINE_ID))


def boot_id(root: Path = Path("/")) -> str:
    """The running boot's id, a UUID with dashes as the kubelet reports it. Raises NoIdentity."""
    text = _read(root, BOOT_ID).strip()
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise NoIdentity(f"{BOOT_ID}: {text!r} is not a UUID") from None


def _read(root: Path, path: str) -> str:
    try:
        return on_host(root, path).read_text()
    except OSError as error:
        raise NoIdentity(f"{on_host(root, path)}: {error.strerror}") from error
