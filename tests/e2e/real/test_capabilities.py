"""A machine that cannot run real nodes is told so at the start: everything that is missing, by its name."""

import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.real, pytest.mark.short]

LAB = (sys.executable, "-m", "kube_upgrade", "lab", "--real")


def told(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONSAFEPATH": "1"})
    assert done.returncode == 4
    return done.stderr


def test_missing_capabilities_are_named() -> None:
    said = told("setpriv", "--bounding-set", "-net_admin,-sys_admin", *LAB)
    assert "CAP_SYS_ADMIN is not in the effective set" in said
    assert "CAP_NET_ADMIN is not in the effective set" in said


def test_make_e2e_ends_before_its_first_test_where_a_machine_cannot() -> None:
    ready = (sys.executable, "-m", "kube_upgrade.lab.real.ready")
    argv = ("setpriv", "--bounding-set", "-net_admin", *ready)
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert "CAP_NET_ADMIN is not in the effective set" in done.stderr


def test_a_missing_cgroup_hierarchy_is_named() -> None:
    said = told("unshare", "--mount", "sh", "-c", 'umount -l /sys/fs/cgroup/pids; exec "$@"', "sh", *LAB)
    assert "no cgroup v1 hierarchy pids at /sys/fs/cgroup/pids" in said


def test_programs_that_are_missing_are_named() -> None:
    said = told("env", "PATH=/nowhere", *LAB)
    assert "no program unshare on PATH" in said
