"""An event loop whose time is the test's: minutes pass in no time, in the order in which everybody wanted to wake.

Production code sleeps and times out as ever. It needs no port for that: asyncio's own clock is the port.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


class _Selector(selectors.SelectSelector):
    """Waits for nobody: where nothing is ready, the clock goes on to the next timer."""

    elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if timeout is None and not ready:
            raise RuntimeError("everybody waits, and nobody for a moment in time: nothing will ever happen")
        if not ready and timeout:
            self.elapsed += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a time of its own, which begins at 0."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.elapsed

    def stand_still(self, seconds: float) -> None:
        """As SIGSTOP does it: time goes on, and nobody has seen any of it."""
        self._clock.elapsed += seconds


class VirtualClock:
    """kube.clock.Clock on the running loop; `skew` is how far its wall clock is off."""

    def __init__(self, skew: timedelta = timedelta(0)) -> None:
        self.skew = skew

    def monotonic(self) -> float:
        """Seconds since the test began."""
        return asyncio.get_running_loop().time()

    def now(self) -> datetime:
        """The wall clock."""
        return START + self.skew + timedelta(seconds=self.monotonic())

    async def sleep(self, seconds: float) -> None:
        """Wait in the loop's time."""
        await asyncio.sleep(max(0.0, seconds))


def in_no_time(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(test())
