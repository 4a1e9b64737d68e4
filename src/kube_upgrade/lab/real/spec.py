"""What a node is started with: written by the lab as JSON, read by the node's PID 1."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A program that is kept running. At the node's start it runs where `needs` (a path, empty for always) exists."""

    name: str
    argv: tuple[str, ...]
    needs: str = ""
    arguments_file: str = ""  # KUBELET_KUBEADM_ARGS="…", as kubeadm writes it for the kubelet's unit


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """One start of one node. Paths are the machine's; `lower` are the layers of /usr, the highest first."""

    name: str
    folder: str
    lower: tuple[str, ...]
    address: str
    prefix: int
    gateway: str
    hosts: dict[str, str]  # name: address
    boot_id: str
    machine_folder: str  # as the node names it
    trees: str  # shown at /sysroot/trees
    shown: tuple[str, ...]  # folders of this machine at the same place in the node, read-only
    services: tuple[Service, ...]

    def save(self, path: Path) -> None:
        """Write it."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> "NodeSpec":
        """Read it."""
        raw = json.loads(path.read_text())
        services = tuple(Service(**{**each, "argv": tuple(each["argv"])}) for each in raw.pop("services"))
        lower, shown = tuple(raw.pop("lower")), tuple(raw.pop("shown"))
        return cls(services=services, lower=lower, shown=shown, **raw)
