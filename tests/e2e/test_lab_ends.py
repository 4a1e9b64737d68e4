"""However the lab ends, nothing of it stays, and it says why."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

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
