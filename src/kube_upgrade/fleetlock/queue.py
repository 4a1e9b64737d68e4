"""Those who wait for a slot of one group: first come, first served within this replica.

One task per group asks the store on everyone's behalf, woken by new arrivals and by changed locks, so a hundred
waiting requests cost one try per free slot and not a hundred.
"""

import asyncio
from dataclasses import dataclass, field
from typing import NoReturn

from kube_upgrade.core.fleetlock.slots import Verdict, Wish
from kube_upgrade.fleetlock.stores import Outcome, Store, StoreUnavailable
from kube_upgrade.telemetry import logs

_log = logs.logger("fleetlock.queue")

WAKE_SECONDS = 5.0  # a look without news: a lost wake costs this long at most


@dataclass(slots=True, eq=False, kw_only=True)
class _Waiter:
    wish: Wish
    answer: asyncio.Future[Outcome]
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    why: Outcome | None = None


class Queue:
    """The queue of one group. `run` must run for anyone to be served."""

    def __init__(self, store: Store, group: str) -> None:
        self._store = store
        self._group = group
        self._waiters: list[_Waiter] = []
        self._unclaimed: list[Outcome] = []  # slots taken for clients that went away in the same moment
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiters)

    def wake(self) -> None:
        """Something changed: try again."""
        self._news.set()

    async def take(self, wish: Wish, seconds: float) -> Outcome:
        """The slot as soon as it is free; after this many seconds, why not. At least one try is made.

        Cancelling leaves the queue; a slot that was just taken for this wish is given back. Raises StoreUnavailable.
        """
        waiter = _Waiter(wish=wish, answer=asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self.wake()
        try:
            return await self._answer_within(waiter, seconds)
        except asyncio.CancelledError:
            self._leave(waiter)
            raise
        finally:
            waiter.answer.cancel()
            self._waiters.remove(waiter)

    async def run(self) -> NoReturn:
        """Serve the queue until cancelled."""
        while True:
            try:
                async with asyncio.timeout(WAKE_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            while self._unclaimed:
                await self._give_back(self._unclaimed.pop())
            await self._serve()

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
            self.wake()

    async def _serve(self) -> None:
        full: Outcome | None = None
        for waiter in list(self._waiters):
            if waiter.answer.done():
                continue
            if full is not None and full.group.holder(waiter.wish.id) is None:
                waiter.why = full
                waiter.looked.set()
                continue
            outcome = await self._try(waiter)
            if outcome is not None and outcome.verdict is Verdict.FULL:
                full = outcome

    async def _try(self, waiter: _Waiter) -> Outcome | None:
        try:
            outcome = await self._store.reserve(self._group, waiter.wish)
        except StoreUnavailable as error:
            if not waiter.answer.done():
                waiter.answer.set_exception(error)
            waiter.looked.set()
            return None
        if not outcome.verdict.holds:
            waiter.why = outcome
        elif not waiter.answer.done():
            waiter.answer.set_result(outcome)
        else:
            await self._give_back(outcome)
        waiter.looked.set()
        return outcome

    async def _give_back(self, outcome: Outcome) -> None:
        """Nobody waits for this slot any more. One that was held before the wish is not this wish's to give."""
        if outcome.verdict is not Verdict.TAKEN:
            return
        _log.info("giving back a slot whose client has gone", group=self._group, id=outcome.id)
        try:
            await self._store.release(self._group, outcome.id, outcome.since)
        except StoreUnavailable as error:  # the client will ask again, or release
            _log.warning("could not give the slot back", group=self._group, id=outcome.id, reason=str(error))
