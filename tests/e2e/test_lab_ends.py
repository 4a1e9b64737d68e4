"""However the lab ends, nothing of it stays; and others may take a program's place."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kube_upgrade.lab.binaries import Binaries
from kube_upgrade.lab.proc import everyone, marked
from kube_upgrade.lab.runs import runs_directory
from support.lab_run import LabRun

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

STARTED = 60.0
GONE = 5.0  # seconds: the promise


@pytest.fixture
def small(binaries: Binaries) -> Iterator[Callable[..., LabRun]]:
    """Starts one control plane and one worker."""
    started: list[LabRun] = []

    def start(*args: str) -> LabRun:
        started.append(LabRun.start("--control-planes", "1", "--workers", "1", *args))
        return started[-1]

    yield start
    for run in started:
        run.close()


def folders() -> set[Path]:
    base = runs_directory()
    return set(base.iterdir()) if base.exists() else set()


def said(run: LabRun, word: str) -> None:
    """Return as soon as the lab has said this on stderr."""
    deadline = time.monotonic() + STARTED
    while not any(word in line for line in run.talk):
        assert run.process.poll() is None, "".join(run.talk)
        assert time.monotonic() < deadline, "".join(run.talk)
        time.sleep(0.05)


def left_of(folder: Path) -> list[int]:
    return [seen.pid for seen in everyone() if not seen.zombie and marked(seen.pid, str(folder))]


def test_kill_9_leaves_no_process_and_no_folder(small: Callable[..., LabRun]) -> None:
    before = folders()
    run = small()
    said(run, "kubeconfig:")
    (folder,) = (each for each in folders() - before if each.name.startswith("lab-"))
    assert len(left_of(folder)) > 5, "control plane, programs and daemons run"

    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    deadline = time.monotonic() + GONE
    while (left_of(folder) or folder.exists()) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert left_of(folder) == []
    assert not folder.exists()


def test_an_outside_replacement_is_told_what_it_needs(small: Callable[..., LabRun]) -> None:
    run = small("--without", "upgraded")
    said(run, "kubeconfig:")
    said(run, "}\n")
    text = "".join(run.talk)
    needs = json.loads(text[text.index("{\n") : text.rindex("}\n") + 1])

    assert needs["without"] == "upgraded"
    assert [node["name"] for node in needs["nodes"]] == ["control-plane-1", "worker-1"]
    for node in needs["nodes"]:
        assert Path(node["root"], "usr/bin/rpm-ostree").exists()
        assert Path(node["kubeconfig"]).exists()
    assert needs["fleetlockUrl"].startswith("http://127.0.0.1:")
    assert Path(needs["binaries"]["kubectl"]).exists()
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(30) == 130
