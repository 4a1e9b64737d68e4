"""The lab's composition root: reaper, control plane, registry and cluster, taken down again whatever happens."""

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from kube_upgrade.kube.client import KubeApi
from kube_upgrade.lab import audit
from kube_upgrade.lab.binaries import find_or_make
from kube_upgrade.lab.cluster import Lab, LabFailed
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.course import upgrade
from kube_upgrade.lab.outcome import Outcome
from kube_upgrade.lab.programs import NAMESPACE
from kube_upgrade.lab.registry import Registry
from kube_upgrade.lab.runs import Run
from kube_upgrade.lab.scenario import Scenario
from kube_upgrade.lab.show import Show

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How a run is to be made. `announce` is called just before the plan is applied, `conclude` after the verdict,
    while the cluster is still up; with `keep` it stays up until Ctrl-C, and its folder for good."""

    scenario: Scenario
    show: Show
    keep: bool = False
    without: str | None = None
    announce: Callable[[Lab], None]
    conclude: Callable[[Lab, Outcome], None]


def run_lab(wishes: Wishes) -> Outcome:
    """Set up, upgrade, judge, take down. Raises LabFailed, StartFailed and NoBinaries."""
    binaries = find_or_make()
    with Run.open("lab", keep=wishes.keep) as run:
        rules = run.folder / "audit-policy.yaml"
        rules.write_text(json.dumps(audit.policy(NAMESPACE)))
        log = run.folder / "control-plane" / "audit.log"
        flags = [f"--audit-policy-file={rules}", f"--audit-log-path={log}", "--audit-log-mode=blocking"]
        plane = ControlPlane.start(run, binaries, apiserver_args=flags)
        wishes.show.say("the control plane is up")
        try:
            return asyncio.run(_with_nodes(wishes, run, plane))
        finally:
            plane.stop(kill=True)  # nobody will need it: an orderly end takes a second


async def _with_nodes(wishes: Wishes, run: Run, plane: ControlPlane) -> Outcome:
    with Registry() as registry:
        async with KubeApi.connect(plane.admin_kubeconfig, user_agent="lab") as api:
            lab = Lab(
                scenario=wishes.scenario,
                run=run,
                plane=plane,
                api=api,
                registry=registry,
                show=wishes.show,
                without=wishes.without,
            )
            return await _upgrade(wishes, lab)


async def _upgrade(wishes: Wishes, lab: Lab) -> Outcome:
    await asyncio.gather(lab.prepare(), lab.build_nodes())
    lab.show.say(f"starting {len(lab.nodes)} nodes")
    supervisors = [asyncio.create_task(node.run(), name=node.name) for node in lab.nodes]
    try:
        await _unless(supervisors, _until_ready(lab))
        wishes.announce(lab)
        outcome = await _unless(supervisors, upgrade(lab))
        wishes.conclude(lab, outcome)
        if wishes.keep:
            await _unless(supervisors, _until_told())
        return outcome
    finally:
        for task in supervisors:
            task.cancel()
        await asyncio.gather(*supervisors, asyncio.to_thread(lab.programs.stop), return_exceptions=True)


async def _until_ready(lab: Lab) -> None:
    async def workloads() -> None:
        await lab.nodes_ready()
        await lab.start_workloads()

    await asyncio.gather(lab.start_programs(), workloads())
    lab.show.say("nodes, programs and workloads are up")


async def _until_told() -> None:
    """Return at Ctrl-C or SIGTERM. Kubelets and daemons go on meanwhile."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    try:
        await told.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _unless(supervisors: list[asyncio.Task[None]], work: Coroutine[Any, Any, T]) -> T:
    """The result of the work, unless a node's supervisor fails before: then that is the error."""
    task = asyncio.ensure_future(work)
    await asyncio.wait([task, *supervisors], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for supervisor in supervisors:
        if supervisor.done() and (error := supervisor.exception()):
            raise LabFailed(f"{supervisor.get_name()}: {error}") from error
    raise LabFailed("a node's supervisor ended")
