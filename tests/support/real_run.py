"""The lab on real nodes as people and CI start it: a process of its own, its result on stdout, its story on stderr."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class RealRun:
    """A run that was started. Its folder is known as soon as it says anything of its nodes."""

    process: "subprocess.Popen[str]"
    talk: list[str] = field(default_factory=list)
    _thread: threading.Thread | None = None

    @classmethod
    def start(cls, *args: str) -> "RealRun":
        """`kube-upgrade lab --real` with these arguments."""
        argv = [sys.executable, "-m", "kube_upgrade", "lab", "--real", "-o", "json", *args]
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
        run = cls(process)
        run._thread = threading.Thread(target=run._listen, daemon=True)
        run._thread.start()
        return run

    def said(self, words: str, seconds: float) -> str:
        """The first line with these words."""
        deadline = time.monotonic() + seconds
        while True:
            over = self._thread is not None and not self._thread.is_alive()
            if found := next((line for line in self.talk if words in line), ""):
                return found
            assert not over, "".join(self.talk)
            assert time.monotonic() < deadline, f"no {words!r} within {seconds:.0f} s: {''.join(self.talk)}"
            time.sleep(0.1)

    @property
    def folder(self) -> Path:
        """Where everything of this run lies."""
        return Path(self.said("folder: ", 300.0).rpartition("folder: ")[2].strip())

    def result(self, seconds: float) -> tuple[int, dict[str, Any]]:
        """Exit code and what it printed. The story goes to this test's own output."""
        out = self._out(seconds)
        sys.stdout.write("".join((*self.talk, out)))
        assert out.strip(), "".join(self.talk)
        found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        return self.process.wait(), found

    def close(self) -> None:
        """End it where it still runs, in order."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._thread is not None:
            self._thread.join(5.0)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _out(self, seconds: float) -> str:
        assert self.process.stdout is not None
        timer = threading.Timer(seconds, self.process.terminate)
        timer.start()
        try:
            return self.process.stdout.read()
        finally:
            timer.cancel()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.talk.append(line)
