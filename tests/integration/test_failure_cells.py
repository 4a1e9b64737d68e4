"""Cells of the failure matrix with the real daemon process, real files, real kill -9 and power cuts (stand-in disk).

The whole matrix runs in memory (tests/properties/test_failure_matrix.py); here it is sampled, with another seed each
time, beside every cell that ever failed. `tools/campaign.py full` plays them all.
"""

import asyncio
import json
import os
import random
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.wire import node as keys
from kube_upgrade.kube.wire.node import NodeObject
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.machine_state import Fault
from kube_upgrade.lab.node import LabNode
from kube_upgrade.lab.objects import kubeadm_objects
from kube_upgrade.lab.registry import Registry
from kube_upgrade.lab.runs import Run
from support.examples import FAILURE_CELLS, many, profile
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
    status,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
AT_ONCE = 5
SEED = int(os.environ.get("KUBE_UPGRADE_SEED", secrets.randbelow(2**31)))
COMMANDS = {"stage": "rpm-ostree rebase", "kubeadm": "kubeadm upgrade", "reboot": "rpm-ostree finalize-deployment"}
PHASES = {"resolve": "resolving", "stage": "staging", "lock": "locking", "kubeadm": "kubeadm", "reboot": "rebooting",
          "verify": "verifying", "release": "releasing"}  # fmt: skip
STRIKES = ("killed", "power cut", "disk full")
ANSWERS = {
    "fails": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "html": b"HTTP/1.1 503 Busy\r\nContent-Length: 6\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://[::1]:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "202": b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "hangs up": b"",
}
CELLS = (
    *((step, strike) for step in PHASES for strike in STRIKES),
    *((step, fault) for step in COMMANDS for fault in ("fails", "slow", "no effect")),
    *(("lock", answer) for answer in ANSWERS),
    ("resolve", "registry away"),
)
EVER_FAILED: tuple[tuple[str, str], ...] = (("reboot", "power cut"),)


@dataclass(kw_only=True)
class Play:
    """One node in one cell."""

    node: LabNode
    registry: Registry
    locks: LockServer
    api: KubeApi

    async def strike(self, step: str, fault: str) -> None:
        """Let it go wrong: at once where a command or a server is to fail, else when the node says that it is there."""
        if fault in STRIKES:
            # A node that was faster than we could look has passed the step: the fault strikes at its rest.
            await history(self.api, self.node.name, lambda n: _is_at(n, PHASES[step]))
            happens = {"killed": self.kill, "power cut": self.node.cut_power, "disk full": self.fill}
            await happens[fault]()

    def prepare(self, step: str, fault: str) -> None:
        """Set what strikes by itself."""
        if step in COMMANDS and fault == "fails":
            self.node.machine.set_fault(COMMANDS[step], Fault(fail="it broke"))
        elif step in COMMANDS and fault == "slow":
            self.node.machine.set_fault(COMMANDS[step], Fault(hang=4.0))
        elif fault == "no effect":
            self.without_effect(step)
        elif step == "lock" and fault in ANSWERS:
            self.locks.refusals = [ANSWERS[fault] or b" "] * 2
        elif fault == "registry away":
            self.registry.broken = 503

    def without_effect(self, step: str) -> None:
        """The command says yes; a reboot that is asked for never comes."""
        if step == "reboot":
            self.node.machine.set_fault("finalize", Fault(mode="no-reboot"))
        else:
            self.node.machine.set_fault(COMMANDS[step], Fault(mode="no-effect"))

    async def kill(self) -> None:
        """kill -9; the lab starts the next daemon."""
        if self.node.daemon.pid is not None:
            os.killpg(self.node.daemon.pid, signal.SIGKILL)

    async def fill(self) -> None:
        """The facts cannot be written for a while."""
        new = self.node.machine.root / "var/lib/kube-upgraded/state.new"
        while not new.is_dir():  # the daemon may just be writing it
            new.unlink(missing_ok=True)
            with suppress(FileExistsError):
                new.mkdir()
        await asyncio.sleep(2)  # how long the disk is full
        new.rmdir()


async def play(api: KubeApi, plane: ControlPlane, folder: Path, cell: tuple[str, str]) -> str:
    """What is wrong with the end; empty where the node is proven at the target with its lock given back."""
    name = f"w-{secrets.token_hex(3)}"
    with Registry() as registry, Run.open("tests") as run:
        stream = f"{registry.host}/{REPOSITORY}"
        old, new = registry.publish(REPOSITORY, OLD), registry.publish(REPOSITORY, NEW)
        async with lock_server() as locks, a_node(plane, run, folder / name, stream=stream, digest=old) as node:
            config = node.machine.root / "etc/kube-upgraded/config.yaml"
            config.write_text(config.read_text() + "rebootWithin: 5s\n")
            scene = Play(node=node, registry=registry, locks=locks, api=api)
            await history(api, name, is_ready)
            scene.prepare(*cell)
            await annotate(api, name, order(stream, locks.url))
            mend = asyncio.create_task(_later(registry))
            await scene.strike(*cell)
            facts = node.machine.root / "var/lib/kube-upgraded/state.json"
            await history(api, name, lambda n: status(n) == "completed" and _released(facts))
            await mend
            machine = node.machine.read()
            wrong = {
                "not the ordered image": machine.booted_tree.digest != new,
                "an unlocked image is staged": machine.staged is not None and not machine.locked,
                "the lock was not given back last": locks.asked[-1] != "steady-state",
            }
            return ", ".join(words for words, holds in wrong.items() if holds)


def _is_at(node: NodeObject, phase: str) -> bool:
    return node.metadata.annotations.get(keys.PHASE) == phase or status(node) == "completed"


async def _later(registry: Registry) -> None:
    await asyncio.sleep(3)  # how long the registry is away
    registry.broken = 0


def _released(facts: Path) -> bool:
    return json.loads(facts.read_text())["lock"] is None


@pytest.fixture
async def api(control_plane: ControlPlane) -> AsyncIterator[KubeApi]:
    for body in kubeadm_objects(NEW, control_plane.url):
        control_plane.kubectl("apply", "-f", "-", input=json.dumps(body))
    async with KubeApi.connect(control_plane.admin_kubeconfig, user_agent="test") as connected:
        yield connected


def chosen() -> list[tuple[str, str]]:
    """All in a campaign, else a sample; the seed stands in a failure's text (KUBE_UPGRADE_SEED repeats it)."""
    if profile() == "full":
        return list(CELLS)
    rest = [cell for cell in CELLS if cell not in EVER_FAILED]
    return [*EVER_FAILED, *random.Random(SEED).sample(rest, many(FAILURE_CELLS) - len(EVER_FAILED))]


async def test_cells_with_real_processes_end_proven(api: KubeApi, control_plane: ControlPlane, tmp_path: Path) -> None:
    """A few at once: they mostly wait."""
    places = asyncio.Semaphore(AT_ONCE)
    complaints: dict[str, str] = {}

    async def one(cell: tuple[str, str]) -> None:
        async with places:
            try:
                wrong = await play(api, control_plane, tmp_path, cell)
            except TimeoutError:
                wrong = "it came to no end within 120 s"
        if wrong:
            complaints[" × ".join(cell)] = wrong

    await asyncio.gather(*(one(cell) for cell in chosen()))
    assert not complaints, f"KUBE_UPGRADE_SEED={SEED}: {complaints}"
