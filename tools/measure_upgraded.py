"""Measures what the node daemon costs: size and start of dist/upgraded (make binary), and a minute of idleness.

Idle is a joined node of which nothing is ordered: the real daemon on a stand-in disk, against a real API server.
Memory is PSS, CPU is what the kernel counted of the process; a busy machine makes neither much larger.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.wire import node as keys
from kube_upgrade.lab.binaries import find_or_make
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.objects import kubeadm_objects
from kube_upgrade.lab.registry import Registry
from kube_upgrade.lab.runs import Run

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
from support.real_node import (  # noqa: E402 - the tests' own node
    NEW,
    OLD,
    REPOSITORY,
    a_node,
    cpu_seconds,
    family,
    history,
    pss_kib,
)

FOLDER = ROOT / "dist/upgraded"
STARTS = 5
SETTLED = 5.0  # seconds after its first report


def main() -> None:
    """Prints a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it is watched idle (%(default)g)")
    given = parser.parse_args()
    program = (str(FOLDER / "upgraded"),)
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    packed = FOLDER.with_suffix(".tar.gz").stat().st_size
    print(f"size: {packed / 2**20:.1f} MiB packed, {size / 2**20:.1f} MiB unpacked")
    print(f"start: {statistics.median(start(program) for _ in range(STARTS)):.2f} s until `version` has ended")
    with Run.open("measure") as run, ControlPlane.start(run, find_or_make()) as plane, TemporaryDirectory() as name:
        for body in kubeadm_objects(NEW, plane.url):
            plane.kubectl("apply", "-f", "-", input=json.dumps(body))
        print(asyncio.run(idle(plane, run, Path(name) / "worker-1", program, given.seconds)))


def start(program: tuple[str, ...]) -> float:
    """Seconds from the call to its end."""
    began = time.monotonic()
    subprocess.run([*program, "version"], check=True, capture_output=True)
    return time.monotonic() - began


async def idle(plane: ControlPlane, run: Run, folder: Path, program: tuple[str, ...], seconds: float) -> str:
    """Memory and CPU of all the daemon's processes."""
    with Registry() as registry:
        stream, old = f"{registry.host}/{REPOSITORY}", registry.publish(REPOSITORY, OLD)
        async with (
            KubeApi.connect(plane.admin_kubeconfig, user_agent="measure") as api,
            a_node(plane, run, folder, stream=stream, digest=old, program=program) as node,
        ):
            await history(api, folder.name, lambda n: keys.UPGRADED_VERSION in n.metadata.annotations)
            await asyncio.sleep(SETTLED)
            before = cpu_seconds(node.daemon.pid)
            await asyncio.sleep(seconds)  # the time that is measured
            used, processes = cpu_seconds(node.daemon.pid) - before, len(family(node.daemon.pid))
            memory = pss_kib(node.daemon.pid) / 1024
            share = used / seconds
            spent = f"{used:.2f} s of CPU in {seconds:g} s ({share:.2%})"
            return f"idle: {memory:.1f} MiB PSS, {spent}, processes: {processes}"


if __name__ == "__main__":
    main()
