"""Those who wait for a slot of one group: first come, first served here; between replicas as core.fleetlock.slots says.

One task per group asks the store on everyone's behalf, woken by new arrivals and by changed locks, so a hundred
waiting requests cost one try per free slot and not a hundred.
"""

import asyncio
from bisect import insort
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count, takewhile
from typing import NoReturn

from kube_upgrade.core.fleetlock.slots import Verdict, Wish, ahead
from kube_upgrade.fleetlock.stores import Outcome, StoreUnavailable
from kube_upgrade.fleetlock.stores.store import LockStore
from kube_upgrade.model.lock import LockGroup
from kube_upgrade.telemetry import logs

_log = logs.logger("fleetlock.queue")

WAKE_SECONDS = 5.0  # a look without news: a lost wake costs this long at most
PATIENCE_SECONDS = 2.0  # a free slot is left this long to a replica whose turn it is
LINGER_SECONDS = 3.0  # a client whose request ran out is in line so long: time to ask again
REMEMBER_SECONDS = 600.0  # and its place is kept so long for when it comes back: Zincati asks every 5 to 6 minutes
MOST_REMEMBERED = 5_000  # places; of more, those that left first are forgotten


@dataclass(slots=True, eq=False, kw_only=True)
class _Waiter:
    wish: Wish
    place: int
    answer: asyncio.Future[Outcome]
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    why: Outcome | None = None

    @property
    def in_line(self) -> bool:
        """True while nothing but other clients keeps it from its slot."""
        shut_out = (Verdict.FULL, Verdict.QUEUED)
        return not self.answer.done() and self.why is not None and self.why.verdict in shut_out

    def fail(self, why: str) -> None:
        """The store is away."""
        if not self.answer.done():
            self.answer.set_exception(StoreUnavailable(why))
        self.looked.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """The place of a client whose request ran out, an expectation and no lock: free slots do not wait for it."""

    place: int
    until: float


class Queue:
    """The queue of one group at this replica, whose name others must not bear. `run` must run for anyone to be served.

    `len()` is how many requests wait; `on_wait` is called when one comes.
    """

    def __init__(
        self, store: LockStore, group: str, replica: str = "", on_wait: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._group = group
        self._replica = replica
        self._on_wait = on_wait
        self._places = count()
        self._waiters: list[_Waiter] = []
        self._lingers: dict[str, float] = {}  # clients whose request ran out, and until when they are in line
        self._kept: dict[str, _Kept] = {}  # in the order in which they left
        self._unclaimed: list[Outcome] = []  # slots taken for clients that went away in the same moment
        self._news = asyncio.Event()
        self._in_line = False  # the store has this replica among those who wait
        self._behind: tuple[tuple[str, ...], LockGroup] | None = None  # who is first, and when that was seen
        self._behind_since = 0.0

    def __len__(self) -> int:
        return len(self._waiters)

    def wake(self) -> None:
        """Something changed: try again."""
        self._news.set()

    async def take(self, wish: Wish, seconds: float) -> Outcome:
        """The slot as soon as it is free; after this many seconds, why not. At least one try is made.

        Cancelling leaves the queue; a slot that was just taken for this wish is given back. Raises StoreUnavailable.
        """
        replica = self._replica if seconds > 0 else ""
        answer = asyncio.get_running_loop().create_future()
        waiter = _Waiter(wish=replace(wish, replica=replica), place=self._place(wish.id), answer=answer)
        insort(self._waiters, waiter, key=lambda each: each.place)
        self.wake()
        self._on_wait()
        try:
            outcome = await self._answer_within(waiter, seconds)
        except asyncio.CancelledError:
            self._leave(waiter)
            self.wake()
            raise
        else:
            if not outcome.verdict.holds and replica:
                self._keep(waiter)
            return outcome
        finally:
            waiter.answer.cancel()
            self._waiters.remove(waiter)

    async def run(self) -> NoReturn:
        """Serve the queue until cancelled."""
        while True:
            if not self._news.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self._news.wait()
            self._news.clear()
            while self._unclaimed:
                await self.give_back(self._unclaimed.pop())
            try:
                await self._pass_over()
                await self._serve()
                await self._leave_line()
            except StoreUnavailable as error:
                _log.warning("the line stays as it is", group=self._group, reason=str(error))

    async def give_back(self, outcome: Outcome) -> None:
        """Nobody waits for this slot any more. One that was held before the wish is not this wish's to give.

        Nor is one that was asked for again since: that client is alive, and may have been told that it holds.
        """
        held = outcome.holder
        if outcome.verdict is not Verdict.TAKEN or held is None:
            return
        _log.info("giving back a slot whose client has gone", group=self._group, node=held.node)
        try:
            await self._store.release(self._group, held.id, held.since, held.asks)
        except StoreUnavailable as error:  # the client will ask again, or release
            _log.warning("could not give the slot back", group=self._group, node=held.node, reason=str(error))

    def _place(self, id: str) -> int:
        self._lingers.pop(id, None)
        kept = self._kept.pop(id, None)
        return kept.place if kept is not None and kept.until > _now() else next(self._places)

    def _keep(self, waiter: _Waiter) -> None:
        """Its request ran out: it stands in line for a moment more, and in its old place when it is back."""
        self._lingers[waiter.wish.id] = _now() + LINGER_SECONDS
        self._kept[waiter.wish.id] = _Kept(place=waiter.place, until=_now() + REMEMBER_SECONDS)
        if len(self._kept) > MOST_REMEMBERED:
            del self._kept[next(iter(self._kept))]
        self.wake()

    def _forget(self) -> None:
        """Who stayed away for too long."""
        now = _now()
        self._lingers = {id: until for id, until in self._lingers.items() if until > now}
        for id, _ in list(takewhile(lambda kept: kept[1].until <= now, self._kept.items())):
            del self._kept[id]

    def _pause(self) -> float:
        """Seconds until something is due without news."""
        now = _now()
        moments = [now + WAKE_SECONDS]
        if self._behind is not None and self._waiters:
            moments.append(self._behind_since + PATIENCE_SECONDS)
        if self._in_line:
            moments.extend(self._lingers.values())
        return max(0.001, min(moments) - now)

    async def _answer_within(self, waiter: _Waiter, seconds: float) -> Outcome:
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(waiter.answer)
        except TimeoutError:
            await waiter.looked.wait()  # the store may not have been asked at all
        if waiter.answer.done() or waiter.why is None:
            return waiter.answer.result()
        return waiter.why

    def _leave(self, waiter: _Waiter) -> None:
        """The client is gone; it may have been served in this very moment."""
        if waiter.answer.done() and not waiter.answer.cancelled() and waiter.answer.exception() is None:
            self._unclaimed.append(waiter.answer.result())

    async def _serve(self) -> None:
        """One look at each, in their order. Where the store is away, nobody waits for it longer than the first did."""
        shut: Outcome | None = None
        left = iter(list(self._waiters))
        for waiter in left:
            if waiter.answer.done():
                continue
            if shut is not None and shut.group.holder(waiter.wish.id) is None:
                waiter.why = shut
                waiter.looked.set()
                continue
            try:
                outcome = await self._try(waiter)
            except StoreUnavailable as error:
                for each in (waiter, *left):
                    each.fail(str(error))
                return
            if outcome.verdict in (Verdict.FULL, Verdict.QUEUED):
                shut = outcome

    async def _try(self, waiter: _Waiter) -> Outcome:
        more = any(other.in_line for other in self._waiters if other is not waiter)
        outcome = await self._store.reserve(self._group, replace(waiter.wish, more=more))
        self._note_line(outcome)
        if not outcome.verdict.holds:
            waiter.why = outcome
        elif not waiter.answer.done():
            waiter.answer.set_result(outcome)
        else:
            await self.give_back(outcome)
        waiter.looked.set()
        return outcome

    def _note_line(self, outcome: Outcome) -> None:
        self._in_line = self._replica in outcome.group.waiting
        if outcome.verdict is not Verdict.QUEUED:
            self._behind = None
            return
        first = ahead(outcome.group, self._replica)
        seen = self._behind
        if seen is None or seen[0] != first or seen[1].last != outcome.group.last:
            self._behind, self._behind_since = (first, outcome.group), _now()

    async def _pass_over(self) -> None:
        """A slot is free, and the replicas that are first have not come for it: theirs is the next turn after all."""
        if self._behind is None or not self._waiters or _now() < self._behind_since + PATIENCE_SECONDS:
            return
        silent, self._behind = self._behind[0], None
        for replica in silent:
            _log.info("passing over a replica that does not take its turn", group=self._group, replica=replica)
            await self._store.leave(self._group, replica)

    async def _leave_line(self) -> None:
        """Out of the line when nobody waits here any more and nobody is about to come back."""
        self._forget()
        if self._in_line and not self._lingers and not any(waiter.in_line for waiter in self._waiters):
            await self._store.leave(self._group, self._replica)
            self._in_line = False


def _now() -> float:
    return asyncio.get_running_loop().time()
