"""One node at a time: from a node's report to the next node's order, as the next node's daemon sees it."""

import asyncio
import statistics
import time
from pathlib import Path

from bench import fleet
from bench.fleet import PLANS
from bench.rollout import bare, running
from kube_upgrade.lab.control_plane import ControlPlane

HANDOVERS = 200
LONGEST = 300.0


async def measure(plane: ControlPlane, workers: list[str]) -> dict[str, object]:
    """Percentiles over the first hand-overs of a rollout with maxUnavailable 1."""
    log = plane.folder / "handovers"
    async with bare(plane) as api:
        await fleet.reset(api, workers)
        async with running(plane, api, handovers=log):
            await api.send("POST", PLANS, fleet.plan(1))
            seconds = await _collect(log, min(HANDOVERS, len(workers) - 1))
            await api.send("DELETE", f"{PLANS}/bench")
    ranked = sorted(seconds)
    return {
        "bench": "handover",
        "nodes": len(workers),
        "handovers": len(ranked),
        "p50ms": round(statistics.median(ranked) * 1000, 1),
        "p99ms": round(ranked[int(len(ranked) * 0.99) - 1] * 1000, 1),
        "maxms": round(ranked[-1] * 1000, 1),
    }


async def _collect(log: Path, count: int) -> list[float]:
    """The first line is the first order: nothing was handed over there."""
    return await asyncio.to_thread(_wait, log, count)


def _wait(log: Path, count: int) -> list[float]:
    deadline = time.monotonic() + LONGEST
    while len(lines := log.read_text().split()) <= count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(lines)} orders in {LONGEST:.0f} s")
        time.sleep(0.2)
    return [float(line) for line in lines[1 : count + 1]]
