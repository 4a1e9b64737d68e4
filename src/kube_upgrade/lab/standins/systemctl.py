"""systemctl: a reboot is asked of whoever holds the node's power; transient units are those of systemd-run."""

import os
import signal
from collections.abc import Sequence

from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Refused
from kube_upgrade.lab.standins.common import options_of, run


def systemctl(machine: Machine, arguments: Sequence[str]) -> int:
    """`reboot`, `is-active UNIT…`, `is-system-running`, `show --property=ActiveState --value UNIT`, `stop UNIT`."""
    options, words = options_of(arguments)
    match words:
        case ["reboot"]:
            machine.request_reboot()
        case ["is-active", *units] if units:
            print("\n".join("active" for _ in units))
        case ["is-system-running"]:
            print("running")
        case ["show", unit] if "--property=ActiveState" in options:
            print("active" if machine.unit_running(unit) else "inactive")
        case ["stop", unit]:
            _stop(machine, unit)
        case _:
            raise Refused(f"Unknown command verb '{' '.join(words)}'.")
    return 0


def _stop(machine: Machine, unit: str) -> None:
    if not machine.unit_running(unit):
        raise Refused(f"Failed to stop {unit}: Unit {unit} not loaded.")
    os.killpg(machine.read().units[unit][0], signal.SIGKILL)


if __name__ == "__main__":
    run("systemctl", systemctl)
