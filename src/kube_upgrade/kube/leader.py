"""Leader election by a Lease, so that one replica acts at a time. The rules are in core/election.

A paused process may find out late that its lease is gone, so a lease alone does not make writes safe: whoever writes
also carries the resourceVersion that the decision was made on (design: 2.4).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

from kube_upgrade.core import election
from kube_upgrade.core.election import Sighting
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.clock import Clock, SystemClock, stop, until
from kube_upgrade.kube.errors import Conflict, KubeError, NotFound
from kube_upgrade.kube.paths import lease, leases
from kube_upgrade.kube.wire.lease import LeaseObject, new_lease, to_record, with_record
from kube_upgrade.model.lease import JITTER, LeaseRecord, Terms
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import LEADER

_dice = random.SystemRandom()
_log = logs.logger("leader")


class LeaseLost(Exception):
    """The lease was not renewed in time, or another holds it; the body was cancelled."""


async def lead(
    api: Api,
    namespace: str,
    name: str,
    identity: str,
    body: Callable[[], Awaitable[None]],
    *,
    terms: Terms | None = None,
    clock: Clock | None = None,
) -> None:
    """Wait for the lease, then run `body` while it is held; returns when the body does and releases the lease.

    `identity` must be of this process alone: who comes back under a name that holds the lease holds it. Raises
    LeaseLost after the body was cancelled and has ended, so a body should end quickly: within `duration` less
    `renew_deadline` nobody else starts. When cancelled: ends the body first, then releases.
    """
    candidate = _Candidate(
        api=api,
        namespace=namespace,
        name=name,
        identity=identity,
        terms=terms or Terms(),
        clock=clock or SystemClock(),
    )
    await candidate.acquire()
    LEADER.set(1)
    _log.info("leading", lease=f"{namespace}/{name}", identity=identity)
    try:
        await _run_while_held(body, candidate)
    except LeaseLost as lost:
        _log.warning("no longer leading", lease=f"{namespace}/{name}", reason=str(lost))
        raise
    except BaseException:
        await candidate.release()
        raise
    else:
        await candidate.release()
    finally:
        LEADER.set(0)


async def _run_while_held(body: Callable[[], Awaitable[None]], candidate: "_Candidate") -> None:
    acting = asyncio.ensure_future(body())
    holding = asyncio.ensure_future(candidate.hold())
    try:
        await asyncio.wait({acting, holding}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await stop(acting)  # before the renewals end: nobody may take over while it winds down
        lost = holding.exception() if holding.done() and not holding.cancelled() else None
        await stop(holding)
    if lost is not None:
        raise lost
    acting.result()


@dataclass(slots=True, kw_only=True)
class _Candidate:
    """One process's view of one lease."""

    api: Api
    namespace: str
    name: str
    identity: str
    terms: Terms
    clock: Clock
    object: LeaseObject | None = None  # as last read or written; None: read before the next write
    seen: Sighting | None = None
    renewed: float = 0.0  # when the last successful try began, monotonic
    trouble: str = ""

    async def acquire(self) -> None:
        """Return when the lease is ours; API trouble only delays."""
        while not await self._tried():
            await self._pause()

    async def hold(self) -> NoReturn:
        """Renew for as long as that works; then LeaseLost."""
        while True:
            try:
                await until(self.clock, election.must_stop_at(self.renewed, self.terms), self._renew())
            except TimeoutError:
                raise LeaseLost(
                    f"not renewed within {self.terms.renew_deadline:g} s: {self.trouble or 'no answer'}"
                ) from None

    async def release(self) -> None:
        """Let the next one start at once; best effort, bounded by the retry period."""
        limit = self.clock.monotonic() + self.terms.retry
        try:
            await until(self.clock, limit, self._release())
        except (KubeError, TimeoutError) as error:
            _log.warning("lease not released; it expires by itself", reason=str(error) or "no answer in time")

    async def _release(self) -> None:
        await self._read()  # a renewal that was cancelled half-way may have been written
        if self.object is not None and self.seen is not None and self._mine():
            await self._write(self.object, election.released(self.seen.record, self.clock.now()))

    async def _renew(self) -> None:
        """Wait one period, then try until it worked; LeaseLost where another holds it."""
        await self.clock.sleep(self.terms.retry)
        while not await self._tried():
            if self.seen is not None and self.seen.record.holder not in ("", self.identity):
                raise LeaseLost(f"held by {self.seen.record.holder}")
            await self.clock.sleep(self.terms.retry)

    async def _tried(self) -> bool:
        """One try to take or renew. False where another holds it, was faster, or the API did not answer in time."""
        began = self.clock.monotonic()
        try:
            won = await until(self.clock, began + self.terms.renew_deadline / 2, self._try())
        except (KubeError, TimeoutError) as error:
            self.object = None  # the write may have happened: read before the next one
            self._tell(error)
            return False
        if won:
            self.renewed, self.trouble = began, ""
        return won

    async def _try(self) -> bool:
        if self.object is None or not self._mine():
            await self._read()
        if self.object is not None and self.seen is not None:
            if not election.may_take(self.seen, self.identity, self.clock.monotonic(), self.terms):
                return False
            held: LeaseRecord | None = self.seen.record
            target = self.object
        else:
            held, target = None, new_lease(self.namespace, self.name)
        await self._write(target, election.taken(held, self.identity, self.clock.now(), self.terms))
        return True

    def _mine(self) -> bool:
        return self.seen is not None and self.seen.record.holder == self.identity

    async def _read(self) -> None:
        try:
            self._know(await self.api.get(lease(self.namespace, self.name), LeaseObject))
        except NotFound:
            self.object = self.seen = None

    async def _write(self, target: LeaseObject, record: LeaseRecord) -> None:
        body = with_record(target, record)
        if "resourceVersion" in target.metadata:
            self._know(await self.api.replace(lease(self.namespace, self.name), body, LeaseObject))
        else:
            self._know(await self.api.create(leases(self.namespace), body, LeaseObject))

    def _know(self, found: LeaseObject) -> None:
        self.object = found
        self.seen = election.sight(self.seen, to_record(found), self.clock.monotonic())

    def _tell(self, error: KubeError | TimeoutError) -> None:
        """Log each kind of trouble once until a try succeeds; losing a race is no trouble."""
        kind, reason = type(error).__name__, str(error) or "no answer in time"
        if not isinstance(error, Conflict) and not self.trouble.startswith(kind):
            _log.warning("cannot reach the lease", lease=f"{self.namespace}/{self.name}", reason=reason)
        self.trouble = f"{kind}: {reason}"

    async def _pause(self) -> None:
        await self.clock.sleep(self.terms.retry * _dice.uniform(1.0, JITTER))
