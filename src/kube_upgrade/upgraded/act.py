"""Does what `decide` asks: each effect may be repeated, and what is about to happen is written down before it does.

An effect that fails is a fact, too (a try with its reason): the next look decides about another one.
"""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, assert_never

from kube_upgrade.core.fleetlock.protocol import Kind
from kube_upgrade.core.node_steps.goal import choose, facts_of
from kube_upgrade.core.node_steps.kubeadm import WITHOUT_EFFECT
from kube_upgrade.core.node_steps.pace import spread
from kube_upgrade.fleetlock_client import Granted, Refused
from kube_upgrade.host.drivers import KubeadmDriver, KubeadmError, OsDriver, OsError
from kube_upgrade.host.etcd import EtcdError
from kube_upgrade.host.registry_errors import RegistryError
from kube_upgrade.host.runner import Completed
from kube_upgrade.host.trust import TrustError
from kube_upgrade.model.host import Facts, GoalKind, HostSnapshot, KubeadmRun, LockFact, RebootFact
from kube_upgrade.model.kubeadm import KubeadmProblem
from kube_upgrade.model.node import KubeadmRole
from kube_upgrade.model.os import OsProblem
from kube_upgrade.model.step import (
    AcceptRetry,
    AwaitKubeadm,
    CleanUp,
    Effect,
    LockStaged,
    MarkBad,
    PullImages,
    Reboot,
    ReleaseLock,
    ReportCompleted,
    ResolveImage,
    RunKubeadm,
    SnapshotEtcd,
    StageImage,
    TakeLock,
    VerifyImage,
    Why,
)
from kube_upgrade.model.version import KubeVersion

HELD_OPEN = timedelta(seconds=3)  # a refusal that took longer was a request held open: ask again at once
AWAY = timedelta(seconds=10)  # a lock server that does not answer is asked again after this, at most
_UNTOUCHED = (KubeadmProblem.NOT_FOUND, KubeadmProblem.WRONG_VERSION, KubeadmProblem.RUNNING)


class Lock(Protocol):
    """A FleetLock client for one URL and group."""

    async def pre_reboot(self) -> Granted | Refused:
        """Take or confirm the slot."""

    async def steady_state(self) -> Granted | Refused:
        """Give it back."""


class State(Protocol):
    """The facts, in memory and on disk."""

    facts: Facts

    def save(self, facts: Facts) -> None:
        """Make these the facts; raises OSError."""


class ImagesConfig(Protocol):
    """Writes the file that `kubeadm config images pull` takes."""

    async def __call__(self, version: KubeVersion) -> tuple[Path, str]:
        """The file's path on the host and the CRI socket. Raises KubeadmError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything outside that an effect may touch."""

    os: OsDriver
    kubeadm: Callable[[str], KubeadmDriver]  # by the path of the binary
    resolve: Callable[[str], Awaitable[str]]  # HOST/REPO:TAG to digest
    verify: Callable[[str, str], Awaitable[None]]  # HOST/REPO:TAG at a digest; raises TrustError, RegistryError
    lock: Callable[[str, str], Lock]  # by URL and group; raises ValueError for a bad URL
    images_config: ImagesConfig
    tidy: Callable[[], Awaitable[object]]  # what kubeadm and jobs left behind, once the node is proven
    etcd_snapshot: Callable[[], Awaitable[str]]  # what was saved where, or why there is nothing to save
    clock: Callable[[], datetime]


class Actor:
    """Carries out one effect at a time."""

    def __init__(self, ports: Ports, state: State) -> None:
        self._ports = ports
        self._state = state

    async def act(self, step: Effect, seen: HostSnapshot) -> None:
        """Do it, and write down what came of it. Raises OSError where the facts cannot be written."""
        facts = facts_of(seen)
        match step:
            case ResolveImage():
                await self._resolve(step, seen, facts)
            case VerifyImage():
                await self._verify(step, facts)
            case StageImage():
                await self._stage(step, facts)
            case PullImages():
                await self._pull(step, facts)
            case TakeLock():
                await self._take(step, seen, facts)
            case SnapshotEtcd():
                await self._snapshot(step, facts)
            case RunKubeadm():
                await self._kubeadm(step, facts)
            case AwaitKubeadm():
                await self._await_kubeadm(step, seen.facts)
            case _:
                await self._act_late(step, seen, facts)

    async def _act_late(
        self,
        step: AcceptRetry | Reboot | LockStaged | MarkBad | CleanUp | ReportCompleted | ReleaseLock,
        seen: HostSnapshot,
        facts: Facts,
    ) -> None:
        match step:
            case Reboot():
                await self._reboot(step, seen, facts)
            case LockStaged():
                await self._os(facts, "lock-staged", self._lock_staged())
            case CleanUp():
                await self._os(facts, "cleanup", self._clean_up())
            case ReleaseLock():
                await self._release(step, facts)
            case MarkBad():
                self._state.save(replace(facts, bad_digests={**facts.bad_digests, step.digest: step.message}))
            case AcceptRetry():
                self._accept(step, facts)
            case ReportCompleted():
                pass  # the report of this turn has said so
            case _:
                assert_never(step)

    def _accept(self, step: AcceptRetry, facts: Facts) -> None:
        """Failures are forgotten; a bad image stays bad, but its tag is asked for a newer one."""
        digest = "" if facts.digest in facts.bad_digests else facts.digest
        now = self._ports.clock()
        self._state.save(replace(facts, retried=step.request, retried_at=now, tries={}, digest=digest))

    async def _resolve(self, step: ResolveImage, seen: HostSnapshot, facts: Facts) -> None:
        try:
            digest = await self._ports.resolve(step.reference)
        except RegistryError as error:
            return self._failed(facts, "resolve", error.kind, error.message)
        case = choose(seen)
        checked = self._ports.clock() if case and case.goal.kind is GoalKind.OS else facts.os_checked
        self._state.save(replace(facts, digest=digest, os_checked=checked).passed("resolve"))
        return None

    async def _verify(self, step: VerifyImage, facts: Facts) -> None:
        """One that does not pass is asked for anew: it may be signed later, or its tag name another one by then."""
        try:
            await self._ports.verify(step.reference, step.digest)
        except (TrustError, RegistryError) as error:
            return self._failed(replace(facts, digest=""), "verify-image", error.kind, error.message)
        self._state.save(replace(facts, trusted=step.proof).passed("verify-image"))
        return None

    async def _stage(self, step: StageImage, facts: Facts) -> None:
        """A tag that moved on in the meantime is resolved again."""
        try:
            await self._ports.os.stage(step.reference, step.digest, unsigned=step.unsigned)
        except OsError as error:
            moved = replace(facts, digest="") if error.kind is OsProblem.TAG_MOVED else facts
            self._failed(moved, "stage", error.kind, error.message)
        else:
            self._state.save(facts.passed("stage"))

    async def _os(self, facts: Facts, name: str, call: Awaitable[object]) -> None:
        try:
            await call
        except OsError as error:
            self._failed(facts, name, error.kind, error.message)
        else:
            self._state.save(facts.passed(name))

    async def _lock_staged(self) -> None:
        await self._ports.os.lock_finalization()
        staged = (await self._ports.os.status()).staged
        if staged is not None and not staged.locked:
            raise OsError(OsProblem.NO_EFFECT, "the staged image is still unlocked")

    async def _clean_up(self) -> None:
        await self._ports.os.cleanup_pending()
        if pending := (await self._ports.os.status()).pending:
            raise OsError(OsProblem.NO_EFFECT, f"{pending.digest} is still the next boot's default")

    async def _pull(self, step: PullImages, facts: Facts) -> None:
        try:
            config, socket = await self._ports.images_config(step.version)
            await self._ports.kubeadm(step.kubeadm).images_pull(config, socket)
        except KubeadmError as error:
            self._failed(facts, "images", error.kind, error.message)
        else:
            self._state.save(replace(facts, images_for=step.version).passed("images"))

    async def _take(self, step: TakeLock, seen: HostSnapshot, facts: Facts) -> None:
        """Written down first: if this process dies, the server may still count us."""
        begun = self._ports.clock()
        granted = facts.lock.granted if facts.lock else None
        touched = facts.lock is not None and facts.lock.touched
        asked = LockFact(asked=begun, url=step.url, group=step.group, granted=granted, touched=touched)
        if granted and facts.lock:
            asked = replace(asked, no_other_node=facts.lock.no_other_node)
        self._state.save(replace(facts, lock=asked))
        answer = await self._ask(step)
        now = self._ports.clock()
        if isinstance(answer, Granted):
            alone = answer.kind == Kind.NO_OTHER_NODE
            uid = seen.node.uid if seen.node else ""
            yes = replace(asked, confirmed=now, boot_id=seen.boot_id, node_uid=uid)
            lock = replace(yes, granted=granted or now, no_other_node=alone)
        else:
            again = now + self._pause(answer, now - begun, seen)
            case = choose(seen)
            # A refusal ends the grant: the slot may be another's, or the node not drained. From kubeadm on it finishes.
            kept = granted if case and case.committed else None
            lock = replace(asked, granted=kept, answer=f"{answer.kind}: {answer.value}", again=again)
        self._state.save(replace(facts, lock=lock))

    async def _ask(self, step: TakeLock) -> Granted | Refused:
        try:
            lock = self._ports.lock(step.url, step.group)
        except ValueError as error:
            return Refused("unusable", str(error), 0)
        return await lock.pre_reboot()

    def _pause(self, answer: Refused, took: timedelta, seen: HostSnapshot) -> timedelta:
        if answer.retry_after is not None:
            return timedelta(seconds=answer.retry_after)
        if answer.status and took >= HELD_OPEN:
            return timedelta(0)
        usual = seen.config.retry_interval or timedelta(minutes=1)
        pause = usual if answer.status else min(usual, AWAY)
        return spread(pause, seed=f"{seen.machine_id}/{took}")

    async def _snapshot(self, step: SnapshotEtcd, facts: Facts) -> None:
        try:
            saved = await self._ports.etcd_snapshot()
        except EtcdError as error:
            self._failed(facts, "etcd", error.kind, error.message)
        else:
            self._state.save(replace(facts, etcd_for=step.version, etcd_snapshot=saved).passed("etcd"))

    async def _kubeadm(self, step: RunKubeadm, facts: Facts) -> None:
        run = KubeadmRun(version=step.version, role=step.role, started=self._ports.clock())
        before = facts.kubeadm
        if before is not None and before.version == step.version and before.succeeded:
            message = "kubeadm ended with 0, but the static pod files are not at its version"
            facts = facts.failed(WITHOUT_EFFECT, run.started, Why.NO_EFFECT, message)
        self._state.save(replace(_touched(facts), kubeadm=run))
        driver = self._ports.kubeadm(step.kubeadm)
        call = driver.upgrade_apply if step.role is KubeadmRole.APPLY else driver.upgrade_node
        await self._kubeadm_end(call(step.version, run.key), facts, run)

    async def _await_kubeadm(self, step: AwaitKubeadm, facts: Facts) -> None:
        """The end of a run that was started before. Of one that the facts do not know only that something was begun."""
        run = facts.kubeadm
        call = self._ports.kubeadm("").upgrade_end()
        if run is not None and run.key == step.key:
            await self._kubeadm_end(call, facts, run)
            return
        self._state.save(_touched(facts))
        with contextlib.suppress(KubeadmError):
            await call

    async def _kubeadm_end(self, call: Awaitable[Completed], facts: Facts, run: KubeadmRun) -> None:
        """`facts` are those from before the run; one that did not begin leaves them as they were."""
        try:
            done = await call
        except KubeadmError as error:
            if error.kind in _UNTOUCHED:
                return self._failed(facts, "kubeadm", error.kind, error.message)
            ended = replace(run, ended=self._ports.clock(), code=-1 if error.code is None else error.code)
            return self._failed(replace(_touched(facts), kubeadm=ended), "kubeadm", error.kind, error.message)
        ended = replace(run, ended=self._ports.clock(), code=done.code)
        self._state.save(replace(_touched(facts), kubeadm=ended).passed("kubeadm"))
        return None

    async def _reboot(self, step: Reboot, seen: HostSnapshot, facts: Facts) -> None:
        """A reboot that was asked for before and did not lead here has failed; each is written down first.

        One that the host refused has not begun: the facts are what they were. Of a call that hung nobody knows.
        """
        now = self._ports.clock()
        asked = RebootFact(digest=step.digest, boot_id=seen.boot_id, asked=now)
        again = facts.failed("reboot", now, Why.NO_REBOOT, "the last reboot did not lead into the image")
        begun = replace(_touched(again if facts.reboot else facts), reboot=asked)
        self._state.save(begun)
        try:
            await self._ports.os.finalize(step.digest, allow_unlocked=step.allow_unlocked)
        except OsError as error:
            known = begun if error.kind is OsProblem.TIMED_OUT else facts
            self._failed(known, "reboot", error.kind, error.message)

    async def _release(self, step: ReleaseLock, facts: Facts) -> None:
        try:
            answer = await self._ports.lock(step.url, step.group).steady_state()
        except ValueError as error:
            answer = Refused("unusable", str(error), 0)
        if isinstance(answer, Refused):
            self._failed(facts, "release", answer.kind, answer.value)
            return
        if step.proven:
            await self._ports.tidy()
        released = facts.finished() if step.proven else facts.released()
        self._state.save(released.passed("release"))

    def _failed(self, facts: Facts, step: str, reason: str, message: str) -> None:
        self._state.save(facts.failed(step, self._ports.clock(), reason, message))


def _touched(facts: Facts) -> Facts:
    """From here on the lock goes back only when the node is proven well."""
    return replace(facts, lock=replace(facts.lock, touched=True)) if facts.lock else facts
