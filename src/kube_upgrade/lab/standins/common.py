"""What all stand-ins share: whose machine they run on, and the faults that were set for them."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Refused

Command = Callable[[Machine, Sequence[str]], int]


def run(program: str, command: Command, kind: Callable[[Path], Machine] = Machine) -> None:
    """Read --machine FOLDER, let a fault have its way, run the command, exit with its code. Refused means 1.

    `kind` makes the machine of its folder.
    """
    flag, folder, *arguments = sys.argv[1:]
    if flag != "--machine":
        raise SystemExit(f"{program}: the first argument is --machine FOLDER")
    machine = kind(Path(folder))
    try:
        code = stumble(machine, program, arguments)
        sys.exit(command(machine, arguments) if code is None else code)
    except Refused as refused:
        print(f"error: {refused}", file=sys.stderr)
        sys.exit(1)


def stumble(machine: Machine, program: str, arguments: Sequence[str]) -> int | None:
    """The exit code of a fault under "PROGRAM VERB"; None where the command is to run."""
    verb = next((word for word in arguments if not word.startswith("-")), "")
    fault = machine.take_fault(f"{program} {verb}")
    if fault is None:
        return None
    time.sleep(fault.hang)
    if fault.fail:
        print(f"error: {fault.fail}", file=sys.stderr)
        return fault.code
    return 0 if fault.mode == "no-effect" else None


def options_of(arguments: Sequence[str]) -> tuple[set[str], list[str]]:
    """Options, and the words that are none."""
    return {word for word in arguments if word.startswith("-")}, [w for w in arguments if not w.startswith("-")]
