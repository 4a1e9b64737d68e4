"""Time as a port, for the parts whose promise is about time."""

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Time, and waiting."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def now(self) -> datetime:
        """Wall clock, UTC: for what others read, never for decisions."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait this long; at once for 0 or less."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def now(self) -> datetime:
        """Wall clock, UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait this long; at once for 0 or less."""
        await asyncio.sleep(max(0.0, seconds))


async def until(clock: Clock, moment: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled and TimeoutError raised at this moment of the monotonic clock."""
    task = asyncio.ensure_future(work)
    alarm = asyncio.ensure_future(clock.sleep(moment - clock.monotonic()))
    try:
        await asyncio.wait({task, alarm}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        await stop(task, alarm)


async def stop(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel these and wait until they have ended; what they raise is dropped, as their owner leaves them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
