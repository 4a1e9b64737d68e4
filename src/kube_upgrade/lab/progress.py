"""Say what takes long: one live line on a terminal, a plain line now and then elsewhere."""

import sys
import time
from typing import TextIO

QUIET = 15.0  # seconds between two plain lines about the same step
WIDTH = 100
ERASE = "\r\x1b[K"


class Progress:
    """Speaks on `stream` (stderr unless given); `live` is by default whether that is a terminal."""

    def __init__(self, stream: TextIO | None = None, *, live: bool | None = None, quiet: float = QUIET) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty() if live is None else live
        self._quiet = quiet
        self._shown = 0.0

    def say(self, text: str) -> None:
        """A line that stays."""
        self._stream.write(f"{ERASE if self._live else ''}{text}\n")
        self._stream.flush()
        self._shown = time.monotonic()

    def show(self, text: str) -> None:
        """How far the current step is: replaces the last such line, or is said once in `quiet` seconds."""
        if self._live:
            self._stream.write(f"{ERASE}{text[:WIDTH]}")
            self._stream.flush()
        elif time.monotonic() - self._shown >= self._quiet:
            self.say(text)
