"""Others may take a program's place: each of ours in turn runs outside of the lab, from what the lab prints.

All runs are started together: most of their time is the simulated hardware's, not this machine's.
"""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from kube_upgrade.lab.binaries import Binaries
from support.lab_run import LabRun

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

LOOK = 0.05
NODE_PROGRAMS = {"kubeadm", "kubelet", "ostree", "rpm-ostree", "systemctl", "systemd-run"}


class Outside:
    """A program that the lab knows nothing of; `again` says when it is started once more after it ended."""

    def __init__(self, argv: Sequence[str], log: Path, again: Callable[[], bool] | None = None) -> None:
        self._argv, self._log, self._again = argv, log, again
        self._over = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._keep)
        self._thread.start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as out:
            return subprocess.Popen([sys.executable, "-m", *self._argv], stdout=out, stderr=out)

    def _keep(self) -> None:
        while not self._over.wait(LOOK):
            if self._process.poll() is not None and self._again is not None and self._again():
                self._process = self._start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._process.kill()
        self._process.wait()


def handed_over(run: LabRun) -> dict[str, Any]:
    """What the lab tells a replacement."""
    run.said("}\n")
    text = "".join(run.talk)
    found: dict[str, Any] = json.loads(text[text.index("{\n") : text.rindex("}\n") + 1])
    return found


def controller(needs: dict[str, Any], folder: Path) -> list[Outside]:
    config = needs["kubeconfigs"]["upgrade-controller"]
    argv = ["kube_upgrade.controller", "--kubeconfig", config, "--namespace", needs["namespace"]]
    return [Outside([*argv, "--listen", "127.0.0.1:0"], folder / "controller.log")]


def locks(needs: dict[str, Any], folder: Path) -> list[Outside]:
    return [Outside(["kube_upgrade.fleetlock", "--config", needs["configs"]["fleetlock"]], folder / "fleetlock.log")]


def daemons(needs: dict[str, Any], folder: Path) -> list[Outside]:
    return [daemon(node, folder / f"{node['name']}.log") for node in needs["nodes"]]


def daemon(node: dict[str, Any], log: Path) -> Outside:
    """As systemd on that node would do it: it ends with the node, and starts after the boot."""
    boot_id = Path(node["root"], "proc/sys/kernel/random/boot_id")
    boots = [boot_id.read_text()]

    def booted() -> bool:
        with suppress(FileNotFoundError):  # the run is over and its folder gone
            boots.append(boot_id.read_text())
            return boots[-1] != boots[-2]
        return False

    return Outside(["kube_upgrade.upgraded", "--config", node["config"]], log, booted)


REPLACEMENTS = {"upgrade-controller": controller, "fleetlock": locks, "upgraded": daemons}


@pytest.fixture(scope="module")
def runs(binaries: Binaries) -> Iterator[dict[str, LabRun]]:
    size = ("--control-planes", "1", "--workers", "1")
    started = {name: LabRun.start(binaries["kubectl"], *size, "--without", name) for name in REPLACEMENTS}
    yield started
    for run in started.values():
        run.close()


@pytest.fixture(scope="module")
def outside(runs: dict[str, LabRun], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """What each run handed over, with its replacement at work."""
    needs = {name: handed_over(run) for name, run in runs.items()}
    folder = tmp_path_factory.mktemp("outside")
    with ExitStack() as stack:
        for name, replace in REPLACEMENTS.items():
            for program in replace(needs[name], folder):
                stack.callback(program.close)
        yield needs


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_a_program_from_outside_completes_the_rollout(
    runs: dict[str, LabRun], outside: dict[str, dict[str, Any]], name: str
) -> None:
    code, found = runs[name].result()

    assert (code, found["result"], found["reasons"]) == (0, "complete", [])
    assert outside[name]["without"] == name
    assert name not in found["memoryMiB"], "the lab has not started it as well"


def test_a_replacement_is_told_disks_programs_kubeconfigs_and_urls(binaries: Binaries) -> None:
    run = LabRun.start(binaries["kubectl"], "--control-planes", "1", "--workers", "1", "--without", "upgraded")
    try:
        needs = handed_over(run)

        assert [node["name"] for node in needs["nodes"]] == ["control-plane-1", "worker-1"]
        for node in needs["nodes"]:
            assert set(node["binaries"]) == NODE_PROGRAMS
            assert all(path == f"{node['root']}/usr/bin/{name}" for name, path in node["binaries"].items())
            said = subprocess.run(
                [node["binaries"]["kubelet"], "--version"], capture_output=True, text=True, check=True
            )
            assert said.stdout == "Kubernetes v1.36.3\n"
            user = json.loads(run.ask("auth", "whoami", "--output=json", kubeconfig=Path(node["kubeconfig"])))
            assert user["status"]["userInfo"]["username"] == f"system:node:{node['name']}"
        assert needs["apiServer"].startswith("https://127.0.0.1:")
        assert needs["fleetlockUrl"].startswith("http://127.0.0.1:")
        assert Path(needs["binaries"]["kubectl"]).exists()
        run.process.send_signal(signal.SIGINT)
        assert run.result() == (130, {"result": "unproven", "error": "interrupted", "reasons": ["interrupted"]})
        assert not run.folder.exists()
    finally:
        run.close()
