"""ostree over the machine's state: `admin lock-finalization [--unlock]`, `admin undeploy INDEX`."""

from collections.abc import Sequence

from kube_upgrade.lab import machine_state as rules
from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Refused
from kube_upgrade.lab.standins.common import options_of, run


def ostree(machine: Machine, arguments: Sequence[str]) -> int:
    """The two commands that the daemon needs."""
    options, words = options_of(arguments)
    match words:
        case ["admin", "lock-finalization"]:
            return _lock(machine, options)
        case ["admin", "undeploy", index] if index.isdecimal():
            with machine.edit() as state:
                rules.undeploy(state, int(index))
            print(f"Deleted deployment {index}")
            return 0
    raise Refused(f"Unknown command '{' '.join(words)}'")


def _lock(machine: Machine, options: set[str]) -> int:
    locked = not options & {"--unlock", "-u"}
    state = machine.read()
    if state.staged and state.locked == locked:
        print(f"Staged deployment is already {'finalization locked' if locked else 'prepared for finalization'}")
        return 0
    with machine.edit() as state:
        rules.set_lock(state, locked=locked)
    print(f"Staged deployment is now {'finalization locked' if locked else 'queued to apply on shutdown'}")
    return 0


if __name__ == "__main__":
    run("ostree", ostree)
