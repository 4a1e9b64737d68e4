"""The lab as people and CI start it: a process of its own, with its result on stdout."""

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCENARIOS = Path(__file__).parents[2] / "scenarios"
PATIENCE = 240.0  # seconds; the longest run takes about 70 alone


@dataclass
class LabRun:
    """A lab that was started; `result` waits for its end."""

    process: "subprocess.Popen[str]"
    talk: list[str] = field(default_factory=list)
    listener: threading.Thread = field(default_factory=threading.Thread)

    @classmethod
    def start(cls, *args: str, output: str = "json") -> "LabRun":
        """`kube-upgrade lab` with these arguments."""
        argv: Sequence[str] = [sys.executable, "-m", "kube_upgrade", "lab", "-o", output, *args]
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
        run = cls(process)
        run.listener = threading.Thread(target=run._listen, daemon=True)
        run.listener.start()
        return run

    def close(self) -> None:
        """End it if it runs, and its pipes; its reaper ends what it started."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.listener.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.talk.append(line)

    def result(self) -> tuple[int, dict[str, Any]]:
        """Exit code, and the JSON object on the last line of stdout."""
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        code = self.process.wait(PATIENCE)
        lines = out.strip().splitlines()
        assert lines, f"nothing on stdout; the lab said:\n{''.join(self.talk[-40:])}"
        return code, json.loads(lines[-1])


def scenario(name: str) -> tuple[str, str]:
    """The option that names a scenario of the project."""
    return "--scenario", str(SCENARIOS / f"{name}.yaml")
