"""systemd-run: a transient service, outside whoever asked for it. Returns once its program was started."""

import os
import signal
from collections.abc import Sequence
from typing import NoReturn

from kube_upgrade.lab.machine import Machine, start_of
from kube_upgrade.lab.machine_state import Refused
from kube_upgrade.lab.standins.common import run

_UNIT, _SETENV = "--unit=", "--setenv="


def systemd_run(machine: Machine, arguments: Sequence[str]) -> int:
    """`--unit=NAME [--setenv=K=V …] [--collect …] PROGRAM ARGUMENT…`; a running unit of the name is refused."""
    count = next((index for index, word in enumerate(arguments) if not word.startswith("--")), len(arguments))
    options, argv = arguments[:count], arguments[count:]
    unit = next((option.removeprefix(_UNIT) for option in options if option.startswith(_UNIT)), "")
    if not unit or not argv:
        raise Refused("Command line to execute required.")
    if machine.unit_running(unit):
        raise Refused(f"Unit {unit} was already loaded or has a fragment file.")
    said = (option.removeprefix(_SETENV).partition("=") for option in options if option.startswith(_SETENV))
    pid = _start(argv, {name: value for name, _, value in said})
    with machine.edit() as state:
        state.units[unit] = (pid, start_of(pid))
    os.kill(pid, signal.SIGCONT)
    return 0


def _start(argv: Sequence[str], env: dict[str, str]) -> int:
    """The pid of a process that waits for SIGCONT, in a session of its own, with none of our files."""
    pid = os.fork()
    if not pid:
        _become(argv, env)
    os.waitpid(pid, os.WUNTRACED)
    return pid


def _become(argv: Sequence[str], env: dict[str, str]) -> NoReturn:
    os.setsid()
    nothing = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.kill(os.getpid(), signal.SIGSTOP)
    os.execve(argv[0], list(argv), env)


if __name__ == "__main__":
    run("systemd-run", systemd_run)
