"""What a daemon carries in memory although it never uses it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("program", ["controller", "fleetlock", "upgraded"])
def test_no_daemon_carries_the_libraries_of_the_terminal(program: str) -> None:
    """rich and pygments are 4 MiB; structlog would load them wherever they are installed."""
    code = f"import sys, kube_upgrade.{program}.main; print(*{{'rich', 'pygments', 'typer'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
