"""A clock that a test turns by hand: whoever sleeps wakes in the order of his moment, and nothing else passes time."""

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
TURNS = 60  # of the event loop, until everybody who can go on has gone on


class FakeClock:
    """kube.clock.Clock for tests."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        """Seconds since the test began."""
        return self._seconds

    def now(self) -> datetime:
        """The wall clock, in step with the monotonic one."""
        return START + timedelta(seconds=self._seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has turned the clock this far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._seconds + seconds, next(self._order), waiter))
        await waiter

    async def advance(self, seconds: float) -> None:
        """Let this much time pass; everything due meanwhile happens at its own moment."""
        end = self._seconds + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._seconds, _, waiter = heapq.heappop(self._sleepers)
            if not waiter.done():
                waiter.set_result(None)
            await settle()
        self._seconds = end


async def settle() -> None:
    """Let every task run until it waits for time or for the test."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
