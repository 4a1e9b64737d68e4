"""PID 1 of a node: builds its root, keeps its services running, and ends as a machine does.

`python -m kube_upgrade.lab.real.init SPEC`, started in namespaces of its own. It exits with 129 where a reboot was
asked for: whoever holds the node's power starts it again. `systemctl` talks to it at /run/init.sock, a line each way;
rpm-ostree asks for a reboot at the machine's power.sock.
"""

import os
import selectors
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from kube_upgrade.lab.real import rootfs
from kube_upgrade.lab.real.machine import RealMachine
from kube_upgrade.lab.real.spec import NodeSpec, Service

SOCKET = "/run/init.sock"
REBOOT = 129  # exit code
AGAIN = 1.0  # seconds until a service that ended is started again
SHUTDOWN = 12.0  # seconds that everything has to end by itself
NETWORK = 20.0  # seconds until the lab has put the network card in
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


@dataclass(slots=True)
class Unit:
    """A service now. `due` is when it may be started again, on the monotonic clock."""

    service: Service
    wanted: bool
    pid: int = 0
    due: float = 0.0


class Init:
    """The loop of PID 1."""

    def __init__(self, spec: NodeSpec) -> None:
        self._units = {
            service.name: Unit(service, wanted=not service.needs or Path(service.needs).exists())
            for service in spec.services
        }
        self._power = RealMachine(Path(spec.machine_folder)).open_power()
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._control.bind(SOCKET)
        self._control.listen(16)
        self._told = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._power, selectors.EVENT_READ, self._knocked)
        self._selector.register(self._control, selectors.EVENT_READ, self._asked)
        self._selector.register(self._wakeup(), selectors.EVENT_READ, lambda: None)

    def run(self) -> int:
        """Until a reboot is asked for; its exit code."""
        while not self._told:
            self._reap()
            wait = start_due(self._units.values(), time.monotonic(), _spawn)
            for key, _ in self._selector.select(wait):
                key.data()
        self._shut_down()
        return REBOOT

    def _wakeup(self) -> socket.socket:
        """Readable after each signal: a child ended, or SIGHUP, which asks for the orderly end."""
        reading, writing = socket.socketpair()
        reading.setblocking(False)
        writing.setblocking(False)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGHUP, self._hang_up)
        self._drain, self._keep = reading, writing
        return reading

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        self._told = True

    def _knocked(self) -> None:
        self._told = self._power.recv(64) == b"reboot" or self._told

    def _asked(self) -> None:
        connection, _ = self._control.accept()
        with connection:
            connection.settimeout(2.0)
            with suppress(OSError):
                words = connection.recv(4096).decode().split()
                connection.sendall(self._answer(words).encode())

    def _answer(self, words: list[str]) -> str:
        match words:
            case ["reboot"]:
                self._told = True
                return "ok"
            case [verb, name] if name in self._units:
                return self._order(verb, self._units[name])
            case _:
                return "unknown"

    def _order(self, verb: str, unit: Unit) -> str:
        match verb:
            case "start" | "restart" | "stop":
                unit.wanted, unit.due = verb != "stop", 0.0
                if verb != "start" and unit.pid:
                    os.kill(unit.pid, signal.SIGTERM)
            case "pid":
                return str(unit.pid)
        return "active" if unit.pid else "inactive"

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            while self._drain.recv(4096):
                pass
        for pid, status in _ended():
            for unit in self._units.values():
                if unit.pid == pid:
                    _note(unit.service, f"ended with {os.waitstatus_to_exitcode(status)}")
                    unit.pid, unit.due = 0, time.monotonic() + AGAIN

    def _shut_down(self) -> None:
        """SIGTERM for all of them; who is still there after SHUTDOWN ends with the namespace."""
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGTERM)
        deadline = time.monotonic() + SHUTDOWN
        while time.monotonic() < deadline and _others():
            list(_ended())
            time.sleep(0.05)


def start_due(units: Collection[Unit], now: float, spawn: Callable[[Service], int]) -> float | None:
    """Start what is wanted and due; seconds until the next one is. What `spawn` could not start (0) is due later."""
    for unit in units:
        if unit.wanted and not unit.pid and unit.due <= now:
            unit.pid, unit.due = spawn(unit.service), now + AGAIN
    waits = [unit.due - now for unit in units if unit.wanted and not unit.pid]
    return max(0.0, min(waits)) if waits else None


def _spawn(service: Service) -> int:
    argv = [*service.argv, *more_arguments(service.arguments_file)]
    log = os.open(f"/var/log/{service.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open("/dev/null", os.O_RDONLY)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, nothing, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
        return os.posix_spawn(argv[0], argv, ENVIRONMENT, file_actions=actions, setsid=True)
    except OSError as error:
        os.write(log, f"{argv[0]}: {error.strerror}\n".encode())
        return 0
    finally:
        os.close(log)
        os.close(nothing)


def more_arguments(path: str) -> list[str]:
    """The value of the one variable in kubeadm-flags.env."""
    if not path or not Path(path).exists():
        return []
    _, _, value = Path(path).read_text().partition("=")
    return [argument for word in shlex.split(value) for argument in shlex.split(word)]


def _note(service: Service, what: str) -> None:
    with Path(f"/var/log/{service.name}.log").open("a") as log:
        log.write(f"{time.strftime('%FT%TZ', time.gmtime())} init: {service.name} {what}\n")


def _ended() -> Iterator[tuple[int, int]]:
    """Children that have ended, ours and those left to PID 1."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            yield pid, status


def _others() -> bool:
    return any(entry.isdigit() and entry != "1" for entry in os.listdir("/proc"))


def _wait_for_network() -> None:
    deadline = time.monotonic() + NETWORK
    while not Path("/sys/class/net/eth0").exists():
        if time.monotonic() > deadline:
            sys.exit("no network card was put into this node")
        time.sleep(0.02)


def main() -> int:
    """Build the root, wait for the network, run until a reboot is asked for.

    Elsewhere than in a node it would hide this machine's own files and, in the end, signal everything on it.
    """
    if os.getpid() != 1:
        sys.exit(f"this is for PID 1 of a node's namespaces, and here it is PID {os.getpid()}")
    spec = NodeSpec.load(Path(sys.argv[1]))
    socket.sethostname(spec.name)
    rootfs.enter(spec)
    _wait_for_network()
    rootfs.connect(spec)
    print(f"{spec.name} is up, boot {spec.boot_id}", flush=True)
    return Init(spec).run()


if __name__ == "__main__":
    sys.exit(main())
