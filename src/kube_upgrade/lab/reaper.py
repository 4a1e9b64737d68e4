"""The reaper: a small process that outlives the lab and cleans up after it.

It reads lines (runs.RECORD's format) from the lab through a pipe. The pipe closes when the lab ends, by whatever
signal; then the reaper ends the process groups it was told of and removes the run's folder.
"""

import os
import signal
import sys
from pathlib import Path

from kube_upgrade.lab.runs import REAPS, Record, reap


def main() -> int:
    """`python -m kube_upgrade.lab.reaper --run=FOLDER`: exit code 1 where some process would not end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the lab; the reaper ends when the lab has ended
    folder = Path(sys.argv[1].removeprefix(REAPS))
    os.write(sys.stdout.fileno(), b"watching\n")
    record = Record()
    for line in sys.stdin.buffer:
        record.take(line)
    return 1 if reap(folder, record) else 0


if __name__ == "__main__":
    sys.exit(main())
