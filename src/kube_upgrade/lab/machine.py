"""A simulated node's disk: state in machine.json under a file lock, and real files below root/.

Stand-ins, lab and tests share this one model. Faults are set by the name of the command:

    "rpm-ostree rebase", "rpm-ostree status", "ostree admin", "kubeadm upgrade", "systemctl reboot", …
        fail (sentence on stderr) and code; hang (seconds before anything else); mode "no-effect" (exit 0, nothing done)
    "finalize"   mode "no-reboot": unlocked, and the host stays up
    "boot"       mode "previous": the first tree does not come up, the one that ran before does
    "kubeadm"    mode: the name of a recorded failure, see standins/kubeadm_faults.py
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from kube_upgrade.lab import machine_state as rules
from kube_upgrade.lab import proc
from kube_upgrade.lab.machine_files import lay_out, link_booted, start_stand_ins, write_tree
from kube_upgrade.lab.machine_state import Fault, Refused, State, Transaction, Tree

REBOOT = b"reboot"


class Machine:
    """One node, in one folder. Any number of processes may hold one; each operation is atomic between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self._file = folder / "machine.json"

    @classmethod
    def create(
        cls,
        folder: Path,
        name: str,
        *,
        image: str,
        version: str,
        digest: str,
        control_plane: bool = False,
        osname: str = "fedora-coreos",
        driver: str = "rpm-ostree",
        python: str = sys.executable,
        run: Path | None = None,
    ) -> "Machine":
        """A node that has booted `image` (as rpm-ostree prints references), which brings Kubernetes `version`.

        `driver` is rpm-ostree or bootc. Its programs carry the mark of the run in the folder `run`.
        """
        machine = cls(folder)
        tree = a_tree(osname, image, digest, version)
        boot_id = str(uuid.uuid4())
        machine_id = hashlib.sha256(f"{folder.absolute()} {name}".encode()).hexdigest()[:32]
        state = State(
            name=name, osname=osname, control_plane=control_plane, trees=[tree], booted=tree.id, boot_id=boot_id
        )
        start_stand_ins(folder, python, run)
        lay_out(folder, machine_id, version if control_plane else None, driver)
        write_tree(folder, tree)
        machine._write(state)
        machine._started(state)
        return machine

    @property
    def machine_id(self) -> str:
        """As in /etc/machine-id."""
        return (self.root / "etc/machine-id").read_text().strip()

    @property
    def boot_id(self) -> str:
        """As the kernel tells it; another one after each start."""
        return self.read().boot_id

    @property
    def version(self) -> str:
        """Kubernetes version of the booted tree: what its kubelet reports."""
        return self.read().booted_tree.kubernetes

    def read(self) -> State:
        """The state now. Changing the value changes nothing."""
        with self._lock(fcntl.LOCK_SH):
            return self._read()

    @contextlib.contextmanager
    def edit(self) -> Iterator[State]:
        """The state, to be changed: written back at the end unless an exception leaves."""
        with self._lock(fcntl.LOCK_EX):
            state = self._read()
            yield state
            self._write(state)
            self._drop_unknown_trees(state)

    @contextlib.contextmanager
    def transaction(self, title: str) -> Iterator[None]:
        """rpm-ostree's one transaction, held by this process. Raises Refused where another one runs."""
        with self.edit() as state:
            if state.reboot_requested:
                raise Refused("Reboot initiated, cannot start new transaction")
            if running := self._running(state):
                raise Refused(
                    f"Transaction in progress: {running.title}\n"
                    " You can cancel the current transaction with `rpm-ostree cancel`"
                )
            state.transaction = Transaction(title=title, pid=os.getpid(), started=start_of(os.getpid()))
        try:
            yield
        finally:
            with self.edit() as state:
                state.transaction = None

    def running_transaction(self) -> str:
        """Title of the transaction that runs, or empty."""
        running = self._running(self.read())
        return running.title if running else ""

    def stage(self, image: str, digest: str, version: str, *, locked: bool) -> Tree:
        """Stage an image that was pulled."""
        with self.edit() as state:
            tree = a_tree(state.osname, image, digest, version)
            rules.stage(state, tree, locked=locked)
            self._lay_down(tree)
        return tree

    def take_fault(self, *keys: str) -> Fault | None:
        """The first fault under one of these keys, counted as used."""
        with self.edit() as state:
            for key in keys:
                if fault := state.faults.get(key):
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times <= 0:
                            del state.faults[key]
                    return fault
        return None

    def set_fault(self, key: str, fault: Fault | None) -> None:
        """Let something go wrong from now on; None mends it."""
        with self.edit() as state:
            state.faults.pop(key, None)
            if fault is not None:
                state.faults[key] = fault

    def request_reboot(self) -> None:
        """Ask for a reboot: whoever holds the power (folder/power.sock) is told, and acts on it or not."""
        with self.edit() as state:
            state.reboot_requested = True
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), _power() as knock:
            _at_power(self.folder, lambda address: knock.sendto(REBOOT, address))

    def open_power(self) -> socket.socket:
        """The other end, for who holds the power: each datagram b"reboot" is a request. The caller closes it."""
        (self.folder / "power.sock").unlink(missing_ok=True)
        listener = _power()
        _at_power(self.folder, listener.bind)
        return listener

    def boot(self) -> None:
        """An orderly reboot: shut down (an unlocked staged deployment is written), then start."""
        self._restart(orderly=True)

    def power_cut(self) -> None:
        """A hard one: memory is lost, then start."""
        self._restart(orderly=False)

    def end_processes(self) -> None:
        """End what runs on this machine: every process that was given a path of its folder, and what those fork."""
        proc.end_those_given(str(self.folder.absolute()))

    def unit_running(self, name: str) -> bool:
        """True while the process of a transient unit lives."""
        pid, started = self.read().units.get(name, (0, ""))
        return bool(started) and start_of(pid) == started

    def _restart(self, *, orderly: bool) -> None:
        self.end_processes()
        fault = self.take_fault("boot") if self._next_differs(orderly) else None
        with self.edit() as state:
            (rules.shut_down if orderly else rules.lose_power)(state)
            fall_back = fault is not None and fault.mode == "previous"
            rules.start(state, str(uuid.uuid4()), fall_back=fall_back)
        self._started(self.read())

    def _next_differs(self, orderly: bool) -> bool:
        state = self.read()
        return state.trees[0].id != state.booted or (orderly and state.staged is not None and not state.locked)

    def _lay_down(self, tree: Tree) -> None:
        write_tree(self.folder, tree)

    def _started(self, state: State) -> None:
        (self.root / "proc/sys/kernel/random/boot_id").write_text(f"{state.boot_id}\n")
        link_booted(self.folder, state.booted_tree)

    def _running(self, state: State) -> Transaction | None:
        running = state.transaction
        return running if running and start_of(running.pid) == running.started else None

    def _drop_unknown_trees(self, state: State) -> None:
        """ostree removes the folder of a deployment that is no longer listed."""
        known = {tree.id for tree in (*state.trees, state.staged) if tree}
        for path in (self.root / "ostree/deploy" / state.osname / "deploy").iterdir():
            if path.name not in known:
                shutil.rmtree(path)

    @contextlib.contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        with (self.folder / "machine.lock").open("ab") as file:
            fcntl.flock(file, kind)
            yield

    def _read(self) -> State:
        return rules.load(json.loads(self._file.read_text()))

    def _write(self, state: State) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(rules.dump(state), indent=1))
        new.replace(self._file)


def a_tree(osname: str, image: str, digest: str, version: str) -> Tree:
    """The deployment that this image becomes: the same image is the same commit."""
    checksum = hashlib.sha256(f"{osname} {digest}".encode()).hexdigest()
    return Tree(
        osname=osname, checksum=checksum, digest=digest, image=image, kubernetes=version, timestamp=int(time.time())
    )


def _power() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def _at_power(folder: Path, act: Callable[[str], object]) -> None:
    """Use folder/power.sock by way of a file descriptor: a socket's address may have 107 bytes at most."""
    descriptor = os.open(folder, os.O_PATH)
    try:
        act(f"/proc/self/fd/{descriptor}/power.sock")
    finally:
        os.close(descriptor)


def start_of(pid: int) -> str:
    """A process's start time in clock ticks, empty where there is none: with the pid it names one process for good."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
