"""The lab as people and CI start it: a process of its own, with its result on stdout."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCENARIOS = Path(__file__).parents[2] / "scenarios"
PATIENCE = 240.0  # seconds; the longest run takes about 70 alone
STARTED = 60.0
READY = "kubeconfig: "  # the lab's last word before it applies the plan, with the admin's kubeconfig
PODS = "{.type} {.object.metadata.name} {.object.metadata.uid} {.object.spec.nodeName}{'\\n'}"


@dataclass(frozen=True)
class PodSeen:
    """One event of a watch on pods; `node` is empty before the pod is bound."""

    type: str
    name: str
    uid: str
    node: str


@dataclass
class LabRun:
    """A lab that was started; `result` waits for its end."""

    process: "subprocess.Popen[str]"
    kubectl: Path
    talk: list[str] = field(default_factory=list)
    pods: list[PodSeen] = field(default_factory=list)  # of namespace default, from before the plan on
    _watch: "subprocess.Popen[str] | None" = None
    _threads: list[threading.Thread] = field(default_factory=list)

    @classmethod
    def start(cls, kubectl: Path, *args: str, output: str = "json") -> "LabRun":
        """`kube-upgrade lab` with these arguments."""
        argv: Sequence[str] = [sys.executable, "-m", "kube_upgrade", "lab", "-o", output, *args]
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
        run = cls(process, kubectl)
        run._in_background(run._listen)
        return run

    @property
    def kubeconfig(self) -> Path:
        """The admin's."""
        return Path(self.said(READY).removeprefix(READY).strip())

    @property
    def folder(self) -> Path:
        """Where everything of this run lies."""
        return self.kubeconfig.parents[2]

    def said(self, word: str) -> str:
        """The first line on stderr with this word, as soon as it is there."""
        deadline = time.monotonic() + STARTED
        while True:
            over = not self._threads[0].is_alive()
            if found := next((line for line in self.talk if word in line), ""):
                return found
            assert not over, "".join(self.talk)
            assert time.monotonic() < deadline, "".join(self.talk)
            time.sleep(0.05)

    def ask(self, *args: str, kubeconfig: Path | None = None) -> str:
        """What kubectl answers."""
        argv = [str(self.kubectl), f"--kubeconfig={kubeconfig or self.kubeconfig}", *args]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout

    def line(self) -> dict[str, Any]:
        """The next JSON object on stdout, while the lab may go on."""
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def result(self) -> tuple[int, dict[str, Any]]:
        """Exit code, and the JSON object on the last line of stdout."""
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        code = self.process.wait(PATIENCE)
        lines = out.strip().splitlines()
        assert lines, f"nothing on stdout; the lab said:\n{''.join(self.talk[-40:])}"
        return code, json.loads(lines[-1])

    def close(self) -> None:
        """End it if it runs, and its pipes; its reaper ends what it started."""
        for process in (self.process, self._watch):
            if process is not None:
                if process.poll() is None:
                    process.kill()
                process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdout, self.process.stderr, self._watch.stdout if self._watch else None):
            if pipe is not None:
                pipe.close()

    def _in_background(self, work: Any) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.talk.append(line)
            if line.startswith(READY):
                self._follow_pods(line.removeprefix(READY).strip())

    def _follow_pods(self, kubeconfig: str) -> None:
        argv = [str(self.kubectl), f"--kubeconfig={kubeconfig}", "get", "pods", "--watch", "--output-watch-events"]
        self._watch = subprocess.Popen(
            [*argv, f"--output=jsonpath={PODS}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._in_background(self._note_pods)

    def _note_pods(self) -> None:
        assert self._watch is not None
        assert self._watch.stdout is not None
        for line in self._watch.stdout:
            type_, name, uid, node = line.rstrip("\n").split(" ")
            self.pods.append(PodSeen(type_, name, uid, node))


def scenario(name: str) -> tuple[str, str]:
    """The option that names a scenario of the project."""
    return "--scenario", str(SCENARIOS / f"{name}.yaml")
