"""ostree over the machine's state: `admin lock-finalization [--unlock]`."""

from collections.abc import Sequence

from kube_upgrade.lab import machine_state as rules
from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Refused
from kube_upgrade.lab.standins.common import options_of, run


def ostree(machine: Machine, arguments: Sequence[str]) -> int:
    """The one command that the daemon needs."""
    options, words = options_of(arguments)
    if words != ["admin", "lock-finalization"]:
        raise Refused(f"Unknown command '{' '.join(words)}'")
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
