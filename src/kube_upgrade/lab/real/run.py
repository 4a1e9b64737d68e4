"""One run on real nodes: check the machine, make what is missing, a cluster from nothing, the scenario, the result."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from kube_upgrade.kube.client import KubeApi
from kube_upgrade.lab.cluster import LabFailed
from kube_upgrade.lab.judge import judge_all
from kube_upgrade.lab.progress import Progress
from kube_upgrade.lab.real import capabilities, network, services, tools, workload
from kube_upgrade.lab.real.binaries import find_or_make
from kube_upgrade.lab.real.cluster import RealCluster, Wanted
from kube_upgrade.lab.real.content import Content
from kube_upgrade.lab.real.course import Course, witness_of
from kube_upgrade.lab.real.kubeadm import API_PORT
from kube_upgrade.lab.real.node import NodeFailed
from kube_upgrade.lab.real.outcome import RealOutcome
from kube_upgrade.lab.real.probe import Probe, Target
from kube_upgrade.lab.runs import Run, own_directory, runs_directory
from kube_upgrade.lab.show import Show
from kube_upgrade.lab.times import node_times
from kube_upgrade.model.version import KubeVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A course of events on real nodes. `prepare` runs before the plan, `play` applies it and sees it to the end."""

    name: str
    about: str
    play: Callable[[Course], Awaitable[None]]
    prepare: Callable[[RealCluster], None] = lambda cluster: None
    start: str = "v1.36.3"
    target: str = "v1.37.2"
    via: tuple[str, ...] = ()
    at_target: bool = True  # False where it ends before every node is there; the bounds are judged all the same
    daemon_set: bool = False  # `upgraded` is a DaemonSet, and no service of the hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a run shall be."""

    scenario: Scenario
    show: Show = field(default_factory=Show)
    control_planes: int = 1
    workers: int = 1
    conclude: Callable[[RealCluster, RealOutcome], None] = lambda cluster, outcome: None


def run_real(wishes: Wishes) -> RealOutcome:
    """From the look at the machine to the last process ended. Raises Incapable, NoTools, NoBinaries, NodeFailed."""
    scenario, show = wishes.scenario, wishes.show
    if scenario.daemon_set and services.packed_daemon() is None:
        raise tools.NoTools("there is no dist/upgraded.tar.gz to make the daemon set's image of: run `make binary`")
    capabilities.check(own_directory(runs_directory()))
    progress = Progress()
    versions = tuple(dict.fromkeys((scenario.start, *scenario.via, scenario.target)))
    content = Content.of(find_or_make(versions, progress), tools.find_or_fetch(progress))
    began = time.monotonic()
    with Run.open("real") as run:
        show.say(f"folder: {run.folder}")
        network.enter()
        wanted = Wanted(
            version=scenario.start,
            control_planes=wishes.control_planes,
            workers=wishes.workers,
            daemon_set=scenario.daemon_set,
        )
        cluster = RealCluster(wanted, run, content, show.say)
        cluster.create()
        try:
            _set_up(cluster, scenario, show)
            up = time.monotonic() - began
            outcome = asyncio.run(_upgrade(wishes, cluster, up))
            wishes.conclude(cluster, outcome)
            return outcome
        finally:
            cluster.stop()


def _set_up(cluster: RealCluster, scenario: Scenario, show: Show) -> None:
    cluster.start()
    cluster.deploy()
    cluster.kubectl("apply", "--filename=-", input="\n---\n".join(map(json.dumps, workload.objects())))
    cluster.deployed()
    cluster.kubectl("rollout", "status", f"deployment/{workload.NAME}", "--timeout=120s", timeout=130)
    show.say(f"upgraded: {services.packed_daemon() or 'this very source'}")
    scenario.prepare(cluster)
    show.say("nodes, programs and workload are up")


async def _upgrade(wishes: Wishes, cluster: RealCluster, up: float) -> RealOutcome:
    scenario = wishes.scenario
    with Probe(targets(cluster)) as probe:
        async with KubeApi.connect(cluster.kubeconfig, user_agent="lab") as api:
            witness = witness_of(api)
            course = Course(cluster, witness, wishes.show, scenario.target, scenario.via)
            began, failure = time.monotonic(), ""
            probe.zero = began
            async with witness.watching():
                try:
                    with wishes.show.live():
                        await scenario.play(course)
                except (LabFailed, NodeFailed) as error:
                    failure = str(error)
                    course.notes += [f"{node.name}: {node.log('upgraded', 3)}" for node in cluster.nodes]
            seconds = time.monotonic() - began
    history = witness.history()
    verdict = judge_all([*witness.past, history], proven=scenario.at_target)
    if not failure and verdict.breaches:
        failure = "; ".join(map(str, verdict.breaches))
    return RealOutcome(
        scenario=scenario.name,
        failure=failure,
        verdict=verdict,
        up=up,
        upgrade=seconds,
        nodes=node_times(history, KubeVersion.parse(scenario.target)),
        outages=probe.table(),
        out=probe.seconds(),
        notes=tuple(course.notes),
        filled=witness.filled,
    )


def targets(cluster: RealCluster) -> list[Target]:
    """The API by each control plane, and the Service by each node."""
    api = "API" if len(cluster.control_planes) > 1 else ""
    service = "web by any node" if len(cluster.nodes) > 1 else ""
    return [
        *(
            Target(f"API of {node.name}", node.address, API_PORT, "/readyz", True, api)
            for node in cluster.control_planes
        ),
        *(
            Target(f"web by {node.name}", node.address, workload.NODE_PORT, "/", False, service)
            for node in cluster.nodes
        ),
    ]
