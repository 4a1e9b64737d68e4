"""systemctl: a reboot is asked of whoever holds the node's power; every unit that is asked about is active."""

from collections.abc import Sequence

from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Refused
from kube_upgrade.lab.standins.common import options_of, run


def systemctl(machine: Machine, arguments: Sequence[str]) -> int:
    """`reboot`, `is-active UNIT…`, `is-system-running`."""
    _, words = options_of(arguments)
    match words:
        case ["reboot"]:
            machine.request_reboot()
        case ["is-active", *units] if units:
            print("\n".join("active" for _ in units))
        case ["is-system-running"]:
            print("running")
        case _:
            raise Refused(f"Unknown command verb '{' '.join(words)}'.")
    return 0


if __name__ == "__main__":
    run("systemctl", systemctl)
