"""A rollout on real nodes under way: the plan applied, what happens seen through the API, moments waited for."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kube_upgrade.kube.client import KubeApi
from kube_upgrade.lab.cluster import LabFailed
from kube_upgrade.lab.history import World
from kube_upgrade.lab.judge import unproven
from kube_upgrade.lab.real import services
from kube_upgrade.lab.real.cluster import RealCluster
from kube_upgrade.lab.real.content import STREAM
from kube_upgrade.lab.real.node import RealNode
from kube_upgrade.lab.show import Show
from kube_upgrade.lab.view import phase, view
from kube_upgrade.lab.witness import Witness
from kube_upgrade.model.labels import CONTROL_PLANE_LABEL
from kube_upgrade.model.node import Node, NodeStatus
from kube_upgrade.model.version import KubeVersion

PLAN = "lab"
GLANCE = 1.0  # seconds between two looks at the picture where nothing moves


@dataclass(slots=True)
class Course:
    """One rollout. `notes` are what a scenario has found worth telling."""

    cluster: RealCluster
    witness: Witness
    show: Show
    target: str
    via: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    applied: float = 0.0  # when the plan was, on the monotonic clock

    async def apply_plan(self) -> None:
        """The plan that takes every node to the target."""
        self.applied = time.monotonic()
        await self.kubectl("apply", "--filename=-", input=json.dumps(plan(self.cluster, self.target, self.via)))

    async def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """As the administrator; repeated while the API is away."""
        return await asyncio.to_thread(self.cluster.kubectl, *arguments, timeout=240.0, input=input)

    async def run(self, node: RealNode, *argv: str, timeout: float = 120.0) -> str:
        """A command in a node that must end well; its stdout."""
        return await asyncio.to_thread(node.must, *argv, timeout=timeout)

    async def until(self, holds: Callable[[World], bool], seconds: float, what: str) -> None:
        """Wait until it holds in a world that the API has shown, and keep the picture current.

        Every revision is looked at. Raises LabFailed after `seconds`.
        """
        deadline = time.monotonic() + seconds
        world, looked = World(), 0
        while True:
            moved = self.witness.moved
            for revision in self.witness.seen[looked:]:
                world = world.after(revision)
                if holds(world):
                    return
            looked = len(self.witness.seen)
            self.show.picture(view(self.witness.world))
            if time.monotonic() > deadline:
                raise LabFailed(f"{what}: not within {seconds:.0f} s")
            await _moved_or(moved, GLANCE)

    async def phase(self, name: str, *phases: str, seconds: float = 600.0) -> None:
        """Wait until the node's daemon has reported one of these phases, since the plan came."""

        def reported(world: World) -> bool:
            node = world.nodes.get(name)
            return bool(world.plans) and node is not None and phase(node) in phases

        await self.until(reported, seconds, f"{name} {' or '.join(phases)}")

    async def complete(self, seconds: float) -> None:
        """Wait until the plan says Complete and every node is proven at the target."""

        def done(world: World) -> bool:
            plans = world.plans.values()
            ended = bool(plans) and all(each.status.summary == "Complete" and not each.status.claims for each in plans)
            return ended and not unproven(self.witness.history().baseline(), world)

        await self.until(done, seconds, "the plan is not Complete")

    async def failed(self, name: str, seconds: float) -> Node:
        """Wait until the node reports `error`; the node then."""

        def error(world: World) -> bool:
            node = world.nodes.get(name)
            return bool(world.plans) and node is not None and node.report.status is NodeStatus.ERROR

        await self.until(error, seconds, f"{name} does not report error")
        return self.witness.world.nodes[name]

    def note(self, text: str) -> None:
        """Something to tell in the result."""
        self.show.say(text)
        self.notes.append(text)

    def check(self, holds: bool, what: str) -> None:
        """A thing that must be so. Raises LabFailed."""
        if not holds:
            raise LabFailed(f"not so: {what}")
        self.note(what)


def witness_of(api: KubeApi) -> Witness:
    """Eyes on this cluster."""
    return Witness(api=api, now=lambda: datetime.now(UTC))


def plan(cluster: RealCluster, target: str, via: tuple[str, ...] = ()) -> dict[str, Any]:
    """One minor up (or more by `via`): control planes first, then workers."""
    upgraded = {
        "stream": f"{services.REGISTRY}/{STREAM}",
        "fleetlockUrl": cluster.lock_url,
        "allowUnsignedOstreeImages": True,
        "retryInterval": "10s",
    }
    return {
        "apiVersion": "kubeupgrade.heathcliff.eu/v1alpha3",
        "kind": "KubeUpgradePlan",
        "metadata": {"name": PLAN},
        "spec": {
            "kubernetesVersion": str(KubeVersion.parse(target)),
            **({"via": list(via)} if via else {}),
            "upgraded": upgraded,
            "groups": {
                "control-plane": _group("Exists", "control-plane"),
                "workers": _group("DoesNotExist", "workers") | {"dependsOn": ["control-plane"]},
            },
        },
    }


def _group(operator: str, lock: str) -> dict[str, Any]:
    chosen = {"matchExpressions": [{"key": CONTROL_PLANE_LABEL, "operator": operator}]}
    return {"selector": chosen, "upgraded": {"fleetlockGroup": lock}}


async def _moved_or(moved: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await moved.wait()
    except TimeoutError:
        return
