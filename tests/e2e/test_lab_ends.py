"""However the lab ends, nothing of it stays; and others may take a program's place."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from kube_upgrade.lab.binaries import Binaries
from kube_upgrade.lab.proc import everyone, given, marked
from support.lab_run import SCENARIOS, LabRun

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

GONE = 5.0  # seconds: the promise


@pytest.fixture
def small(binaries: Binaries) -> Iterator[Callable[..., LabRun]]:
    """Starts one control plane and one worker."""
    started: list[LabRun] = []

    def start(*args: str) -> LabRun:
        size = ("--control-planes", "1", "--workers", "1")
        started.append(LabRun.start(binaries["kubectl"], *size, *args))
        return started[-1]

    yield start
    for run in started:
        run.close()


def left_of(folder: Path) -> list[int]:
    """Who carries the run's mark, or was given a path of its folder."""
    name = str(folder)
    return [seen.pid for seen in everyone() if not seen.zombie and (marked(seen.pid, name) or given(seen.pid, name))]


def hanging(file: Path, key: str) -> tuple[str, str]:
    """A scenario in which a program of the control plane never ends."""
    fault = f"faults: [{{node: control-plane-1, key: {key}, hang: 600}}]\n"
    file.write_text((SCENARIOS / "one-plus-one.yaml").read_text() + fault)
    return "--scenario", str(file)


def words(pid: int, *wanted: str) -> bool:
    """True where the process has all these words in its command line."""
    with suppress(OSError):
        return set(wanted) <= set(Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
    return False


def until(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def handed_over(run: LabRun) -> dict[str, Any]:
    """What the lab tells a replacement."""
    run.said("}\n")
    text = "".join(run.talk)
    found: dict[str, Any] = json.loads(text[text.index("{\n") : text.rindex("}\n") + 1])
    return found


def test_kill_9_in_the_middle_leaves_no_process_and_no_folder(small: Callable[..., LabRun], tmp_path: Path) -> None:
    """Not even a program of a node's host that hangs."""
    run = small(*hanging(tmp_path / "hanging.yaml", "rpm-ostree rebase"))
    folder = run.folder
    run.said("control-plane-1: staging")
    machine = str(folder / "nodes/control-plane-1")
    assert until(lambda: any(words(pid, "kube_upgrade.lab.standins.rpm_ostree", machine) for pid in left_of(folder)))
    assert len(left_of(folder)) > 5, "control plane, programs and daemons run"

    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    until(lambda: not left_of(folder) and not folder.exists(), GONE)

    assert left_of(folder) == []
    assert not folder.exists()


def test_a_replacement_of_the_daemon_is_told_disks_kubeconfigs_and_urls(small: Callable[..., LabRun]) -> None:
    run = small("--without", "upgraded")
    needs = handed_over(run)

    assert needs["without"] == "upgraded"
    assert [node["name"] for node in needs["nodes"]] == ["control-plane-1", "worker-1"]
    for node in needs["nodes"]:
        assert Path(node["root"], "usr/bin/rpm-ostree").exists()
        user = json.loads(run.ask("auth", "whoami", "--output=json", kubeconfig=Path(node["kubeconfig"])))
        assert user["status"]["userInfo"]["username"] == f"system:node:{node['name']}"
    assert needs["fleetlockUrl"].startswith("http://127.0.0.1:")
    assert Path(needs["binaries"]["kubectl"]).exists()
    run.process.send_signal(signal.SIGINT)
    assert run.result() == (130, {"result": "unproven", "error": "interrupted", "reasons": ["interrupted"]})
    assert not run.folder.exists()


def test_a_controller_from_outside_completes_the_rollout(small: Callable[..., LabRun], tmp_path: Path) -> None:
    run = small("--without", "upgrade-controller")
    needs = handed_over(run)

    with outside_controller(needs, tmp_path / "controller.log"):
        code, found = run.result()

    assert (code, found["result"], found["reasons"]) == (0, "complete", [])


def test_a_plan_that_the_api_server_refuses_is_a_wrong_scenario(small: Callable[..., LabRun], tmp_path: Path) -> None:
    file = tmp_path / "refused.yaml"
    file.write_text(
        "name: refused\nabout: No selector.\ncontrolPlanes: 1\nworkers: 0\nfrom: v1.36.3\nto: v1.37.2\n"
        "plan: {groups: {all: {maxUnavailable: many}}}\n"
    )
    run = small("--scenario", str(file))

    code, found = run.result()

    assert (code, found["result"]) == (2, "unproven")
    assert "refused: plan: " in found["error"]
    assert "maxUnavailable" in found["error"]
    run.said("kube-upgrade: refused: plan: ")


def test_an_event_that_cannot_happen_breaks_the_lab(small: Callable[..., LabRun], tmp_path: Path) -> None:
    file = tmp_path / "event.yaml"
    event = "timeline: [{after: 0.1, kubectl: delete node nobody}]\n"
    file.write_text((SCENARIOS / "one-plus-one.yaml").read_text() + event)
    run = small("--scenario", str(file))
    code, found = run.result()

    assert (code, found["result"]) == (4, "unproven")
    assert "one-plus-one: timeline: " in found["error"]
    assert 'nodes "nobody" not found' in found["error"]
    assert not run.folder.exists()


@contextmanager
def outside_controller(needs: dict[str, Any], log: Path) -> Iterator[None]:
    """The controller as a process that the lab knows nothing of, under the handed-over service account."""
    config = needs["kubeconfigs"]["upgrade-controller"]
    argv = [sys.executable, "-m", "kube_upgrade.controller", "--kubeconfig", config, "--namespace", needs["namespace"]]
    with log.open("wb") as out:
        process = subprocess.Popen([*argv, "--listen", "127.0.0.1:0"], stdout=out, stderr=out)
        try:
            yield
        finally:
            process.kill()
            process.wait()
