"""The lock server on each store: requests a second, how fast a slot changes hands, memory.

`requestsPerSecond`: 64 clients with a group of their own each take and release in turn, at one replica.
`commitsPerSecond` beside it: what the barest loop of one client commits into the same place, one after the other; the
lock server may be faster, since it answers many requests after one commit.
`handover`: two clients at two replicas; from the moment the holder sends its release to the other's 200.
"""

import asyncio
import json
import secrets
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench.bare import Bare
from bench.usage import Meter, rss_mib
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.processes import answers

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.postgres import PASSWORD, USER, a_postgres

PROGRAM = Path(sys.executable).with_name("fleetlock")
CLIENTS, SECONDS, HANDOVERS, RAW_SECONDS = 64, 5.0, 200, 2.0
Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Replica:
    """A running lock server."""

    port: int
    pid: int


class Client:
    """One kept-alive connection of a FleetLock client, as bare as can be."""

    def __init__(self, port: int, group: str, id: str) -> None:
        self._port = port
        self._body = json.dumps({"client_params": {"id": id, "group": group}}).encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, operation: str) -> int:
        """The status of the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        head = f"POST /v1/{operation} HTTP/1.1\r\nHost: x\r\nfleet-lock-protocol: true\r\n"
        writer.write(f"{head}Content-Length: {len(self._body)}\r\n\r\n".encode() + self._body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        return int(answer.split(b" ", 2)[1])


def measure() -> list[Row]:
    """The stores that need no cluster."""
    with tempfile.TemporaryDirectory(dir=".", prefix="build-locks-") as name, a_postgres() as server:
        folder = Path(name).resolve()
        sqlite = {"type": "sqlite", "sqlite": {"file": str(folder / "locks.db")}}
        database = server.database(f"bench_{secrets.token_hex(4)}")
        postgres = {"type": "postgres", "postgres": asdict(database)}
        url = f"postgresql://{USER}:{PASSWORD}@{database.address}/{database.database}"
        return [
            asyncio.run(_store("sqlite", folder, {"storage": sqlite}, _sqlite_commits(folder))),
            asyncio.run(_store("postgres", folder, {"storage": postgres}, _postgres_commits(url))),
        ]


async def measure_kubernetes(plane: ControlPlane, nodes: int, bare: Bare) -> Row:
    """The Kubernetes store, in a cluster with so many nodes."""
    config = {"kubernetes": {"kubeconfig": str(plane.admin_kubeconfig)}, "namespace": "default"}
    row = await _store("kubernetes", plane.folder, config, await _lease_writes(bare))
    return {**row, "nodes": nodes}


async def _store(store: str, folder: Path, config: dict[str, Any], commits: float) -> Row:
    groups = {f"g{n}": {"slots": 1} for n in range(CLIENTS)}
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(_replica(folder, {**config, "groups": groups}))
        meter = Meter.start(fleetlock=first.pid)
        rate = await _rate(first)
        cpu = meter.read()["fleetlock"]
        second = await stack.enter_async_context(_replica(folder, {**config, "groups": groups}))
        ranked = sorted([await _handover(first, second, n) for n in range(HANDOVERS)])
        memory = rss_mib(first.pid)
    return {
        "bench": "fleetlock",
        "store": store,
        "nodes": 0,
        "requestsPerSecond": round(rate),
        "commitsPerSecond": round(commits),
        "cpuMsPerRequest": round(cpu / (rate * SECONDS) * 1000, 2),
        "handoverP50ms": round(statistics.median(ranked) * 1000, 1),
        "handoverP99ms": round(ranked[int(HANDOVERS * 0.99) - 1] * 1000, 1),
        "rssMiB": round(memory, 1),
    }


async def _rate(replica: Replica) -> float:
    """Requests answered with 200 in a second, by clients that never meet."""
    done, until = 0, time.monotonic() + SECONDS

    async def client(number: int) -> None:
        nonlocal done
        one = Client(replica.port, f"g{number}", f"client-{number}")
        while time.monotonic() < until:
            for operation in ("pre-reboot", "steady-state"):
                if (status := await one.ask(operation)) != 200:
                    raise RuntimeError(f"{operation} was answered with {status}")
                done += 1

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return done / SECONDS


async def _handover(first: Replica, second: Replica, number: int) -> float:
    """Seconds from the release at one replica to the grant at the other."""
    holder, waiter = Client(first.port, "g0", f"holder-{number}"), Client(second.port, "g0", f"waiter-{number}")
    if await holder.ask("pre-reboot") != 200:
        raise RuntimeError("the slot was not free")
    waiting = asyncio.create_task(waiter.ask("pre-reboot"))
    await asyncio.sleep(0.05)  # it has to be in line
    began = time.monotonic()
    releasing = asyncio.create_task(holder.ask("steady-state"))
    status = await waiting
    seconds = time.monotonic() - began
    if status != 200 or await releasing != 200 or await waiter.ask("steady-state") != 200:
        raise RuntimeError("a hand-over was refused")
    return seconds


@asynccontextmanager
async def _replica(folder: Path, config: dict[str, Any]) -> AsyncIterator[Replica]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = folder / f"{port}.yaml"
    listen = {"listen": f"127.0.0.1:{port}"}
    await asyncio.to_thread(file.write_text, json.dumps({**config, "server": listen, "logLevel": "warn"}))
    process = await asyncio.create_subprocess_exec(PROGRAM, "--config", file)
    try:
        while not await asyncio.to_thread(answers, port, "/readyz"):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.05)
        yield Replica(port, process.pid)
    finally:
        process.terminate()
        await process.wait()


def _per_second(commit: Callable[[int], object]) -> float:
    number, began = 0, time.monotonic()
    while time.monotonic() - began < RAW_SECONDS:
        commit(number)
        number += 1
    return number / (time.monotonic() - began)


def _sqlite_commits(folder: Path) -> float:
    db = sqlite3.connect(folder / "raw.db", isolation_level=None)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE raw (id INTEGER, body TEXT)"):
        db.execute(statement)
    rate = _per_second(lambda number: db.execute("INSERT INTO raw VALUES (?, 'x')", (number,)))
    db.close()
    return rate


def _postgres_commits(url: str) -> float:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE TABLE raw (id INTEGER, body TEXT)")
        return _per_second(lambda number: db.execute("INSERT INTO raw VALUES (%s, 'x')", (number,)))


async def _lease_writes(bare: Bare) -> float:
    """One Lease, replaced again and again."""
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    name = f"raw-{secrets.token_hex(4)}"
    kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    await bare.send("POST", path, {**kind, "metadata": {"name": name}})
    number, began = 0, time.monotonic()
    while time.monotonic() - began < RAW_SECONDS:
        await bare.patch(f"{path}/{name}", {"spec": {"holderIdentity": f"{number}"}})
        number += 1
    return number / (time.monotonic() - began)
