"""The whole way: plan applied → Complete, all nodes at once, against the same writes by the barest client."""

import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from pathlib import Path

from bench import fleet
from bench.bare import STRATEGIC, Bare, Refused, each
from bench.fleet import NODE, NODES, PLANS
from bench.usage import Meter, rss_mib
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.processes import free_port
from kube_upgrade.model.status import MAX_CLAIMS

CRD = Path(__file__).parents[1] / "deploy" / "crd" / "kubeupgradeplans.yaml"
LEAD_SECONDS = 30.0
LONGEST_SECONDS = 600.0  # of one rollout


def bare(plane: ControlPlane) -> Bare:
    """A bare client with the administrator's certificate."""
    pki = plane.folder / "pki"
    return Bare(plane.port, plane.ca, pki / "admin.crt", pki / "admin.key")


async def prepare(plane: ControlPlane, workers: list[str]) -> None:
    """The CRD and the nodes. Without the controller manager nobody marks silent nodes as lost."""
    plane.kubectl("apply", "-f", str(CRD))
    plane.kubectl("wait", "--for=condition=Established", "crd", "--all")
    for name in ("kube-scheduler", "kube-controller-manager"):
        plane.services[name].stop()
    async with bare(plane) as api:
        await fleet.create(api, workers)


async def measure(plane: ControlPlane, workers: list[str], *, rounds: int) -> dict[str, object]:
    """Rounds of bound and rollout in turn; medians, and the spread of the ratio pair by pair."""
    bounds, rollouts, last = [], [], dict[str, object]()
    for number in range(rounds):
        async with bare(plane) as api:
            await fleet.reset(api, workers)
            bounds.append(await bound(plane, api, workers))
            await fleet.reset(api, workers)
            seconds, last = await rollout(plane, api, workers)
            rollouts.append(seconds)
        print(f"  round {number + 1}/{rounds}: bound {bounds[-1]:.2f} s, rollout {seconds:.2f} s", file=sys.stderr)
    ratios = sorted(taken / least for taken, least in zip(rollouts, bounds, strict=True))
    return {
        "bench": "rollout",
        "nodes": len(workers),
        "seconds": round(statistics.median(rollouts), 2),
        "boundSeconds": round(statistics.median(bounds), 2),
        "ratio": round(statistics.median(ratios), 2),
        "ratioMin": round(ratios[0], 2),
        "ratioMax": round(ratios[-1], 2),
        **last,
    }


async def bound(plane: ControlPlane, api: Bare, workers: list[str]) -> float:
    """Order, node status and report for every node, the claims in batches, and one watch that only reads."""
    await _fresh_plan(api, "100%")
    draining = asyncio.create_task(_drain(api, await _version(api)))
    started = time.monotonic()
    for first in range(0, len(workers), MAX_CLAIMS):
        wave = workers[first : first + MAX_CLAIMS]
        await _claim(api, wave)
        await each(lambda name: _three_writes(api, name), wave)
    await _claim(api, [])
    seconds = time.monotonic() - started
    draining.cancel()
    await asyncio.gather(draining, return_exceptions=True)
    await api.send("DELETE", f"{PLANS}/bench")
    return seconds


async def rollout(plane: ControlPlane, api: Bare, workers: list[str]) -> tuple[float, dict[str, object]]:
    """The real controller and the daemons, each in a process of its own."""
    port = free_port()
    async with running(plane, api, port=port) as (controller, daemons):
        meter = Meter.start(
            apiserver=plane.services["kube-apiserver"].pid,
            etcd=plane.services["etcd"].pid,
            controller=controller.pid,
            daemons=daemons.pid,
        )
        started = time.monotonic()
        await api.send("POST", PLANS, fleet.plan("100%"))
        await _complete(api, len(workers))
        seconds = time.monotonic() - started
        figures = {
            "rssMiB": round(rss_mib(controller.pid), 1),
            "rssPeakMiB": round(rss_mib(controller.pid, "VmHWM"), 1),
            "cpuSeconds": meter.read(),
            **per_node(await asyncio.to_thread(scrape, port), len(workers)),
        }
        await api.send("DELETE", f"{PLANS}/bench")
    return seconds, figures


@asynccontextmanager
async def running(
    plane: ControlPlane, api: Bare, *, handovers: Path | None = None, port: int = 0
) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.subprocess.Process]]:
    """Controller (leading and synced) and daemons (watching)."""
    pki = plane.folder / "pki"
    argv = [str(plane.port), str(plane.ca), str(pki / "admin.crt"), str(pki / "admin.key"), await _version(api)]
    argv += [str(handovers)] if handovers else []
    pipe = asyncio.subprocess.PIPE
    daemons = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.daemons", *argv, stdout=pipe)
    assert daemons.stdout is not None
    await daemons.stdout.readline()
    with (plane.folder / "controller.log").open("ab") as log:
        argv = [sys.executable, "-m", "kube_upgrade.controller", "--kubeconfig", str(plane.admin_kubeconfig)]
        argv += ["--namespace", "default", "--listen", f"127.0.0.1:{port}", "--log-level", "warn"]
        controller = await asyncio.create_subprocess_exec(*argv, stderr=log)
    try:
        await _leading(api)
        yield controller, daemons
    finally:
        for process in (controller, daemons):
            if process.returncode is None:
                process.terminate()
            await process.wait()


def scrape(port: int) -> dict[str, float]:
    """The controller's own counters of API calls and bytes."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith("kube_upgrade")
    }


def per_node(metrics: dict[str, float], nodes: int) -> dict[str, float]:
    """Calls and body bytes of the whole rollout, lists and watches included, divided by the nodes."""
    calls = sum(value for name, value in metrics.items() if name.startswith("kube_upgrade_api_calls_total"))
    bodies = sum(value for name, value in metrics.items() if name.startswith("kube_upgrade_api_bytes_total"))
    return {"apiCallsPerNode": round(calls / nodes, 2), "apiBytesPerNode": round(bodies / nodes)}


async def _leading(api: Bare) -> None:
    """The Lease has a holder, and its informers have had time to list."""
    async with asyncio.timeout(LEAD_SECONDS):
        while True:
            try:
                path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/upgrade-controller"
                if json.loads(await api.send("GET", path))["spec"].get("holderIdentity"):
                    break
            except Refused:
                pass
            await asyncio.sleep(0.1)
    await asyncio.sleep(3.0)


async def _three_writes(api: Bare, name: str) -> None:
    order = {NODE + "kubernetesVersion": fleet.NEW, NODE + "kubeadm": "node", NODE + "status": "pending"}
    await api.patch(f"{NODES}/{name}", {"metadata": {"annotations": order}})
    info = {"nodeInfo": {**fleet.status_of(fleet.NEW)["nodeInfo"], "bootID": "after"}}  # type: ignore[dict-item]
    await api.patch(f"{NODES}/{name}/status", {"status": info}, type=STRATEGIC)
    await api.patch(f"{NODES}/{name}", {"metadata": {"annotations": {NODE + "status": "completed"}}})


async def _claim(api: Bare, wave: list[str]) -> None:
    since = "2026-11-24T00:00:00.000000Z"
    claims = [
        {"node": name, "uid": "0" * 36, "group": "workers", "version": fleet.NEW, "since": since} for name in wave
    ]
    await api.patch(f"{PLANS}/bench/status", {"status": {"claims": claims}})


async def _fresh_plan(api: Bare, max_unavailable: int | str) -> None:
    await api.send("POST", PLANS, fleet.plan(max_unavailable))


async def _complete(api: Bare, workers: int) -> None:
    async with asyncio.timeout(LONGEST_SECONDS):
        async for line in api.follow(PLANS, "0"):
            if re.search(rb'"summary":"Complete"', line):
                return


async def _drain(api: Bare, since: str) -> None:
    async for _ in api.follow(NODES, since):
        pass


async def _version(api: Bare) -> str:
    found = json.loads(await api.send("GET", f"{NODES}?limit=1"))
    return str(found["metadata"]["resourceVersion"])
