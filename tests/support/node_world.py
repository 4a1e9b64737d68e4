"""One node in memory with everything around it: disk (the lab's own rules), kubelet, API server, lock server, clock.

The real `decide`, `Actor` and `Loop` run against it. Each call from outside and each write of facts burns the fuse by
one; where it is burnt the process dies (Crash) with its memory, and what was done stays done. Broken rules are
AssertionErrors, raised where they are broken.
"""

import asyncio
import errno
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, cast

from kube_upgrade.core.node_steps.verify import look, look_at_health
from kube_upgrade.fleetlock_client import Granted, Refused
from kube_upgrade.host.drivers import KubeadmDriver, KubeadmError, OsDriver, OsError
from kube_upgrade.host.registry_errors import RegistryError, RegistryProblem
from kube_upgrade.host.runner import Completed
from kube_upgrade.host.trust import TrustError, TrustProblem
from kube_upgrade.kube.errors import Conflict, Unreachable
from kube_upgrade.lab import machine_state as disk
from kube_upgrade.lab.machine import a_tree
from kube_upgrade.model.host import Facts, Health, HostRules, HostSnapshot, Job, Kubeadm, Streak
from kube_upgrade.model.kubeadm import KubeadmProblem
from kube_upgrade.model.labels import CONTROL_PLANE_LABEL
from kube_upgrade.model.node import KubeadmRole, Node, NodeStatus, Order, Report
from kube_upgrade.model.node_config import NodeConfig
from kube_upgrade.model.os import Deployment, ImageReference, OsProblem, OsStatus, Staged, StageOutcome
from kube_upgrade.model.pod import STATIC_PODS, Pod
from kube_upgrade.model.version import KubeVersion
from kube_upgrade.upgraded.act import Actor, Lock, Ports
from kube_upgrade.upgraded.loop import Loop
from support.builders import NEW, NOW, OLD

MACHINE_ID = "dfd7882acda64c34aca76193c46f5d4e"
REPOSITORY = "registry.test/fcos-k8s"
PREFIX = "ostree-unverified-registry:"
SECOND = timedelta(seconds=1)
NEXT = KubeVersion.parse("v1.37.3")  # what an order may be changed to
T = TypeVar("T")


class Crash(BaseException):
    """The process is gone."""


def digest_of(version: KubeVersion, build: int = 1) -> str:
    """The image that a tag names."""
    return f"sha256:{uuid.uuid5(uuid.NAMESPACE_URL, f'{version}/{build}').hex * 2}"


@dataclass(kw_only=True)
class Faults:
    """What goes wrong, and how often still."""

    resolve: int = 0
    unsigned: int = 0
    stage: int = 0
    kubeadm: int = 0
    kubeadm_without_effect: int = 0  # it says 0 and changes nothing
    cut_in_kubeadm: int = 0  # the power goes while kubeadm runs
    finalize: int = 0
    finalize_hangs: int = 0  # it is ended after its time; the reboot that it asked for comes, or not (no_reboot)
    no_reboot: int = 0  # finalize unlocks and says yes, and the host stays up
    power_cuts: int = 0  # the reboot is a power cut: what was staged is lost
    falls_back: bool = False
    busy: int = 0  # refusals of the lock server
    lock_away: int = 0
    drains: bool = True
    no_other_node: bool = False
    api_away: list[tuple[float, float]] = field(default_factory=list)  # seconds from the start
    never_ready: bool = False
    pods_return: bool = False  # somebody uncordons: another pod comes after kubeadm


@dataclass(kw_only=True)
class World:
    """A node that runs OLD. `log` is the transcript."""

    control_plane: bool = False
    faults: Faults = field(default_factory=Faults)
    rules: HostRules = field(default_factory=HostRules)
    fuses: list[int] = field(default_factory=list)  # calls until each next crash
    now: datetime = NOW
    config: NodeConfig = field(
        default_factory=lambda: NodeConfig(
            stream=REPOSITORY,
            fleetlock_url="http://lock.test",
            fleetlock_group="workers",
            retry_interval=timedelta(seconds=10),
            allow_unsigned_ostree_images=True,
        ).with_defaults()
    )
    cluster_version: KubeVersion = OLD
    allow_no_lock: bool = False
    meddler: "Meddler | None" = None
    os_only: bool = False  # nothing is ordered but what `order` says later; the running tag gets new images

    def __post_init__(self) -> None:
        tree = a_tree("fedora-coreos", f"{PREFIX}{REPOSITORY}:{OLD}", digest_of(OLD), str(OLD))
        self.disk = disk.State(
            name="w-1", osname="fedora-coreos", control_plane=self.control_plane, trees=[tree], booted=tree.id,
            boot_id="boot-1",
        )  # fmt: skip
        self.saved = Facts()  # state.json
        self.static = OLD  # version of the static pods and their files
        self.kubelet_at: datetime = NOW  # from then on it reports this boot
        self.pods = [a_pod("web"), a_pod("daemon", owner=("DaemonSet", "net"))]
        self.began = self.now
        self.target = NEW
        self.full_for = 0  # so many writes of facts still find the disk full
        self.was_held = False
        self.holder = ""  # group whose slot we hold
        self.touched = ""  # the version that kubeadm, or "os" where only a reboot, was begun for under this lock
        self.begun = False  # a reboot was written down, under this lock, while it might be asked for
        self.reboot_at: datetime | None = None
        self.job: MemoryJob | None = None
        self.images: dict[str, str] = {str(OLD): digest_of(OLD), str(NEW): digest_of(NEW), str(NEXT): digest_of(NEXT)}
        self.checked: set[str] = set()  # images whose signature was found good
        self.log: list[str] = []
        self.crashes = 0
        labels = {CONTROL_PLANE_LABEL: ""} if self.control_plane else {}
        self.node = Node(
            name="w-1", uid="u", resource_version="1", created=NOW, labels=labels, kubelet=OLD, ready=True,
            ready_since=NOW, machine_id=MACHINE_ID, boot_id="boot-1",
        )  # fmt: skip
        self.start()

    # --- the process -----------------------------------------------------------------------------

    def start(self) -> None:
        """A new process: nothing but the disk is left."""
        self.streak: Streak | None = None
        self.well: Streak | None = None
        self.state = MemoryState(self)
        ports = Ports(
            os=cast("OsDriver", Through(self, MemoryOs(self))),
            kubeadm=lambda path: cast("KubeadmDriver", Through(self, MemoryKubeadm(self, Path(path)))),
            resolve=lambda reference: self.through("resolve", lambda: self.resolve(reference)),
            verify=lambda reference, digest: self.through("verify", lambda: self.verify(reference, digest)),
            lock=lambda url, group: cast("Lock", Through(self, MemoryLock(self, group))),
            images_config=self.images_config,
            tidy=self.tidy,
            etcd_snapshot=lambda: self.through("etcd", self.etcd_snapshot),
            clock=lambda: self.now,
        )
        self.loop = Loop(
            observer=self, actor=Actor(ports, self.state), state=self.state, changed=asyncio.Event(),
            clock=lambda: self.now, version="1",
        )  # fmt: skip

    def turn(self) -> None:
        """One turn of the loop, and the time that passes until the next one."""
        try:
            sleep = drive(self.loop.turn())
        except OSError as error:  # as Loop.run
            self.log.append(f"{self.clock_text}  ! {error}")
            sleep = 5.0
        except Crash:
            self.crashes += 1
            self.log.append(f"{self.clock_text}  † the daemon dies")
            self.start()
            sleep = 2.0
        self.pass_time(max(sleep, 0.1))

    def run(self, *, until: Callable[[], bool], turns: int = 2000) -> bool:
        """Take turns until the condition holds; False where it never did."""
        for _ in range(turns):
            if until():
                return True
            self.turn()
        return until()

    def pass_time(self, seconds: float) -> None:
        """The clock moves on, at most as far as the next thing that happens by itself."""
        end = self.now + timedelta(seconds=min(seconds, 60.0))
        if self.reboot_at is not None and self.now < self.reboot_at < end:
            end = self.reboot_at
        self.now = end
        self._kubeadm_goes_on()
        if self.reboot_at is not None and self.now >= self.reboot_at:
            self.boot()
        booted = self.disk.boot_id
        if self.node.boot_id != booted and self.now >= self.kubelet_at:
            version = KubeVersion.parse(self.disk.booted_tree.kubernetes)
            ready = not self.faults.never_ready
            self.write(boot_id=booted, kubelet=version, ready=ready, ready_since=self.now if ready else None)
            self.log.append(f"{self.clock_text}  · the kubelet reports {version}, {'Ready' if ready else 'not Ready'}")

    def _kubeadm_goes_on(self) -> None:
        """Whether anybody waits for it or not: half-way the cluster's configuration, then the static pods."""
        job = self.job
        if job is None or job.code is not None:
            return
        if job.fails:
            job.code = 1
            self.log.append(f"{self.clock_text}  → kubeadm upgrade {job.role} fails")
            return
        if job.role is KubeadmRole.APPLY and not job.idle and self.now >= job.began + 15 * SECOND:
            self.cluster_version = job.version
        if self.now < job.began + 30 * SECOND:
            return
        job.code = 0
        if self.control_plane and not job.idle:
            self.static = job.version
        self.log.append(f"{self.clock_text}  → kubeadm upgrade {job.role} to {job.version}")
        if self.faults.pods_return:
            self.faults.pods_return = False
            self.pods.append(a_pod("came-back"))

    def lose_power(self) -> None:
        """Now, whatever goes on."""
        self.faults.power_cuts = max(1, self.faults.power_cuts)
        self.boot()

    def vanish(self, seconds: float, *, off: bool) -> None:
        """The daemon stands still, or the host is off, for so long; its Node object is deleted and comes back.

        The lock server frees the slot meanwhile, and the new Node object is schedulable.
        """
        self.log.append(
            f"{self.clock_text}  · {'the host is off' if off else 'the daemon stands still'}; its slot is freed"
        )
        self.now += timedelta(seconds=seconds)
        if self.holder:
            self.holder = ""
            self.pods.append(a_pod("web"))
        self._kubeadm_goes_on()
        if off:
            self.lose_power()
        elif self.reboot_at is not None and self.now >= self.reboot_at:
            self.boot()
        self.start()
        self.write(uid=f"u{self.node.resource_version}", report=replace(self.node.report, status=NodeStatus.PENDING))

    def boot(self) -> None:
        """The host goes down and comes up; the daemon with it."""
        self.job = None if self.job and self.job.code is None else self.job
        orderly = self.faults.power_cuts <= 0
        self.faults.power_cuts -= 1
        (disk.shut_down if orderly else disk.lose_power)(self.disk)
        falls_back = self.faults.falls_back and self.disk.trees[0].id != self.disk.booted
        disk.start(self.disk, f"boot-{self.disk.boots + 1}", fall_back=falls_back)
        self.reboot_at, self.kubelet_at = None, self.now + 20 * SECOND
        word = "the host boots" if orderly else "the power is cut, the host boots"
        self.log.append(f"{self.clock_text}  ↻ {word} {self.disk.booted_tree.kubernetes}")
        self.start()

    def burn(self) -> None:
        """One more moment at which the process may die."""
        if self.fuses:
            self.fuses[0] -= 1
            if self.fuses[0] <= 0:
                self.fuses.pop(0)
                raise Crash

    # --- the API server --------------------------------------------------------------------------

    @property
    def clock_text(self) -> str:
        """Time since the start."""
        seconds = int((self.now - NOW).total_seconds())
        return f"{seconds // 60:02}:{seconds % 60:02}"

    @property
    def api_up(self) -> bool:
        """True where it answers."""
        seconds = (self.now - NOW).total_seconds()
        return not any(since <= seconds < until for since, until in self.faults.api_away)

    def write(self, **changed: object) -> None:
        """Somebody changes the Node object."""
        version = str(int(self.node.resource_version) + 1)
        self.node = replace(self.node, **{"resource_version": version, **changed})  # type: ignore[arg-type]

    def rebuild(self, build: int) -> str:
        """The running tag names another image from now on; gives its digest."""
        self.images[str(OLD)] = digest_of(OLD, build)
        self.log.append(f"{self.clock_text}  the tag {OLD} is rebuilt")
        return self.images[str(OLD)]

    @property
    def current(self) -> bool:
        """True where the newest image of the running tag runs and the lock is given back."""
        tag = self.disk.booted_tree.kubernetes
        return self.disk.booted_tree.digest == self.images[tag] and not self.holder and self.saved.lock is None

    def order(self, version: KubeVersion = NEW, role: KubeadmRole | None = KubeadmRole.NODE, **more: object) -> None:
        """The controller orders."""
        order = Order(version=version, kubeadm=role, **more)  # type: ignore[arg-type]
        self.write(order=order, report=replace(self.node.report, status=NodeStatus.PENDING))
        self.log.append(f"{self.clock_text}  ordered: {version}, kubeadm {role or 'not said'}")

    async def through(self, step: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Each call from outside, by the step that it is of: here a meddler may let it go wrong."""
        return await (self.meddler.through(step, call) if self.meddler else call())

    async def report(self, node: Node, wanted: Report) -> None:
        """As Cluster.report."""
        completes = wanted.status is NodeStatus.COMPLETED and self.node.report.status is not NodeStatus.COMPLETED
        if completes:
            await self.through("report", lambda: self._report(node, wanted))
        else:
            await self._report(node, wanted)

    async def _report(self, node: Node, wanted: Report) -> None:
        if wanted == self.node.report:
            return
        self.burn()
        if not self.api_up:
            raise Unreachable("away")
        if wanted.status != self.node.report.status and node.resource_version != self.node.resource_version:
            raise Conflict(409, "Conflict", "changed")
        if (wanted.status, wanted.phase, wanted.message) != (
            self.node.report.status, self.node.report.phase, self.node.report.message,
        ):  # fmt: skip
            text = f"{wanted.status or '-'}/{wanted.phase}" + (f": {wanted.message}" if wanted.message else "")
            self.log.append(f"{self.clock_text}  says {text}")
        assert not self.os_only or self.node.order or wanted.status is None, "an OS update touched `status`"
        if wanted.status is NodeStatus.COMPLETED and self.node.report.status is not NodeStatus.COMPLETED:
            assert self.proven, "reported completed without proof"
        self.write(report=wanted)
        self.burn()

    def acted(self) -> None:
        """As Observer.acted: nothing is remembered here."""

    async def look(self, facts: Facts) -> HostSnapshot:
        """As Observer.look."""
        up = self.api_up
        staged = self.disk.staged
        here = [self.disk.booted_tree] + ([staged] if staged else [])
        seen = HostSnapshot(
            now=self.now,
            machine_id=MACHINE_ID,
            boot_id=self.disk.boot_id,
            config=self.config,
            rules=self.rules,
            facts=facts,
            node=self.node,
            api_reachable=up,
            os=self.os_status(),
            control_plane=self.control_plane,
            manifests=dict.fromkeys(STATIC_PODS, self.static) if self.control_plane else {},
            cluster_version=self.cluster_version if up else None,
            pods=(*self.pods, *self.mirror_pods()) if up else None,
            kubeadm_job=self.job.seen if self.job else None,
            kubeadms=tuple(
                Kubeadm(path=f"/{t.kubernetes}/kubeadm", version=KubeVersion.parse(t.kubernetes)) for t in here
            ),
            kubelet_server="https://127.0.0.1:6443",
            kubelet_server_local=True,
            health=Health(kubelet=True, api_server=up if self.control_plane else None),
        )
        self.streak, self.well = look(self.streak, seen), look_at_health(self.well, seen)
        return replace(seen, streak=self.streak, well=self.well)

    def mirror_pods(self) -> tuple[Pod, ...]:
        """The control plane's static pods."""
        if not self.control_plane:
            return ()
        return tuple(
            Pod(namespace="kube-system", name=f"{name}-w-1", uid=name, labels={"component": name}, ready=True,
                mirror=True, images=(f"registry.k8s.io/{name}:{self.static}",))
            for name in STATIC_PODS
        )  # fmt: skip

    # --- what must always hold -------------------------------------------------------------------

    @property
    def foreign_pods(self) -> list[Pod]:
        """Pods that a drain must have moved."""
        return [pod for pod in self.pods if pod.owner is None]

    @property
    def os_held(self) -> bool:
        """True where the plan does not let an OS update take the lock, and nothing else is ordered."""
        word = self.node.os_updates
        if self.node.order is not None:
            return False
        return bool(self.node.config) if word is None else word == "no" or self.now >= datetime.fromisoformat(word)

    @property
    def empty(self) -> bool:
        """True where the node may be taken down."""
        return not self.foreign_pods or self.faults.no_other_node or not self.rules.wait_for_pods

    @property
    def proven(self) -> bool:
        """True where the node is at the target, by the world's own knowledge."""
        order = self.node.order.version if self.node.order else NEW
        booted = self.disk.booted_tree.kubernetes == str(order)
        reported = self.node.boot_id == self.disk.boot_id and self.node.kubelet == order and self.node.ready
        return booted and reported and (not self.control_plane or self.static == order)

    @property
    def may_release(self) -> bool:
        """True where nothing was begun, or what was begun is wanted no more and the node is well."""
        order = str(self.node.order.version) if self.node.order else ""
        well = self.node.boot_id == self.disk.boot_id and self.node.ready and self.reboot_at is None
        return not self.touched or (well and self.touched != order)

    @property
    def done(self) -> bool:
        """Completed and released."""
        return self.node.report.status is NodeStatus.COMPLETED and not self.holder

    # --- ports -----------------------------------------------------------------------------------

    async def resolve(self, reference: str) -> str:
        """The registry."""
        self.burn()
        if self.faults.resolve > 0:
            self.faults.resolve -= 1
            raise RegistryError(RegistryProblem.UNREACHABLE, "registry is away")
        return self.images[reference.rpartition(":")[2]]

    async def verify(self, reference: str, digest: str) -> None:
        """The signatures beside the image."""
        self.burn()
        if self.faults.unsigned > 0:
            self.faults.unsigned -= 1
            raise TrustError(TrustProblem.UNSIGNED, f"{reference} is not signed")
        self.checked.add(digest)

    async def images_config(self, version: KubeVersion) -> tuple[Path, str]:
        """The file for `config images pull`."""
        return Path("/var/lib/kube-upgraded/images.yaml"), "unix:///run/crio.sock"

    async def tidy(self) -> None:
        """kubeadm's copies: the newest of each kind stays."""

    async def etcd_snapshot(self) -> str:
        """etcd on this node."""
        self.burn()
        assert self.cluster_version == OLD, "a snapshot of an upgraded cluster is no way back"
        self.log.append(f"{self.clock_text}  → etcd is saved")
        return "/var/lib/kube-upgraded/etcd/1.db"

    def os_status(self) -> OsStatus:
        """`rpm-ostree status`."""
        trees = ([self.disk.staged] if self.disk.staged else []) + self.disk.trees
        return OsStatus(
            deployments=tuple(
                Deployment(
                    osname=tree.osname, checksum=tree.checksum, serial=tree.serial, digest=tree.digest,
                    image=ImageReference(PREFIX, *tree.image.removeprefix(PREFIX).rsplit(":", 1)),
                    booted=tree is not self.disk.staged and tree.id == self.disk.booted,
                    staged=tree is self.disk.staged, locked=tree is self.disk.staged and self.disk.locked,
                )
                for tree in trees
            )
        )  # fmt: skip


def a_pod(name: str, owner: tuple[str, str] | None = None) -> Pod:
    """A running pod on the node."""
    return Pod(namespace="apps", name=name, uid=name, owner=owner, ready=True)


def drive(call: Awaitable[T]) -> T:
    """Run what never really waits."""
    waiter = call.__await__()
    try:
        next(waiter)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("it waits for something real")


class Meddler(Protocol):
    """Lets calls go wrong; see support.failure_matrix."""

    async def through(self, step: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """The call, or what becomes of it."""


STEP_OF = MappingProxyType(
    {
        "stage": "stage", "finalize": "reboot", "lock_finalization": "lock image", "cleanup_pending": "clean up",
        "images_pull": "images", "upgrade_apply": "kubeadm", "upgrade_node": "kubeadm", "pre_reboot": "lock",
        "steady_state": "release",
    }
)  # fmt: skip


class Through:
    """A port whose calls go through the world."""

    def __init__(self, world: World, port: object) -> None:
        self._world = world
        self._port = port

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._port, name)
        if name not in STEP_OF:
            return call
        return lambda *given, **named: self._world.through(STEP_OF[name], lambda: call(*given, **named))


class MemoryState:
    """StateFile in memory: a crash may come before or after the write, never in it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.facts = world.saved

    def save(self, facts: Facts) -> None:
        """To the disk."""
        self._world.burn()
        if self._world.full_for > 0:
            self._world.full_for -= 1
            raise OSError(errno.ENOSPC, "no space left on device")
        self._world.saved = self.facts = facts
        self._world.begun = self._world.begun or (facts.reboot is not None and not self._world.os_held)
        self._world.burn()


class MemoryOs:
    """rpm-ostree over the lab's rules."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def status(self) -> OsStatus:
        return self._world.os_status()

    async def stage(self, reference: str, digest: str, *, unsigned: bool) -> Staged:
        world = self._world
        world.burn()
        if world.faults.stage > 0:
            world.faults.stage -= 1
            raise OsError(OsProblem.IMAGE_PULL, "the pull broke off")
        assert world.rules.verification is None or digest in world.checked, "staged an image that nobody checked"
        version = reference.rpartition(":")[2]
        tree = a_tree("fedora-coreos", f"{PREFIX}{reference}", digest, version)
        disk.stage(world.disk, tree, locked=True)
        world.log.append(f"{world.clock_text}  → {version} is staged, locked")
        world.pass_time(60)
        world.burn()
        staged = world.os_status().staged
        assert staged is not None
        return Staged(outcome=StageOutcome.STAGED, deployment=staged)

    async def finalize(self, digest: str, *, allow_unlocked: bool = False) -> None:
        world = self._world
        world.burn()
        assert world.holder or world.allow_no_lock, "rebooted without the lock"
        assert world.reboot_at is None, "asked for a reboot that is on its way"
        assert world.empty, f"rebooted with {[pod.key for pod in world.foreign_pods]}"
        # From the first request on it finishes: after a crash beside it nobody knows whether it went out.
        held = world.os_only and world.os_held and not world.touched and not world.begun
        assert not held, "an OS update rebooted although it may not"
        staged = world.disk.staged
        done = not world.control_plane or staged is None or str(world.static) == staged.kubernetes
        assert done, "rebooted before kubeadm"
        if world.faults.finalize > 0:
            world.faults.finalize -= 1
            raise OsError(OsProblem.INHIBITED, "a block inhibitor is held")
        try:
            disk.unlock_to_finalize(world.disk, digest, allow_unlocked=allow_unlocked)
        except disk.Refused as refused:
            raise OsError(OsProblem.COMMAND_FAILED, str(refused)) from refused
        world.touched = world.touched or "os"
        if world.faults.no_reboot > 0:
            world.faults.no_reboot -= 1
            world.log.append(f"{world.clock_text}  → a reboot is asked for; none comes")
        else:
            world.reboot_at = world.now + 5 * SECOND
            world.log.append(f"{world.clock_text}  → a reboot is asked for")
        world.burn()
        if world.faults.finalize_hangs > 0:
            world.faults.finalize_hangs -= 1
            raise OsError(OsProblem.TIMED_OUT, "rpm-ostree did not end within 120 s")

    async def lock_finalization(self) -> None:
        self._world.burn()
        assert self._world.reboot_at is None, "locked an image while the host goes down"
        disk.set_lock(self._world.disk, locked=True)

    async def cleanup_pending(self) -> None:
        self._world.burn()
        disk.cleanup_pending(self._world.disk)
        self._world.log.append(f"{self._world.clock_text}  → the bad image is taken out of the boot order")

    async def register_driver(self) -> None:
        """Nothing to tell."""


@dataclass(kw_only=True)
class MemoryJob:
    """A run of kubeadm, which goes on when the daemon dies, but not when the power goes."""

    key: str
    version: KubeVersion
    role: KubeadmRole
    began: datetime
    fails: bool
    idle: bool = False
    code: int | None = None

    @property
    def seen(self) -> Job:
        """As the host shows it."""
        return Job(key=self.key, running=self.code is None, code=self.code)


class MemoryKubeadm:
    """kubeadm and what it changes."""

    def __init__(self, world: World, binary: Path) -> None:
        self._world = world
        self.binary = binary

    async def version(self) -> KubeVersion:
        return KubeVersion.parse(self.binary.parts[1])

    async def upgrade_apply(self, version: KubeVersion, key: str) -> Completed:
        assert self._world.control_plane, "apply on a worker"
        return await self._upgrade(version, KubeadmRole.APPLY, key)

    async def upgrade_node(self, version: KubeVersion, key: str) -> Completed:
        assert self._world.cluster_version == version, "`upgrade node` before the cluster's configuration"
        return await self._upgrade(version, KubeadmRole.NODE, key)

    async def upgrade_end(self) -> Completed:
        """Of the run that is there, whoever started it."""
        world = self._world
        job = world.job
        if job is None:
            raise KubeadmError(KubeadmProblem.LOST, "kubeadm is gone")
        while job.code is None:
            if world.faults.cut_in_kubeadm > 0:
                world.faults.cut_in_kubeadm -= 1
                world.pass_time(10)
                world.lose_power()
                raise Crash
            world.pass_time(5)
        world.burn()
        if job.code != 0:
            raise KubeadmError(KubeadmProblem.PREFLIGHT, "CreateJob did not finish", job.code)
        return Completed(argv=(), code=0, out="", err="", seconds=30)

    async def images_pull(self, config: Path, cri_socket: str) -> Completed:
        self._world.burn()
        assert not self._world.holder or self._world.touched, "pulled images with the node out of service"
        return Completed(argv=(), code=0, out="", err="", seconds=1)

    async def _upgrade(self, version: KubeVersion, role: KubeadmRole, key: str) -> Completed:
        world = self._world
        assert world.holder or world.touched, "kubeadm without the lock"  # one that was begun is brought to its end
        assert world.empty, f"kubeadm with {[pod.key for pod in world.foreign_pods]}"
        assert world.job is None or world.job.code is not None, "two kubeadms at once"
        world.touched = str(version)
        world.burn()
        fails = world.faults.kubeadm > 0
        world.faults.kubeadm -= fails
        idle = world.faults.kubeadm_without_effect > 0
        world.faults.kubeadm_without_effect -= idle
        world.job = MemoryJob(key=key, version=version, role=role, began=world.now, fails=fails, idle=idle)
        world.burn()
        return await self.upgrade_end()


class MemoryLock:
    """A lock server with one slot, which drains."""

    def __init__(self, world: World, group: str) -> None:
        self._world = world
        self._group = group

    async def pre_reboot(self) -> Granted | Refused:
        world = self._world
        world.burn()
        if world.faults.lock_away > 0:
            world.faults.lock_away -= 1
            return Refused("unreachable", "no answer", 0)
        if world.faults.busy > 0 and not world.holder:
            world.faults.busy -= 1
            return Refused("all_slots_full", "held by w-2", 423)
        if not world.holder:
            assert world.disk.staged is not None, "asked for the lock with nothing staged"
            held = world.os_only and world.os_held and not world.touched
            assert not held, "an OS update took the lock although it may not"
            world.log.append(f"{world.clock_text}  → lock granted, node drained")
        world.holder, world.was_held = self._group, True
        if world.faults.drains and not world.faults.no_other_node:
            world.pods = [pod for pod in world.pods if pod.owner is not None]
        world.burn()
        return Granted("no_other_node" if world.faults.no_other_node else "success")

    async def steady_state(self) -> Granted | Refused:
        world = self._world
        world.burn()
        if world.faults.lock_away > 0:
            world.faults.lock_away -= 1
            return Refused("unreachable", "no answer", 0)
        fell_back = world.node.boot_id == world.disk.boot_id and world.node.ready and world.faults.falls_back
        assert world.proven or world.may_release or fell_back, "lock given back by a node that is not proven well"
        staged = world.disk.staged
        assert staged is None or world.disk.locked, "released with an unlocked image staged"
        if world.holder:
            world.log.append(f"{world.clock_text}  → lock released")
        world.holder, world.touched, world.begun = "", "", False
        if not world.foreign_pods:
            world.pods.append(a_pod("web"))
        world.burn()
        return Granted()
