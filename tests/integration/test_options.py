"""A test that needs the real thing is skipped with the command that runs it, and never silently in CI."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pytest_says(extra: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "KUBE_UPGRADE_REQUIRE")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "tests/integration/test_control_plane.py"],
        cwd=ROOT,
        env=environment | extra,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_its_option_a_test_is_skipped_with_the_command() -> None:
    done = pytest_says({})
    assert done.returncode == 0
    assert "run: pytest --with-cluster" in done.stdout


def test_in_ci_the_same_fails() -> None:
    done = pytest_says({"CI": "true"})
    assert done.returncode == 1
    assert "no test is skipped" in done.stdout
