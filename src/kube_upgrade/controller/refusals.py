"""Nodes whose patch the API server refuses: each is tried again after a pause of its own, and the others go on."""

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kube_upgrade.core.backoff import pause
from kube_upgrade.kube.errors import ApiError
from kube_upgrade.telemetry import logs

FIRST_PAUSE, MOST_PAUSE = 0.5, 60.0  # seconds

_dice = random.SystemRandom()
log = logs.logger("act")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    why: str
    failures: int
    until: float  # of the event loop's clock


class Refusals:
    """What an admission policy, a missing right or a webhook that is down says to a write on one Node."""

    def __init__(self) -> None:
        self._known: dict[str, _Refusal] = {}

    def note(self, node: str, error: ApiError) -> None:
        """One more, told in the log."""
        before = self._known.get(node)
        failures = before.failures + 1 if before else 1
        seconds = pause(failures, first=FIRST_PAUSE, most=MOST_PAUSE, dice=_dice.random())
        seconds = max(seconds, min(error.retry_after or 0.0, MOST_PAUSE))
        self._known[node] = _Refusal(why=str(error), failures=failures, until=_now() + seconds)
        log.warning(
            "node patch refused", node=node, reason=str(error), failures=failures, retry_seconds=round(seconds, 1)
        )

    def clear(self, node: str) -> None:
        """A write on it passed."""
        self._known.pop(node, None)

    def keep(self, nodes: Iterable[str]) -> None:
        """Forget those that are not there any more."""
        if self._known:
            there = set(nodes)
            self._known = {node: refusal for node, refusal in self._known.items() if node in there}

    def rests(self, node: str) -> bool:
        """True while it is not to be tried again."""
        known = self._known.get(node)
        return known is not None and known.until > _now()

    def told(self) -> Mapping[str, str]:
        """Node → the server's words."""
        return {node: refusal.why for node, refusal in self._known.items()}

    def seconds(self) -> float | None:
        """Until the first that rests may be tried again; None where none does: what is wanted then is tried at once."""
        return min((left for refusal in self._known.values() if (left := refusal.until - _now()) > 0), default=None)


def _now() -> float:
    return asyncio.get_running_loop().time()
