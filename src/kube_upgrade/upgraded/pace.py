"""How long the daemon rests between two turns: never at full speed through turns that get nowhere."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from kube_upgrade.core.backoff import pause
from kube_upgrade.model.step import Effect, Failed, Idle, Wait

LONGEST_SLEEP = 300.0  # seconds; the wall clock may be set while we sleep
FIRST_BRAKE, MOST_BRAKE = 1.0, 60.0  # seconds


@dataclass(slots=True)
class Pace:
    """Counts effects that are asked for again and again without a rest in between."""

    _last: Effect | None = None
    _repeats: int = 0

    def rest(self, step: Idle | Wait | Failed, now: datetime, poll: timedelta) -> float:
        """Seconds to sleep where nothing can be done: up to the step's moment, `poll` where that is over already."""
        self._last, self._repeats = None, 0
        if step.until is None:
            return LONGEST_SLEEP
        seconds = (step.until - now).total_seconds()
        return seconds if seconds > 0.0 else poll.total_seconds()

    def brake(self, step: Effect) -> float:
        """Seconds to sleep after an effect: none, but from its second repetition on they double."""
        self._repeats = self._repeats + 1 if step == self._last else 0
        self._last = step
        if self._repeats < 2:
            return 0.0
        return pause(self._repeats - 1, first=FIRST_BRAKE, most=MOST_BRAKE, dice=0.5)
