"""What a person sees while the lab runs: a live picture on a terminal, plain lines elsewhere. All of it on stderr."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kube_upgrade.lab.view import View, news, text


@dataclass(slots=True)
class Show:
    """One run's talk. `picture` draws nothing outside of `live`."""

    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, soft_wrap=True))
    started: float = field(default_factory=time.monotonic)
    _live: Live | None = None
    _before: View = field(default_factory=lambda: View(title="", summary=""))

    def say(self, line: str) -> None:
        """One line, with the seconds since the start."""
        stamp = f"{time.monotonic() - self.started:6.1f}s "
        self.console.print(Text(stamp, style="dim"), Text(line), sep="")

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep the picture current at the bottom of a terminal; elsewhere each change is a line."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, auto_refresh=False) as self._live:
            yield
        self._live = None

    def picture(self, now: View) -> None:
        """Show the world as it is now."""
        if now == self._before:
            return
        if self._live is not None:
            self._live.update(Text(f"\n{text(now)}", no_wrap=True, overflow="ellipsis"), refresh=True)
        else:
            for line in news(self._before, now):
                self.say(line)
        self._before = now
