"""What an idle controller costs while every node writes its status each five minutes."""

import asyncio
import itertools
import time

from bench import fleet
from bench.bare import STRATEGIC
from bench.fleet import NODES, PLANS
from bench.rollout import bare, running
from bench.usage import Meter, rss_mib
from kube_upgrade.lab.control_plane import ControlPlane

PERIOD = 300.0  # seconds between two status reports of one kubelet (nodeStatusReportFrequency)
WATCHED = 30.0


async def measure(plane: ControlPlane, workers: list[str]) -> dict[str, object]:
    """CPU seconds of the controller over half a minute, with a paused plan over all nodes."""
    async with bare(plane) as api:
        await fleet.reset(api, workers)
        async with running(plane, api) as (controller, _):
            body = fleet.plan(1)
            spec = body["spec"]
            assert isinstance(spec, dict)
            await api.send("POST", PLANS, body | {"spec": spec | {"paused": True}})
            await asyncio.sleep(5.0)  # the status is written and the settings are on the nodes
            meter, began = Meter.start(controller=controller.pid), time.monotonic()
            for beat, name in enumerate(itertools.cycle(workers)):
                if (due := began + beat * PERIOD / len(workers)) > began + WATCHED:
                    break
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await api.patch(f"{NODES}/{name}/status", {"status": fleet.status_of(fleet.OLD, beat)}, type=STRATEGIC)
            figures = meter.read()
            size = rss_mib(controller.pid)
            await api.send("DELETE", f"{PLANS}/bench")
    return {
        "bench": "heartbeat",
        "nodes": len(workers),
        "seconds": WATCHED,
        "writesPerSecond": round(len(workers) / PERIOD, 1),
        "rssMiB": round(size, 1),
        "cpuSeconds": figures,
    }
