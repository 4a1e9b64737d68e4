"""Every step of a node × everything that can go wrong at it, in the world of support.node_world.

A cell is one node with one order, or one whose running tag was rebuilt (`os`); the fault strikes at the first call of
its step (or at each, for "always"). What the node does then is told in words, and `wrong` says whether that is an end
that it may come to. The tables are written by support.matrix_page.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import Any

from kube_upgrade.fleetlock_client import Refused
from kube_upgrade.host.drivers import KubeadmError, OsError
from kube_upgrade.host.etcd import EtcdError, EtcdProblem
from kube_upgrade.host.registry_errors import RegistryError, RegistryProblem
from kube_upgrade.host.trust import TrustError, TrustProblem
from kube_upgrade.kube.errors import Unreachable
from kube_upgrade.model.host import Facts, HostRules, LockFact, Verification
from kube_upgrade.model.kubeadm import KubeadmProblem
from kube_upgrade.model.node import KubeadmRole, NodeStatus
from kube_upgrade.model.os import OsProblem
from support.node_world import Crash, Faults, World

TRANSIENT = (
    "killed before", "killed during", "killed after", "power cut", "API away", "lock away", "disk full",
    "fails once", "hangs once", "no effect once",
)  # fmt: skip
LASTING = ("always fails", "always hangs", "never any effect")
FAULTS = TRANSIENT + LASTING
STEPS = (
    "resolve", "verify", "stage", "images", "lock", "etcd", "kubeadm", "reboot", "lock image", "clean up", "report",
    "release",
)  # fmt: skip
OS_STEPS = tuple(step for step in STEPS if step not in ("images", "etcd", "kubeadm", "report"))
NOT_A_CASE = frozenset(
    (step, fault)
    for step in ("resolve", "verify", "images", "etcd", "report", "release")
    for fault in ("no effect once", "never any effect")
)  # an answer that says yes: nobody can tell
RULES = HostRules(
    attempts=3, reboot_within=timedelta(minutes=2), verify_within=timedelta(minutes=20),
    verification=Verification(keys=("/key.pub",)),
)  # fmt: skip
_FAILS: dict[str, Callable[[], Exception]] = {
    "resolve": lambda: RegistryError(RegistryProblem.UNREACHABLE, "connection refused"),
    "verify": lambda: TrustError(TrustProblem.UNSIGNED, "there is no .sig"),
    "stage": lambda: OsError(OsProblem.IMAGE_PULL, "the pull broke off"),
    "images": lambda: KubeadmError(KubeadmProblem.IMAGE_PULL, "failed to pull image", 1),
    "etcd": lambda: EtcdError(EtcdProblem.CORRUPT, "checksum does not fit"),
    "reboot": lambda: OsError(OsProblem.INHIBITED, "a block inhibitor is held"),
    "lock image": lambda: OsError(OsProblem.COMMAND_FAILED, "lock-finalization"),
    "clean up": lambda: OsError(OsProblem.COMMAND_FAILED, "cleanup"),
    "report": lambda: Unreachable("reset by peer"),
}
_HANGS: dict[str, Callable[[], Exception]] = {
    "resolve": lambda: RegistryError(RegistryProblem.UNREACHABLE, "no answer within 20 s"),
    "verify": lambda: RegistryError(RegistryProblem.UNREACHABLE, "no answer within 20 s"),
    "stage": lambda: OsError(OsProblem.TIMED_OUT, "no end within 3600 s"),
    "images": lambda: KubeadmError(KubeadmProblem.TIMED_OUT, "no end within 2400 s"),
    "etcd": lambda: EtcdError(EtcdProblem.UNREACHABLE, "no answer within 5 s"),
    "kubeadm": lambda: KubeadmError(KubeadmProblem.TIMED_OUT, "no end within 2400 s"),
    "lock image": lambda: OsError(OsProblem.TIMED_OUT, "no end within 120 s"),
    "clean up": lambda: OsError(OsProblem.TIMED_OUT, "no end within 120 s"),
    "report": lambda: Unreachable("no answer within 10 s"),
}
_FULL: dict[str, Callable[[], Exception]] = {
    "stage": lambda: OsError(OsProblem.NO_SPACE, "no space left on device"),
    "etcd": lambda: EtcdError(EtcdProblem.NO_SPACE, "no space left on device"),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One step and one fault, of an order or (`os`) of an update without one."""

    step: str
    fault: str
    os: bool = False

    def __str__(self) -> str:
        return f"{'OS ' if self.os else ''}{self.step} × {self.fault}"


CELLS = tuple(
    Cell(step=s, fault=f, os=os)
    for os, steps in ((False, STEPS), (True, OS_STEPS))
    for s in steps
    for f in FAULTS
    if (s, f) not in NOT_A_CASE
)


@dataclass(kw_only=True)
class Meddler:
    """Lets the cell's fault strike."""

    world: World
    cell: Cell
    left: int = field(init=False)
    struck: int = 0

    def __post_init__(self) -> None:
        self.left = 10**6 if self.cell.fault in LASTING else 1

    async def through(self, step: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """The call, or what becomes of it."""
        if step != self.cell.step or self.left <= 0:
            return await call()
        self.left -= 1
        self.struck += 1
        self.world.log.append(f"{self.world.clock_text}  ! {self.cell}")
        return await self._strike(call)

    async def _strike(self, call: Callable[[], Awaitable[Any]]) -> Any:
        match self.cell.fault:
            case "killed before":
                raise Crash
            case "killed during":
                return await self._dying(call, self._nothing)
            case "power cut":
                return await self._dying(call, self.world.lose_power)
            case "killed after":
                answer = await call()
                self.world.fuses = [2]  # behind the next writing of facts
                return answer
            case _:
                return await self._weather(call)

    async def _weather(self, call: Callable[[], Awaitable[Any]]) -> Any:
        world, step = self.world, self.cell.step
        match self.cell.fault:
            case "API away":
                since = (world.now - world.began).total_seconds()
                world.faults.api_away.append((since, since + 600))
            case "lock away":
                world.faults.lock_away = 10
            case "disk full":
                world.full_for = 3
                if step in _FULL:
                    raise _FULL[step]()
            case "fails once" | "always fails":
                return await self._fail(call)
            case "hangs once" | "always hangs":
                return await self._hang(call)
            case _:
                return await self._no_effect(call)
        return await call()

    async def _dying(self, call: Callable[[], Awaitable[Any]], then: Callable[[], None]) -> Any:
        """The effect begins, and the process is gone before anybody hears of it."""
        self.world.fuses = [2]
        try:
            answer = await call()
        except Crash:
            then()
            raise
        self.world.fuses = []
        then()
        if then == self.world.lose_power:
            raise Crash
        self.world.fuses = [1]
        return answer

    async def _fail(self, call: Callable[[], Awaitable[Any]]) -> Any:
        step = self.cell.step
        if step in ("lock", "release"):
            return Refused("internal_error", "HTTP 500", 500)
        if step == "kubeadm":
            self.world.faults.kubeadm = 1
            return await call()
        raise _FAILS[step]()

    async def _hang(self, call: Callable[[], Awaitable[Any]]) -> Any:
        step, world = self.cell.step, self.world
        if step in ("lock", "release"):
            return Refused("unreachable", "no answer within 70 s", 0)
        if step == "reboot":
            world.faults.finalize_hangs = 1
            world.faults.no_reboot = int(self.cell.fault in LASTING)
            return await call()
        if step == "kubeadm":
            world.touched = str(world.target)
        raise _HANGS[step]()

    async def _no_effect(self, call: Callable[[], Awaitable[Any]]) -> Any:
        step, world = self.cell.step, self.world
        if step == "lock":
            world.faults.drains = False
            try:
                return await call()
            finally:
                world.faults.drains = True
        if step == "reboot":
            world.faults.no_reboot = 1
            return await call()
        if step == "kubeadm":
            world.faults.kubeadm_without_effect = 1
            return await call()
        raise OsError(OsProblem.NO_EFFECT, "it ended well and changed nothing")  # the drivers read back

    def _nothing(self) -> None:
        """A kill leaves the host alone."""


@cache
def play(cell: Cell) -> World:
    """One node until it is done, or nothing changes any more."""
    faults = Faults(falls_back=cell.step == "clean up", no_reboot=10**6 if cell.step == "lock image" else 0)
    world = World(control_plane=True, faults=faults, rules=RULES, os_only=cell.os)
    world.meddler = Meddler(world=world, cell=cell)
    if not cell.os:  # as a daemon whose first order is there before it could make sure that it holds no lock
        world.saved = Facts(lock=LockFact(asked=world.now, touched=True))
    world.start()
    if cell.os:
        world.config = replace(world.config, check_interval=timedelta(minutes=10))
        world.rebuild(2)
    else:
        world.order(role=KubeadmRole.APPLY)
    for _ in range(40):
        if world.run(until=lambda: _at_rest(cell, world), turns=40):
            break
    world.run(until=lambda: _at_rest(cell, world) or ": " in world.node.report.message, turns=10)
    return world


def _at_rest(cell: Cell, world: World) -> bool:
    return world.current if cell.os else world.done and world.saved.lock is None


def outcome(cell: Cell, world: World) -> str:
    """The end in words: proven, or the reason, and where the lock is."""
    if _at_rest(cell, world):
        return "proven"
    said = world.node.report
    lock = "lock " + ("kept" if world.holder else "given back" if world.was_held else "never taken")
    if cell.os and world.saved.bad_digests and not world.holder:
        return f"stays: BadImage; {lock}"
    return f"{_word(cell, world)}: {said.message.partition(':')[0]}; {lock}"


def _word(cell: Cell, world: World) -> str:
    said = world.node.report
    if cell.os:
        booted = world.disk.booted_tree.digest == world.images[world.disk.booted_tree.kubernetes]
        return "proven, but waits" if booted else "failed" if said.phase == "failed" else "waits"
    words = {NodeStatus.ERROR: "error", NodeStatus.COMPLETED: "proven, but waits"}
    return words.get(said.status or NodeStatus.PENDING, "waits")


def wrong(cell: Cell, world: World) -> str:
    """What is wrong with this end; empty where it is right. The rules on the way are asserted by the world itself."""
    end, wanted = outcome(cell, world), _wanted(cell)
    assert isinstance(world.meddler, Meddler)
    if not world.meddler.struck:
        return "the fault never struck"
    if wanted:
        return "" if end == wanted else f"ended with {end!r} instead of {wanted!r}"
    return _unfounded(cell, end, world)


def _wanted(cell: Cell) -> str:
    """The only right end; empty where a lasting fault may have a reason of its own."""
    if cell.step == "lock image":
        return f"{'failed' if cell.os else 'error'}: NoReboot; lock kept"
    if cell.fault in LASTING:
        return ""
    if cell.step == "clean up":
        return "stays: BadImage; lock given back" if cell.os else "error: BadImage; lock given back"
    return "proven"


def _unfounded(cell: Cell, end: str, world: World) -> str:
    """A lasting fault must be seen, have a reason, and keep exactly the lock of a node that was touched."""
    said = world.node.report
    if end == "proven":
        return "a lasting fault was not seen"
    given_up = said.status is NodeStatus.ERROR or (cell.os and cell.step != "lock")  # for pods it waits with the lock
    if given_up and bool(world.holder) != bool(world.touched):
        return f"the lock is {'kept' if world.holder else 'gone'}, and the node was {world.touched or 'not touched'}"
    reasoned = ": " in said.message and "TooManyTries" not in said.message
    return "" if reasoned else f"no reason: {said.message!r}"
