"""systemctl: a reboot is asked of whoever holds the node's power; transient units are those of systemd-run."""

import os
import signal
import time
from collections.abc import Sequence

from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Refused
from kube_upgrade.lab.standins.common import options_of, run


def systemctl(machine: Machine, arguments: Sequence[str]) -> int:
    """`reboot`, `is-active UNIT…`, `is-system-running`, `show --property=NAME --value UNIT`, `stop UNIT`."""
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
        case ["show", unit] if "--property=ActiveEnterTimestampMonotonic" in options:
            print(_active_since(machine, unit))
        case ["stop", unit]:
            _stop(machine, unit)
        case _:
            raise Refused(f"Unknown command verb '{' '.join(words)}'.")
    return 0


def _active_since(machine: Machine, unit: str) -> int:
    """Microseconds of CLOCK_MONOTONIC; 0 where it does not run. A process's start is known by CLOCK_BOOTTIME."""
    if not machine.unit_running(unit):
        return 0
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(machine.read().units[unit][1]) / os.sysconf("SC_CLK_TCK")
    return int((time.monotonic() - age) * 1e6)


def _stop(machine: Machine, unit: str) -> None:
    if not machine.unit_running(unit):
        raise Refused(f"Failed to stop {unit}: Unit {unit} not loaded.")
    os.killpg(machine.read().units[unit][0], signal.SIGKILL)


if __name__ == "__main__":
    run("systemctl", systemctl)
