"""One simulated node: its disk (Machine), its kubelet, the real `upgraded` as a process of its own, and its power.

Whoever asks the machine for a reboot, the supervisor here does it: the processes end, the machine boots, and after its
boot time both start again and find a new boot-id.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kube_upgrade.kube.client import KubeApi
from kube_upgrade.lab.disk import CONFIG
from kube_upgrade.lab.kubelet import Boot, Kubelet
from kube_upgrade.lab.kubelet import Pace as KubeletPace
from kube_upgrade.lab.machine import REBOOT, Machine
from kube_upgrade.lab.processes import Service
from kube_upgrade.lab.runs import Run
from kube_upgrade.lab.scenario import Pace

_LOOK_SECONDS = 1.0


@dataclass(slots=True, kw_only=True)
class LabNode:
    """A node that can be switched on and off. `run` supervises it until it is cancelled."""

    name: str
    machine: Machine
    health_port: int
    pace: Pace
    with_daemon: bool
    lab: Run
    say: Callable[[str], None]
    program: tuple[str, ...] = (sys.executable, "-m", "kube_upgrade.upgraded")  # the daemon, however it was built
    daemon: Service = field(init=False)
    reboots: int = 0
    peak_rss: int = 0  # KiB, over all lives of the daemon
    _kubelet: Kubelet | None = None
    _task: asyncio.Task[None] | None = None
    _api: KubeApi | None = None
    _power: asyncio.Lock = field(default_factory=asyncio.Lock)  # one switch at a time

    def __post_init__(self) -> None:
        argv = [*self.program, "--config", str(self.machine.root / CONFIG)]
        self.daemon = Service(self.lab, f"upgraded of {self.name}", argv, self.machine.folder / "upgraded.log")

    @property
    def kubeconfig(self) -> Path:
        """The kubelet's, on the node's disk."""
        return self.machine.root / "etc/kubernetes/kubelet.conf"

    def hand_over(self) -> dict[str, Any]:
        """What an outside replacement of the daemon needs here. Like any process of the node it ends with the power."""
        root = self.machine.root
        return {
            "name": self.name,
            "root": str(root),
            "kubeconfig": str(self.kubeconfig),
            "config": str(root / CONFIG),
            "binaries": {path.name: str(path) for path in sorted((root / "usr/bin").iterdir())},
        }

    async def run(self) -> None:
        """Switch on, obey the power button, keep the daemon alive; switch off in the end."""
        with self.machine.open_power() as button:
            button.setblocking(False)
            await self.switch_on()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._obey(button))
                    group.create_task(self._keep_alive())
            finally:
                await self.switch_off(orderly=False)

    async def switch_on(self) -> None:
        """Start kubelet and daemon on whatever the machine has booted."""
        state = self.machine.read()
        boot = Boot(
            name=self.name,
            version=state.booted_tree.kubernetes,
            boot_id=state.boot_id,
            machine_id=self.machine.machine_id,
            root=self.machine.root,
            health_port=self.health_port,
        )
        self._api = KubeApi.connect(self.kubeconfig, user_agent=f"kubelet/{state.booted_tree.kubernetes}")
        self._kubelet = Kubelet(self._api, boot, kubelet_pace(self.pace))
        self._task = asyncio.create_task(self._kubelet.run(), name=f"kubelet of {self.name}")
        if self.with_daemon:
            await asyncio.to_thread(self.daemon.start)

    async def switch_off(self, *, orderly: bool) -> None:
        """End both; an orderly end tells the API first."""
        self.note_rss()
        await asyncio.to_thread(self.daemon.stop, kill=not orderly)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if orderly and self._kubelet is not None:
            await self._kubelet.shutdown()
        if self._api is not None:
            await self._api.aclose()
        self._task = self._kubelet = self._api = None

    async def reboot(self, *, orderly: bool = True) -> None:
        """Off, through the firmware, on again; not orderly is a power cut."""
        self.reboots += 1
        self.say(f"{self.name} {'reboots' if orderly else 'loses power'}")
        await self.switch_off(orderly=orderly)
        await asyncio.to_thread(self.machine.boot if orderly else self.machine.power_cut)
        await asyncio.sleep(self.pace.boot)
        await self.switch_on()

    def note_rss(self) -> None:
        """Remember how much memory the daemon needed at most."""
        self.peak_rss = max(self.peak_rss, peak_rss(self.daemon.pid))

    async def _obey(self, button: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if await loop.sock_recv(button, 64) == REBOOT:
                async with self._power:
                    await self.reboot()

    async def cut_power(self) -> None:
        """A reboot that nobody asked for."""
        async with self._power:
            await self.reboot(orderly=False)

    async def _keep_alive(self) -> None:
        """What systemd does: a daemon or kubelet that ended comes back. A kubelet that fails ends the lab instead."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            async with self._power:
                self.note_rss()
                if self._task is not None and self._task.done():
                    self._task.result()
                if self.with_daemon and not self.daemon.alive:
                    self.say(f"upgraded of {self.name} ended, its log ends: {self.daemon.tail(3)}")
                    await asyncio.to_thread(self.daemon.start)


def kubelet_pace(pace: Pace) -> KubeletPace:
    """The kubelet's share of a scenario's pace."""
    return KubeletPace(
        ready=pace.kubelet_ready,
        pod_start=pace.pod_start,
        pod_stop=pace.pod_stop,
        static_pod_start=pace.static_pod_start,
    )


def peak_rss(pid: int | None) -> int:
    """Most resident memory that a process ever had, in KiB; 0 where there is none."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
