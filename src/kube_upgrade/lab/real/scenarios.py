"""The scenarios on real nodes: what happens, and what must be true then."""

import asyncio

from kube_upgrade.host.kubeadm_output import problem_in
from kube_upgrade.lab.history import World, in_service
from kube_upgrade.lab.machine_state import Fault
from kube_upgrade.lab.real import ours, repair, services, workload
from kube_upgrade.lab.real.cluster import NODES_NAMESPACE, RealCluster
from kube_upgrade.lab.real.course import Course
from kube_upgrade.lab.real.node import RealNode
from kube_upgrade.lab.real.refusals import REFUSALS
from kube_upgrade.lab.real.run import Scenario
from kube_upgrade.model.node import NodeStatus
from kube_upgrade.model.status import Reason

HOP = 600.0  # seconds that one minor may take on two cores, 1+1
CONTROL_PLANE, WORKER = "control-plane-1", "worker-1"
BROKEN = "registry.k8s.io/kube-apiserver:v1.37.2"
DEAD = 20.0  # seconds without an API after which it will not come back by itself
INTO_KUBEADM = 30.0  # seconds from kubeadm's start to the power cut: the old etcd is being stopped


async def _straight(course: Course) -> None:
    await course.apply_plan()
    await _to_the_end(course)


async def _to_the_end(course: Course) -> None:
    hops = 1 + len(course.via)
    await course.until(
        lambda world: _kubelet(world) == course.target, HOP * hops, "no control plane has the new kubelet"
    )
    versions = {image.rpartition(":")[2] for image in repair.manifest_images(course.cluster.first).values()}
    course.check(
        course.target in versions, f"the new kubelet met static pods of its own version: {', '.join(sorted(versions))}"
    )
    await course.complete(HOP * hops * len(course.cluster.nodes) / 2)
    await _lived_through(course, hops)


async def _lived_through(course: Course, hops: int) -> None:
    """The API away for minutes, its 403s afterwards: none of our programs has ended because of it."""
    restarts = await ours.restarts(course)
    ended = {name: count for name, count in restarts.items() if count > (hops if name.startswith(ours.STAY) else 0)}
    course.check(not ended, f"no container of ours has ended but with its node {ended or ''}".rstrip())
    fell = [line for node in course.cluster.nodes for line in ours.ends_of_daemon(node)]
    course.check(not fell, f"no upgraded has ended but with its node {fell or ''}".rstrip())


async def _as_daemonset(course: Course) -> None:
    """No host has the service. Beside the pod a second daemon says so and ends. Then the default run, in which all pods
    of the daemon set are replaced, as a new image would do it."""
    for node in course.cluster.nodes:
        done = await asyncio.to_thread(node.exec, services.PROGRAM, "--config", services.UPGRADED)
        refused = done.returncode == 1 and "is held by another upgraded" in done.stderr
        course.check(refused, f"{node.name}: a second upgraded beside the pod: {done.stderr.strip()}")
    await course.apply_plan()
    await course.phase(CONTROL_PLANE, "locking", "draining", "saving-etcd")
    await course.kubectl(f"--namespace={NODES_NAMESPACE}", "delete", "pods", "--all", "--wait=false")
    course.note("the pods of upgraded are replaced while the control plane waits for its lock")
    await _to_the_end(course)


async def _rough(course: Course) -> None:
    """Power cuts before, during and after kubeadm; then a PDB that lets nobody go, lifted later; then another cut."""
    first, worker = course.cluster.node(CONTROL_PLANE), course.cluster.node(WORKER)
    await course.apply_plan()
    await course.phase(CONTROL_PLANE, "locking", "draining", "saving-etcd")
    await _cut(course, first, "before kubeadm")
    await course.phase(CONTROL_PLANE, "kubeadm")
    await asyncio.sleep(INTO_KUBEADM)
    await _cut(course, first, "in the middle of kubeadm")
    await _budget(course, 0)
    await course.phase(CONTROL_PLANE, "verifying")
    await _cut(course, first, "after kubeadm, in its first boot of the new image")
    await course.until(_blocked, HOP, f"nobody says that the drain of {WORKER} is blocked by the PDB")
    course.note(f"the plan says that the drain of {WORKER} is held back by PodDisruptionBudget {workload.NAME}")
    await _budget(course, 1)
    course.note("the PDB is lifted")
    await course.phase(WORKER, "rebooting")
    await _cut(course, worker, "after kubeadm, before the new image was written")
    await course.complete(HOP)


async def _falls_back(course: Course) -> None:
    worker = course.cluster.node(WORKER)
    worker.machine.set_fault("boot", Fault(mode="previous"))
    await course.apply_plan()
    node = await course.failed(WORKER, HOP)
    course.note(f"{WORKER}: {node.report.message}")

    def released(world: World) -> bool:
        now = world.nodes.get(WORKER)
        return now is not None and in_service(now) and now.report.status is NodeStatus.ERROR

    await course.until(released, 60.0, f"{WORKER} is not back in service")
    course.check(
        str(course.witness.world.nodes[WORKER].kubelet) == "v1.36.3", f"{WORKER} runs v1.36.3 and is in service"
    )
    plan = next(iter(course.witness.world.plans.values()))
    course.note(f"plan: {plan.status.summary}")


async def _never_serves(course: Course) -> None:
    """kubeadm rolls its manifest back; when the image is mended the daemon's next try ends well."""
    first = course.cluster.first
    await course.apply_plan()
    await repair.until_failed(course, first, None, HOP)
    images = repair.manifest_images(first)
    course.check("kube-apiserver:v1.36.3" in images["kube-apiserver"], "the API server's manifest is the old one again")
    course.check("etcd:3.7" in images["etcd"], "etcd stays at the new version")
    await asyncio.to_thread(course.cluster.publish)
    await course.run(first, *repair.IMAGE_AGAIN.split())
    course.note("the image is mended")
    await course.complete(2 * HOP)


async def _cut_short(course: Course) -> None:
    """kubeadm gives up in the middle of etcd's step, twice; each documented way back brings the cluster back."""
    first = course.cluster.first
    await course.apply_plan()
    before = None
    for name, way_back in (
        ("kubeadm's own copy", repair.from_kubeadms_copy),
        ("our snapshot", repair.from_our_snapshot),
    ):
        await repair.until_failed(course, first, before, HOP)
        before = repair.last_failure(first)
        await asyncio.sleep(DEAD)
        course.check(not await repair.api_ready(first), "the API is dead, whatever kubeadm said")
        if way_back is repair.from_our_snapshot:
            course.cluster.let_kubeadm_take_its_time()
        course.note(f"the way back by {name}")
        await course.witness.put_back(way_back(course, first))
        node = course.witness.world.nodes[CONTROL_PLANE]
        course.check(node.unschedulable and node.drain is not None, "lock and cordon are kept")
    await course.complete(2 * HOP)


async def _upstream_order(course: Course) -> None:
    """What upstream's README warns of: kubelet and kubeadm are replaced together, before `kubeadm upgrade`.

    It saw the preflight fail on 1.30 → 1.31. Here the notes tell what this pair of versions does.
    """
    first = course.cluster.first
    await course.run(first, "systemctl", "stop", "upgraded")
    image = course.cluster.image(course.target)
    await course.run(first, "rpm-ostree", "rebase", "--bypass-driver", image, course.cluster.digests[course.target])
    await asyncio.to_thread(first.reboot_in_order)
    await course.run(first, "systemctl", "stop", "upgraded")
    await course.until(lambda world: _kubelet(world) == course.target, 120.0, "no new kubelet")
    images = repair.manifest_images(first)
    course.check(
        images["kube-apiserver"].endswith(course.cluster.wanted.version),
        f"kubelet {course.target} runs {images['kube-apiserver']}, which the version skew policy forbids",
    )
    done = await asyncio.to_thread(
        first.exec,
        "kubeadm", "upgrade", "apply", course.target, "--yes", "--ignore-preflight-errors=SystemVerification",
        timeout=HOP,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "ERROR" in line or line.startswith("error")]
    course.note(f"kubeadm upgrade apply: exit code {done.returncode}: {' '.join(said)}")


async def _refusals(course: Course) -> None:
    """Every call is refused; the notes have exit code, kind and sentence."""
    for refusal in REFUSALS:
        done = await asyncio.to_thread(course.cluster.node(refusal.node).exec, *refusal.argv, timeout=180.0)
        kind, sentence = problem_in(done.stderr)
        course.note(f"{refusal.case}: {done.returncode}: {kind}: {sentence}")


def _broken_api_server(cluster: RealCluster) -> None:
    cluster.publish(broken=[BROKEN])
    cluster.hurry_kubeadm("v1.37.2", "2m30s")


def _kubelet(world: World) -> str:
    """Version of the first control plane's kubelet."""
    node = world.nodes.get(CONTROL_PLANE)
    return str(node.kubelet) if node else ""


async def _cut(course: Course, node: RealNode, when: str) -> None:
    """kill -9 of PID 1, and wait until the node is seen with another boot."""
    world = course.witness.world
    before = world.nodes[node.name].boot_id
    course.note(f"{node.name} loses power {when}")
    node.power_cut()
    await course.until(
        lambda world: world.nodes.get(node.name) is not None and world.nodes[node.name].boot_id != before,
        300.0,
        f"{node.name} is not seen again",
    )


async def _budget(course: Course, unavailable: int) -> None:
    patch = f'{{"spec": {{"maxUnavailable": {unavailable}}}}}'
    await course.kubectl("patch", "pdb", workload.NAME, "--type=merge", "--patch", patch)


def _blocked(world: World) -> bool:
    """True where the plan names the worker, and the budget that holds its pods back."""
    holds = [hold for plan in world.plans.values() for hold in plan.status.holds]
    named = [hold.message for hold in holds if hold.reason is Reason.DRAIN_BLOCKED and WORKER in hold.sample]
    return any(f"held back by PodDisruptionBudget {workload.NAME}" in message for message in named)


DEFAULT = Scenario(
    name="default",
    about="One minor up. Both nodes are drained in their turn, with controller and lock server on them as pods.",
    play=_straight,
)
TWO_HOPS = Scenario(
    name="two-hops",
    about="Two minors up, by way of the one between.",
    play=_straight,
    start="v1.35.4",
    via=("v1.36.3",),
)
ROUGH = Scenario(
    name="rough",
    about="Power cuts before, during and after kubeadm, and a PDB that blocks the worker's drain and is lifted.",
    play=_rough,
)
FALLS_BACK = Scenario(
    name="falls-back",
    about="The worker comes up with its old image: it is released, reported, and not tried again.",
    play=_falls_back,
    at_target=False,
)
NEVER_SERVES = Scenario(
    name="never-serves",
    about="The new API server never serves: kubeadm rolls back; with the right image the next try ends well.",
    play=_never_serves,
    prepare=_broken_api_server,
)
CUT_SHORT = Scenario(
    name="etcd-cut-short",
    about="kubeadm gives up in the middle of etcd's step: the API is dead; both ways back.",
    play=_cut_short,
    prepare=lambda cluster: cluster.hurry_kubeadm("v1.37.2", "1m0s"),
)
UPSTREAM_ORDER = Scenario(
    name="upstream-order",
    about="The image first and kubeadm afterwards, as upstream's daemon does: what its README warns of.",
    play=_upstream_order,
    at_target=False,
)
REFUSALS_SAID = Scenario(
    name="refusals",
    about="What the real kubeadm refuses, in which words: the stand-in's are the same.",
    play=_refusals,
    at_target=False,
)
AS_DAEMONSET = Scenario(
    name="as-daemonset",
    about="The default run with upgraded as a DaemonSet, by deploy/node as it is.",
    play=_as_daemonset,
    daemon_set=True,
)
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        DEFAULT,
        ROUGH,
        FALLS_BACK,
        TWO_HOPS,
        NEVER_SERVES,
        CUT_SHORT,
        UPSTREAM_ORDER,
        REFUSALS_SAID,
        AS_DAEMONSET,
    )
}
