"""Plays one cell of support.real_cells: the real daemon on a stand-in disk against a real API server and etcd."""

import asyncio
import json
import math
import os
import secrets
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kube_upgrade.fleetlock_client import Unreadable, read_locks
from kube_upgrade.kube import paths
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.errors import KubeError
from kube_upgrade.kube.wire import node as keys
from kube_upgrade.kube.wire.node import NodeObject
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.machine_state import Fault
from kube_upgrade.lab.node import LabNode
from kube_upgrade.lab.registry import Registry
from kube_upgrade.lab.runs import Run
from support.cosign import Signer
from support.real_cells import ANSWERS, API_AWAY, COMMANDS, PHASES, PROVEN, ROTATED, STRIKES, Cell, Who
from support.real_node import (
    NEW,
    OLD,
    REPOSITORY,
    LockServer,
    a_node,
    annotate,
    history,
    is_ready,
    lock_server,
    order,
    past_order,
    status,
)

KEY = "/etc/cosign.pub"
ETCD_KEY = "etc/kubernetes/pki/etcd/healthcheck-client.key"
MENDED_AFTER = 3.0  # seconds
AWAY = 10.0  # seconds without an API server
PATIENCE = 120.0  # seconds to the end, on a busy machine
LASTS = 3.0  # seconds that an end other than proven must last: longer than the daemon waits until it looks again


@dataclass(frozen=True, kw_only=True)
class Played:
    """How a cell ended. `struck` is the phase that the node showed when the fault came; empty where it lay in wait."""

    cell: Cell
    end: str
    seconds: float
    struck: str = ""

    @property
    def wrong(self) -> str:
        """What it should have been; empty where it was."""
        return "" if self.end == self.cell.end else f"{self.end} instead of {self.cell.end}"


@dataclass(kw_only=True)
class Scene:
    """One node in one cell. `new` is the digest of the image that it shall run."""

    cell: Cell
    node: LabNode
    plane: ControlPlane
    registry: Registry
    locks: LockServer
    api: KubeApi
    new: str
    signer: Signer = field(default_factory=Signer)
    statuses: set[str] = field(default_factory=set)  # that were seen on the Node since its order

    # --- what goes wrong ---------------------------------------------------------------------------

    def prepare(self) -> None:
        """Set what strikes by itself, and slow down what is to be struck in the middle."""
        cell, machine = self.cell, self.node.machine
        self.signer.write(machine.root / KEY.lstrip("/"))
        if cell.fault in (*STRIKES, API_AWAY):
            self.locks.slow = 1.0 if cell.step in ("lock", "release") else 0.0
            with machine.edit() as state:
                state.latency.update({"stage": 1.0, "kubeadm": 1.6, "pull": 0.1})
        elif cell.fault in ANSWERS:
            self.locks.refusals = [ANSWERS[cell.fault] or b" "] * 2
        elif cell.step == "lock":
            self.locks.slow = 3.0
        elif cell.fault == "registry away":
            self.registry.broken = 503
        elif cell.fault == "certificate missing":
            (machine.root / ETCD_KEY).rename(machine.root / f"{ETCD_KEY}.away")
        elif cell.fault == "cannot be written":
            (machine.root / "var/lib/kube-upgraded/etcd").write_text("not a folder")
        elif fault := _fault(cell):
            machine.set_fault(*fault)

    async def mend(self) -> None:
        """What was only away for a while comes back."""
        await asyncio.sleep(MENDED_AFTER)
        self.registry.broken = 0
        if self.cell.fault == "signed later":
            payload = self.signer.sign(self.new, f"{self.registry.host}/{REPOSITORY}")
            self.registry.attach(REPOSITORY, self.new, [payload])
        if self.cell.fault == "certificate missing":
            (self.node.machine.root / f"{ETCD_KEY}.away").rename(self.node.machine.root / ETCD_KEY)

    async def strike(self) -> str:
        """Let it go wrong when the node says that it is at the step; gives what it said.

        A node that was faster than we could look has passed the step: the fault strikes at its rest.
        """
        strikes = {
            "killed": lambda: self._signal(signal.SIGKILL),
            "SIGTERM": lambda: self._signal(signal.SIGTERM),
            "power cut": self.node.cut_power,
            "disk full": self._fill_disk,
            API_AWAY: self._take_api_away,
            ROTATED: self._rotate_certificate,
            "static pod gone": self._end_static_pod,
        }
        if self.cell.fault not in strikes:
            return ""
        wanted = PHASES[self.cell.step]
        seen = await history(self.api, self.node.name, lambda n: _phase(n) == wanted or self._at_rest(n))
        await strikes[self.cell.fault]()
        return _phase(seen[-1])

    async def _signal(self, number: signal.Signals) -> None:
        """To the daemon and what it waits for; the lab starts the next daemon."""
        if self.node.daemon.pid is not None:
            os.killpg(self.node.daemon.pid, number)

    async def _fill_disk(self) -> None:
        """The facts cannot be written for a while."""
        new = self._state.with_suffix(".new")
        while not new.is_dir():  # the daemon may just be writing it
            new.unlink(missing_ok=True)
            with suppress(FileExistsError):
                new.mkdir()
        await asyncio.sleep(2)  # how long the disk is full
        new.rmdir()

    async def _take_api_away(self) -> None:
        await asyncio.to_thread(self.plane.stop_apiserver, kill=True)
        await asyncio.sleep(AWAY)
        await asyncio.to_thread(self.plane.start_apiserver)

    async def _rotate_certificate(self) -> None:
        """kubelet.conf is half written for a second, then it holds another certificate."""
        conf = self.node.kubeconfig
        conf.write_text(conf.read_text()[:200])
        await asyncio.sleep(1)  # longer than a look takes
        name = self.node.name
        fresh = self.plane.kubeconfig(name, f"system:node:{name}", ["system:nodes"])
        conf.write_bytes(fresh.read_bytes())

    async def _end_static_pod(self) -> None:
        """The kubelet brings it back."""
        await self.api.delete(paths.pod("kube-system", f"kube-scheduler-{self.node.name}"), {"gracePeriodSeconds": 0})

    # --- what becomes of it ------------------------------------------------------------------------

    async def order(self, stream: str) -> None:
        """Tell the node to go to NEW; a rebuild of the running tag it finds by itself, its last order completed."""
        if self.cell.who is Who.OS:
            await annotate(self.api, self.node.name, past_order())
            self.registry.publish(REPOSITORY, OLD, build=2)
            return
        role = "apply" if self.cell.who is Who.CONTROL_PLANE else "node"
        await annotate(self.api, self.node.name, order(stream, self.locks.url) | {keys.KUBEADM: role})

    async def end(self) -> str:
        """The end in words, once it is the one that may be and stays; else what it is when patience ends."""
        deadline, end, message = time.monotonic() + PATIENCE, "", ""
        since = math.inf
        while time.monotonic() < deadline:
            with suppress(KubeError, Unreadable):  # the API server may be away
                node = await self.api.get(paths.node(self.node.name), NodeObject)
                self.statuses.add(status(node))
                end, message = self._end(node), node.metadata.annotations.get(keys.MESSAGE, "")
                if end == self.cell.end:
                    end += await self._astray(node)
                if end == self.cell.end:
                    since = min(since, time.monotonic())
                    if end == PROVEN or time.monotonic() >= since + LASTS:
                        return end
            await asyncio.sleep(0.1)  # other processes tell us nothing
        return f"{end} ({message})"

    def _end(self, node: NodeObject) -> str:
        notes, machine = node.metadata.annotations, self.node.machine.read()
        reason = notes.get(keys.MESSAGE, "").partition(":")[0]
        lock = f"lock {self._lock}"
        word = {"error": "error"}.get(status(node), "failed" if _phase(node) == "failed" else "waits")
        if machine.staged is not None and not machine.locked:
            lock += ", an unlocked image staged"
        if self._at_rest(node):
            return PROVEN if self.locks.asked[-1] == "steady-state" else "proven, but the lock was taken again"
        if self.cell.who is Who.OS and self.new in self._facts["badDigests"] and self._facts["lock"] is None:
            return f"stays: BadImage; {lock}"
        return f"{word}: {reason}; {lock}"

    async def _astray(self, node: NodeObject) -> str:
        """What is not as it must be beside the end: slot and cordon go with the daemon's lock, an OS update touches no
        status.
        """
        kept = self._lock == "kept"
        groups = await read_locks(self.locks.behind)
        held = any(holder.node == node.metadata.name for group in groups.values() for holder in group.holders)
        words = [f"the slot is {'held' if held else 'free'}"] if held != kept else []
        if node.spec.unschedulable != kept:
            words.append("the node is cordoned" if node.spec.unschedulable else "the node is not cordoned")
        if self.cell.who is Who.OS and self.statuses != {"completed"}:
            words.append(f"status was {', '.join(sorted(self.statuses))}")
        return "".join(f", but {word}" for word in words)

    def _at_rest(self, node: NodeObject) -> bool:
        """The wanted image runs, the last order is reported as completed, and no lock is held."""
        booted = self.node.machine.read().booted_tree.digest
        return status(node) == "completed" and booted == self.new and self._facts["lock"] is None

    @property
    def _lock(self) -> str:
        """Where it is. The release by which a new daemon makes sure is none."""
        if "pre-reboot" not in self.locks.asked:
            return "never taken"
        return "given back" if self._facts["lock"] is None else "kept"

    @property
    def _facts(self) -> Mapping[str, Any]:
        """state.json; what a daemon without one goes by."""
        try:
            facts: Mapping[str, Any] = json.loads(self._state.read_text())
        except FileNotFoundError:
            return {"lock": {}, "badDigests": {}}
        return facts

    @property
    def _state(self) -> Path:
        return self.node.machine.root / "var/lib/kube-upgraded/state.json"


def _phase(node: NodeObject) -> str:
    return node.metadata.annotations.get(keys.PHASE, "")


def _fault(cell: Cell) -> tuple[str, Fault] | None:
    """What is to be set on the machine: the name of a command or of a recorded failure, and what becomes of it."""
    command = COMMANDS.get((cell.who, cell.step), COMMANDS.get(cell.step, ""))
    recorded = cell.fault.partition(" ")[2]
    return {
        f"once {recorded}": ("kubeadm", Fault(mode=recorded)),
        f"always {recorded}": ("kubeadm", Fault(mode=recorded, times=None)),
        "fails": (command, Fault(fail="it broke")),
        "always fails": (command, Fault(fail="it broke", times=None)),
        "slow": (command, Fault(hang=4.0)),
        "no effect": ("finalize", Fault(mode="no-reboot"))
        if cell.step == "reboot"
        else (command, Fault(mode="no-effect")),
        "always without effect": (command, Fault(mode="no-effect", times=None)),
        "never comes": ("finalize", Fault(mode="no-reboot", times=None)),
        "falls back": ("boot", Fault(mode="previous", times=None)),
    }.get(cell.fault)


def _settings(cell: Cell, locks: LockServer) -> dict[str, Any]:
    """Of config.yaml, beside the lab's."""
    settings: dict[str, Any] = {"rebootWithin": "5s", "attempts": 5 if cell.end == PROVEN else 2}
    if cell.step == "check":
        settings["verification"] = {"keys": [KEY]}
    if cell.who is Who.OS:
        settings |= {"fleetlockUrl": locks.url, "fleetlockGroup": "workers", "checkInterval": "8s"}
        settings |= {"retryInterval": "1s", "allowUnsignedOstreeImages": True}
    return settings


async def play(plane: ControlPlane, behind: str, folder: Path, cell: Cell) -> Played:
    """One node from its order, or the rebuild of its image, to the end that is due. `behind`: the lock server's URL."""
    name, began = f"n-{secrets.token_hex(3)}", time.monotonic()
    control_plane = cell.who is Who.CONTROL_PLANE
    async with KubeApi.connect(plane.admin_kubeconfig, user_agent="test") as api:
        with Registry() as registry, Run.open("tests") as run:
            stream = f"{registry.host}/{REPOSITORY}"
            old = registry.publish(REPOSITORY, OLD)
            async with (
                lock_server(behind) as locks,
                a_node(
                    plane, run, folder / name, stream=stream, digest=old, control_plane=control_plane,
                    settings=_settings(cell, locks),
                ) as node,
            ):  # fmt: skip
                await history(api, name, is_ready)
                new = _wanted(registry, cell)
                scene = Scene(cell=cell, node=node, plane=plane, registry=registry, locks=locks, api=api, new=new)
                scene.prepare()
                await scene.order(stream)
                mended = asyncio.create_task(scene.mend())
                struck = await scene.strike()
                end = await scene.end()
                await mended
                return Played(cell=cell, end=end, seconds=time.monotonic() - began, struck=struck)


def _wanted(registry: Registry, cell: Cell) -> str:
    """The digest that the node shall run in the end. A rebuild goes under the running tag only when all is set."""
    if cell.who is Who.OS:
        return registry.publish(REPOSITORY, OLD, build=2, tag="later")
    return registry.publish(REPOSITORY, NEW)
