"""Writes docs/fall-back-transcript.txt: a node whose new image does not boot, told by its own annotations.

The real daemon on a stand-in disk, against a real API server and etcd. Times and names differ from run to run.
"""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from kube_upgrade.kube import paths
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.wire import node as keys
from kube_upgrade.kube.wire.node import NodeObject
from kube_upgrade.lab.binaries import find_or_make
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.machine_state import Fault
from kube_upgrade.lab.node import LabNode
from kube_upgrade.lab.objects import kubeadm_objects
from kube_upgrade.lab.registry import Registry
from kube_upgrade.lab.runs import Run

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
from support.real_node import (  # noqa: E402 - the tests' own node
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

PAGE = ROOT / "docs/fall-back-transcript.txt"
NODE = "worker-1"
QUIET = 3.0  # seconds in which nothing more happens at the end
HEAD = """A node whose new image does not boot: it comes up with the old one, gives its lock back and says why.
Written by tools/fall_back_transcript.py: the real daemon on a stand-in disk, against a real API server and etcd.
"""


def main() -> None:
    """Run it on a control plane of its own."""
    with Run.open("transcript") as run, ControlPlane.start(run, find_or_make()) as plane, TemporaryDirectory() as name:
        for body in kubeadm_objects(NEW, plane.url):
            plane.kubectl("apply", "-f", "-", input=json.dumps(body))
        told = asyncio.run(play(plane, run, Path(name) / NODE))
        PAGE.write_text("\n".join(told).replace(str(Path(name) / NODE / "root"), "") + "\n")
    print(PAGE.relative_to(ROOT))


async def play(plane: ControlPlane, run: Run, folder: Path) -> list[str]:
    """The story's lines."""
    with Registry() as registry:
        stream = f"{registry.host}/{REPOSITORY}"
        old = registry.publish(REPOSITORY, OLD)
        registry.publish(REPOSITORY, NEW)
        async with (
            KubeApi.connect(plane.admin_kubeconfig, user_agent="transcript") as api,
            lock_server() as locks,
            a_node(plane, run, folder, stream=stream, digest=old) as node,
        ):
            await history(api, NODE, is_ready)
            node.machine.set_fault("boot", Fault(mode="previous", times=None))
            await annotate(api, NODE, order(stream, locks.url))
            lines = [HEAD, f"ordered: {NEW}, of a node that runs {OLD}"]
            lines += await followed(api, node, locks)
            return [line.replace(registry.host, "registry.example") for line in (*lines, "", *doctor(node))]


async def followed(api: KubeApi, node: LabNode, locks: LockServer) -> list[str]:
    """What node, lock server and host show, in the order in which it changes, until it stays as it is."""
    lines: list[str] = []
    said, asked, boots, began = "", 0, node.machine.read().boots, time.monotonic()
    last = began
    while time.monotonic() - last < QUIET or "failed" not in said:
        found = await api.get(paths.node(NODE), NodeObject)
        notes, machine = found.metadata.annotations, node.machine.read()
        news = [f"lock server: {operation}" for operation in locks.asked[asked:]]
        asked += len(news)
        if machine.boots != boots:
            boots = machine.boots
            news.append(f"host: has booted {machine.booted_tree.kubernetes}")
        words = ": ".join(filter(None, (f"{status(found)}/{notes.get(keys.PHASE, '')}", notes.get(keys.MESSAGE, ""))))
        if words != said:
            said = words
            news.append(f"node: {words}")
        if news:
            last = time.monotonic()
        lines += [f"[{time.monotonic() - began:5.1f} s] {line}" for line in news]
        await asyncio.sleep(0.02)  # looks often enough to see every word
    return lines


def doctor(node: LabNode) -> list[str]:
    """What a person on the node is told."""
    config = node.machine.root / "etc/kube-upgraded/config.yaml"
    argv = [sys.executable, "-m", "kube_upgrade.upgraded", "-c", str(config), "doctor"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return [
        "$ upgraded doctor",
        *(line.rstrip() for line in done.stdout.splitlines() if "state" in line or "bad" in line),
    ]


if __name__ == "__main__":
    main()
