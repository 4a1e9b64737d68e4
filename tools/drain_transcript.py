"""Writes docs/drain-transcript.txt: a drain that a PodDisruptionBudget blocks and that goes on when it is removed.

Real etcd, kube-apiserver and disruption controller; the lock server is the real program. Times and names differ from
run to run, the rest does not.
"""

import asyncio
import json
import secrets
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import msgspec

from kube_upgrade.fleetlock_client import FleetLock, Granted, Refused
from kube_upgrade.kube import paths
from kube_upgrade.lab.binaries import find_or_make
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.runs import Run

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
from support.drain_site import Site, a_drain_site, a_pdb, budget_counted, until  # noqa: E402 - the tests' own cluster

PAGE = ROOT / "docs/drain-transcript.txt"
HEAD = """A drain that a PodDisruptionBudget blocks, and that goes on when it is removed.
Written by tools/drain_transcript.py: a real API server with the real disruption controller, the real lock server.
"""


class Story:
    """Lines with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.lines = [HEAD]

    def tell(self, text: str) -> None:
        """What happens now."""
        self.lines += ["", f"[{time.monotonic() - self._began:5.1f} s] {text}"]

    def show(self, command: str, output: str) -> None:
        """What a person would type, and what comes back."""
        self.lines += [f"  $ {command}", *(f"  {line}" for line in output.rstrip().splitlines())]


def main() -> None:
    """Run it on a control plane of its own."""
    with Run.open("transcript") as run, ControlPlane.start(run, find_or_make()) as plane, TemporaryDirectory() as name:
        namespace = f"shop-{secrets.token_hex(2)}"
        plane.kubectl("create", "namespace", namespace)
        time.sleep(2.0)  # its service account
        PAGE.write_text("\n".join(asyncio.run(play(plane, namespace, Path(name)))) + "\n")
    print(PAGE.relative_to(ROOT))


async def play(plane: ControlPlane, namespace: str, folder: Path) -> list[str]:
    """The story's lines."""
    story = Story()

    def kubectl(*args: str) -> None:
        story.show(f"kubectl {' '.join(args)}", plane.kubectl(*args))

    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(a_drain_site(plane.admin_kubeconfig, namespace, folder))
        one, _ = await site.node("w1"), await site.node("w2")
        await site.pod("web-1", one)
        await site.api.create(paths.pdbs(namespace), a_pdb(1), msgspec.Raw)
        await until(lambda: budget_counted(site))
        url = await stack.enter_async_context(site.server(hold=3.0))
        lock = await stack.enter_async_context(site.client(url, one))

        story.tell(f"{one} runs a pod that a budget protects.")
        kubectl("get", "nodes")
        kubectl("get", "poddisruptionbudgets", "-n", namespace)
        story.tell(f"{one} asks for its slot; the server holds the request for 3 s.")
        answered(story, await lock.pre_reboot())
        kubectl("get", "nodes")
        kubectl("get", "leases", "-n", namespace)
        await metrics(story, url)
        story.tell("Somebody removes the budget.")
        kubectl("delete", "poddisruptionbudget", "web", "-n", namespace)
        story.tell(f"{one} asks again.")
        answered(story, await answer_at_last(lock))
        story.tell(f"{one} reboots, comes back and releases.")
        answered(story, await lock.steady_state())
        kubectl("get", "nodes")
        story.tell("What people see who were not there.")
        await asyncio.sleep(1.0)
        await events(story, site, one)
    return story.lines


async def answer_at_last(lock: FleetLock) -> Granted | Refused:
    """As a daemon asks, until granted."""
    while isinstance(answer := await lock.pre_reboot(), Refused):  # noqa: ASYNC110 - the server tells when
        await asyncio.sleep(0.2)
    return answer


def answered(story: Story, answer: Granted | Refused) -> None:
    """The answer as HTTP has it."""
    status = 200 if isinstance(answer, Granted) else answer.status
    story.lines.append(f"  HTTP {status} {json.dumps({'kind': answer.kind, 'value': answer.value})}")


async def metrics(story: Story, url: str) -> None:
    """What Prometheus sees of the drain."""
    async with httpx2.AsyncClient() as http:
        text = (await http.get(f"{url}/metrics")).text
    wanted = ("fleetlock_drain_blocked{", 'fleetlock_holders{group="workers"', "fleetlock_oldest_holder")
    lines = [line for line in text.splitlines() if line.startswith(wanted)]
    story.show("curl -s …/metrics | grep fleetlock", "\n".join(lines))


async def events(story: Story, site: Site, node: str) -> None:
    """Our Events about the node, oldest first."""
    listed = await site.api.get("/apis/events.k8s.io/v1/namespaces/default/events", dict[str, object])
    found = msgspec.convert(listed["items"], list[dict[str, object]])
    mine = [one for one in found if one["reportingController"] == "kube-upgrade.heathcliff.eu/fleetlock"]
    ranked = sorted(mine, key=lambda one: str(one["eventTime"]))
    lines = [f"{one['type']:8}{one['reason']:14}{one['note']}" for one in ranked]
    story.show(f"kubectl get events.events.k8s.io --field-selector regarding.name={node}", "\n".join(lines))


if __name__ == "__main__":
    main()
