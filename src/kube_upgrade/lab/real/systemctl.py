"""systemctl on a real node, which has no systemd: what kubeadm and people ask for, passed on to the node's PID 1."""

import socket
import sys
import time
from collections.abc import Sequence

from kube_upgrade.lab.real.init import SOCKET

QUIET = ("daemon-reload", "enable", "is-enabled", "show", "list-units")
PATIENCE = 10.0  # seconds for a start or a stop
NOT_ACTIVE = 3


def ask(*words: str) -> str:
    """The answer of PID 1."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(SOCKET)
        connection.sendall(" ".join(words).encode())
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(4096).decode()


def systemctl(arguments: Sequence[str]) -> int:
    """Exit code; as systemctl's own."""
    words = [word for word in arguments if not word.startswith("-")]
    match words:
        case [verb, *_] if verb in QUIET:
            return 0
        case ["reboot"]:
            ask("reboot")
            return 0
        case ["start" | "stop" | "restart" as verb, unit]:
            return _ordered(verb, unit.removesuffix(".service"))
        case ["is-active" | "status" as verb, unit]:
            said = ask("state", unit.removesuffix(".service"))
            print("inactive" if said == "unknown" else said if verb == "is-active" else _status(said))
            return 0 if said == "active" else NOT_ACTIVE
        case _:
            print(f"Unknown command verb '{' '.join(words)}'.", file=sys.stderr)
            return 1


def _status(said: str) -> str:
    """Lines that kubeadm looks for."""
    return f"Loaded: loaded\nActive: {'active (running)' if said == 'active' else 'inactive (dead)'}"


def _ordered(verb: str, unit: str) -> int:
    before = ask("pid", unit)
    if ask(verb, unit) == "unknown":
        print(f"Failed to {verb} {unit}.service: Unit {unit}.service not found.", file=sys.stderr)
        return 5
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        now = ask("pid", unit)
        if (verb == "stop" and now == "0") or (verb == "start" and now != "0"):
            return 0
        if verb == "restart" and now not in ("0", before):
            return 0
        time.sleep(0.05)
    return 1


if __name__ == "__main__":
    sys.exit(systemctl(sys.argv[1:]))
