"""However a run on real nodes ends, nothing of it stays."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from support.leftovers import Machine, lived_in, namespaces_of, of_run
from support.real_run import RealRun

pytestmark = [pytest.mark.real, pytest.mark.short, pytest.mark.timeout(600)]

GONE = 20.0  # seconds: two nodes' disks are gigabytes


def until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_kill_9_of_the_lab_leaves_no_mount_link_cgroup_process_or_sysctl() -> None:
    before = Machine.look()
    run = RealRun.start()
    try:
        folder = run.folder
        run.said("worker-1: kubeadm join", 240.0)
        namespaces = namespaces_of(run.process.pid, folder)
        assert len(namespaces) == 3, "the lab's own and one for each node"
        os.kill(run.process.pid, signal.SIGKILL)
        run.process.wait()

        until(lambda: not folder.exists() and not lived_in(namespaces) and not of_run(folder), GONE)

        assert lived_in(namespaces) == []
        assert of_run(folder) == []
        assert not folder.exists()
        assert Machine.look().more_than(before, folder.name) == {}
    finally:
        run.close()


def test_ctrl_c_ends_it_in_order_and_leaves_nothing() -> None:
    before = Machine.look()
    run = RealRun.start()
    try:
        folder = run.folder
        run.said("control-plane-1: kubeadm init", 240.0)
        namespaces = namespaces_of(run.process.pid, folder)
        run.process.send_signal(signal.SIGINT)

        assert run.process.wait(60) == 130
        assert lived_in(namespaces) == []
        assert of_run(folder) == []
        assert not folder.exists()
        assert Machine.look().more_than(before, folder.name) == {}
    finally:
        run.close()
