"""The real daemon on a simulated disk against the real API server: a node, what stands between it and its lock server,
and eyes.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import yaml

from kube_upgrade.kube import paths
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.errors import NotFound, ServerError, Unreachable
from kube_upgrade.kube.wire import node as keys
from kube_upgrade.kube.wire.node import NodeObject
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.disk import CONFIG, Addresses, Credentials, install
from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.node import LabNode
from kube_upgrade.lab.processes import free_port
from kube_upgrade.lab.runs import Run
from kube_upgrade.lab.scenario import Pace

OLD, NEW = "v1.36.3", "v1.37.2"
PACE = Pace(boot=0.5, download=0.2, kubeadm=0.2, image_pull=0.0, settle=1.0)
REPOSITORY = "fcos-k8s"


@dataclass
class LockServer:
    """Each request is answered as `refusals` says, then by the real lock server `behind`, or granted where there is
    none. Remembers what was asked for.
    """

    refusals: list[bytes] = field(default_factory=list)
    slow: float = 0.0  # seconds before each answer
    asked: list[str] = field(default_factory=list)
    url: str = ""
    behind: str = ""  # its URL

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET "):
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()
            return
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l"))
        body = await reader.readexactly(length)
        assert set(json.loads(body)["client_params"]) == {"id", "group"}
        operation = head.split(b" ")[1].decode().rpartition("/")[2]
        self.asked.append(operation)
        await asyncio.sleep(self.slow)
        refusal = self.refusals.pop(0) if self.refusals and operation == "pre-reboot" else b""
        writer.write(refusal or await self._granted(head + body))
        await writer.drain()
        writer.close()

    async def _granted(self, request: bytes) -> bytes:
        if not self.behind:
            return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        address = urlsplit(self.behind)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(re.sub(rb"(?i)\r\nconnection: keep-alive", b"\r\nConnection: close", request, count=1))
        try:
            return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def lock_server(behind: str = "") -> AsyncIterator[LockServer]:
    server = LockServer(behind=behind)
    listener = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    async with listener:
        server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        yield server


@asynccontextmanager
async def a_node(
    plane: ControlPlane,
    run: Run,
    folder: Path,
    *,
    stream: str,
    digest: str,
    control_plane: bool = False,
    driver: str = "rpm-ostree",
    program: tuple[str, ...] | None = None,
    settings: Mapping[str, object] = MappingProxyType({}),
) -> AsyncIterator[LabNode]:
    """A node on v1.36.3 with kubelet, supervisor and daemon, named after its folder; `settings` go to config.yaml."""
    name = folder.name
    image = f"ostree-unverified-registry:{stream}:{OLD}"
    machine = Machine.create(
        folder, name, image=image, version=OLD, digest=digest, control_plane=control_plane, driver=driver
    )
    credentials = Credentials(
        kubelet=plane.kubeconfig(name, f"system:node:{name}", ["system:nodes"]),
        ca=plane.ca,
        admin=plane.admin_kubeconfig if control_plane else None,
        etcd_ca=plane.etcd_ca,
        etcd_client=plane.etcd_client,
    )
    etcd, port, probes = plane.etcd_url if control_plane else "", free_port(), free_port()
    addresses = Addresses(api_server=plane.url, etcd=etcd, kubelet_port=port, probe_port=probes)
    install(machine, credentials, addresses, PACE)
    config = machine.root / CONFIG
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **settings}))
    node = LabNode(
        name=name, machine=machine, health_port=addresses.kubelet_port, pace=PACE, with_daemon=True, lab=run, say=print
    )
    if program is not None:
        node = replace(node, program=program)
    task = asyncio.create_task(node.run())
    try:
        yield node
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        plane.kubectl("delete", "node", name, "--ignore-not-found")


async def annotate(api: KubeApi, name: str, notes: dict[str, str | None]) -> None:
    await api.patch(paths.node(name), {"metadata": {"annotations": notes}}, NodeObject)


def order(stream: str, locks: str) -> dict[str, str | None]:
    """What the controller writes in one patch, and the config of the node's group."""
    return {
        f"{keys.CONFIG}fleetlock-url": locks,
        f"{keys.CONFIG}fleetlock-group": "workers",
        f"{keys.CONFIG}stream": stream,
        f"{keys.CONFIG}allow-unsigned-ostree-images": "true",
        f"{keys.CONFIG}retry-interval": "1s",
        keys.KUBERNETES_VERSION: NEW,
        keys.KUBEADM: "node",
        keys.STATUS: "pending",
    }


def past_order() -> dict[str, str | None]:
    """What an order of OLD that is completed has left on the Node, and the plan's leave to update the OS."""
    return {
        keys.KUBERNETES_VERSION: OLD,
        keys.KUBEADM: "node",
        keys.STATUS: "completed",
        keys.OS_UPDATES: "2100-01-01T00:00:00Z",
    }


async def history(api: KubeApi, name: str, until: Callable[[NodeObject], bool]) -> list[NodeObject]:
    """The Node as it was at each look, up to the one that the condition holds for."""
    seen: list[NodeObject] = []
    async with asyncio.timeout(120):
        while not seen or not until(seen[-1]):
            await asyncio.sleep(0.02)  # looks often enough to see every status; nothing is decided by it
            try:
                node = await api.get(paths.node(name), NodeObject)
            except (NotFound, Unreachable, ServerError):
                continue  # its kubelet has not registered it yet, or the API server is away
            if not seen or node.metadata.resource_version != seen[-1].metadata.resource_version:
                seen.append(node)
    return seen


def status(node: NodeObject) -> str:
    return node.metadata.annotations.get(keys.STATUS, "")


def family(pid: int | None) -> list[int]:
    """A process and all that descend from it."""
    if pid is None:
        return []
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid, *(member for child in children for member in family(int(child)))]


def pss_kib(pid: int | None) -> int:
    """Memory of a process and its children, what they share with others counted in parts."""
    texts = (Path(f"/proc/{member}/smaps_rollup").read_text() for member in family(pid))
    return sum(int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("Pss:"))


def cpu_seconds(pid: int | None) -> float:
    """What a process has used of a core so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_ready(node: NodeObject) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)


async def until(holds: Callable[[], bool]) -> None:
    """Another process tells us nothing: look until it holds."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def kill_often(node: LabNode) -> None:
    """Each daemon gets a few seconds to live; the lab's supervisor starts the next one."""
    while True:
        await asyncio.sleep(4.1)
        await asyncio.to_thread(node.daemon.stop, kill=True)
