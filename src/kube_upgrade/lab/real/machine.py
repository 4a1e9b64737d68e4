"""A real node's deployments: the lab's one model of rpm-ostree, over folder trees that are laid over /usr.

The state lies on the node's own disk, in /var/lib/lab-machine. In the node the stand-ins change it; outside, who holds
the node's power asks it what to start. A staged deployment's programs are to be found where ostree puts them:
/ostree/deploy/OS/deploy/CHECKSUM.SERIAL/usr/bin/kubeadm.
"""

from pathlib import Path
from uuid import uuid4

from kube_upgrade.lab import machine_state as rules
from kube_upgrade.lab.machine import Machine, a_tree
from kube_upgrade.lab.machine_files import tree_path
from kube_upgrade.lab.machine_state import State, Tree

FOLDER = "/var/lib/lab-machine"
TREES = "/sysroot/trees"  # in the node: VERSION/usr of every deployment that may come
OSNAME = "fedora-coreos"


class RealMachine(Machine):
    """`root` is the node's root folder as this process sees it: `/` inside the node."""

    def __init__(self, folder: Path, root: Path = Path("/")) -> None:
        super().__init__(folder)
        self.root = root

    @classmethod
    def first_boot(cls, folder: Path, root: Path, name: str, *, image: str, version: str, digest: str) -> "RealMachine":
        """A node whose disk holds one deployment, not started yet."""
        machine = cls(folder, root)
        folder.mkdir(parents=True, exist_ok=True)
        tree = a_tree(OSNAME, image, digest, version)
        machine._write(
            State(name=name, osname=OSNAME, control_plane=False, trees=[tree], booted=tree.id, boot_id=str(uuid4()))
        )
        machine._lay_down(tree)
        return machine

    def restart(self, *, orderly: bool) -> State:
        """What the next start boots; an orderly end has written what was staged and unlocked."""
        fault = self.take_fault("boot") if self._next_differs(orderly) else None
        with self.edit() as state:
            (rules.shut_down if orderly else rules.lose_power)(state)
            rules.start(state, str(uuid4()), fall_back=fault is not None and fault.mode == "previous")
        return self.read()

    def _lay_down(self, tree: Tree) -> None:
        """The tree's /usr is the version's, which is on every node's disk from the start."""
        folder = tree_path(self.root, tree)
        folder.mkdir(parents=True, exist_ok=True)
        usr = folder / "usr"
        if not usr.is_symlink():
            usr.symlink_to(f"{TREES}/{tree.kubernetes}/usr")
