"""A run's owner for tests, as a program: starts processes, says their pids as JSON, then waits to be killed.

One obedient group; one that ignores TERM; and a process that left its group and session and was never told of.
"""

import json
import subprocess
import sys
from pathlib import Path

from kube_upgrade.lab.runs import Run

STUBBORN = "trap '' TERM; echo on; while :; do sleep 1; done"
RUNAWAY = "setsid sleep 600 & echo $!; wait"


def main() -> None:
    """`python run_owner.py BASE`."""
    run = Run.open("owned", base=Path(sys.argv[1]))
    pids = {"obedient": start(run, "sleep 600 & echo on; wait"), "stubborn": start(run, STUBBORN)}
    runaway = start(run, RUNAWAY)
    (run.folder / "data").mkdir()
    said = {"folder": str(run.folder), "reaper": run.reaper_pid, "pids": [*pids.values(), runaway]}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


def start(run: Run, script: str) -> int:
    """Start a shell in a group of its own and wait for its first word."""
    child = subprocess.Popen(
        ["/bin/sh", "-c", script], env=run.environment(), start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    run.adopt(child.pid)
    assert child.stdout is not None
    word = child.stdout.readline().strip()
    return child.pid if word == "on" else int(word)


if __name__ == "__main__":
    main()
