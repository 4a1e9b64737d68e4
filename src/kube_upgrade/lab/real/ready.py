"""`python -m kube_upgrade.lab.real.ready [VERSION ...]`: look whether this machine can run real nodes, then make or
fetch all that they need, so that no run waits for it (about five minutes for a Kubernetes version never built before).

Exit code 1 where something is missing; it is named.
"""

import sys

from kube_upgrade.lab.binaries import NoBinaries
from kube_upgrade.lab.progress import Progress
from kube_upgrade.lab.real import capabilities, tools
from kube_upgrade.lab.real.binaries import DEFAULT, find_or_make
from kube_upgrade.lab.runs import RunError, own_directory, runs_directory


def main() -> int:
    """The versions are the arguments."""
    try:
        capabilities.check(own_directory(runs_directory()))
        tools.find_or_fetch(Progress())
        find_or_make(sys.argv[1:] or DEFAULT)
    except (capabilities.Incapable, RunError, tools.NoTools, NoBinaries) as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
