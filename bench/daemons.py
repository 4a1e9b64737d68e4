"""All the node daemons in one process of their own: an order is answered at once, by kubelet version and report.

python -m bench.daemons PORT CA CERTIFICATE KEY RESOURCE_VERSION [FILE]

FILE gets a line for each order: the seconds since the report before it, which is the hand-over where one node goes at a
time.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

from bench.bare import STRATEGIC, Bare
from bench.fleet import NODE, NODES, status_of


async def main(port: int, ca: Path, certificate: Path, key: Path, since: str, log: TextIO) -> None:
    """Answer until killed."""
    reported = 0.0
    async with Bare(port, ca, certificate, key) as api:
        answered: set[tuple[str, str]] = set()
        waiting: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

        async def worker() -> None:
            nonlocal reported
            while True:
                name, version = await waiting.get()
                info = {"nodeInfo": {**status_of(version)["nodeInfo"], "bootID": "after"}}  # type: ignore[dict-item]
                await api.patch(f"{NODES}/{name}/status", {"status": info}, type=STRATEGIC)
                reported = time.monotonic()
                await api.patch(f"{NODES}/{name}", {"metadata": {"annotations": {NODE + "status": "completed"}}})

        workers = [asyncio.create_task(worker()) for _ in range(16)]
        print("watching", flush=True)
        async for line in api.follow(NODES, since):
            if b'"node.kube-upgrade.heathcliff.eu/status":"pending"' not in line:
                continue  # read without parsing: most events are our own
            meta = json.loads(line)["object"]["metadata"]
            order = (meta["name"], meta["annotations"].get(NODE + "kubernetesVersion", ""))
            if order[1] and order not in answered:
                answered.add(order)
                waiting.put_nowait(order)
                print(time.monotonic() - reported if reported else 0.0, file=log, flush=True)
        for task in workers:
            task.cancel()


if __name__ == "__main__":
    ca, certificate, key = (Path(part) for part in sys.argv[2:5])
    with open(sys.argv[6] if len(sys.argv) > 6 else os.devnull, "w") as out:
        asyncio.run(main(int(sys.argv[1]), ca, certificate, key, sys.argv[5], out))
