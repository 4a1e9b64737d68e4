"""Start a process of a run, wait until it is ready, stop it, show its log."""

import fcntl
import http.client
import os
import random
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from kube_upgrade.lab.runs import Run, own_directory, runs_directory

PORTS = range(20_000, 32_000)  # below Linux's ephemeral range: no outgoing connection takes a port while we restart
LOOK = 0.05  # seconds between two probes
TAIL = 15  # lines of a log that an error shows


class StartFailed(Exception):
    """A process ended or did not become ready; the message carries the end of its log."""


class PortTaken(StartFailed):
    """The process ended because someone else had taken its port: try again with another."""


def free_port() -> int:
    """A loopback port that nobody listens on right now, and that no other call of this user's programs was given.

    It stays ours until this process ends. A stranger may be faster: start through `on_free_ports`. Raises StartFailed,
    or RunError where the folder of the reservations is not ours.
    """
    for port in random.sample(PORTS, 200):
        if not _reserved(port):
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise StartFailed(f"no free port on 127.0.0.1 among 200 tried between {PORTS.start} and {PORTS.stop}")


def _reserved(port: int) -> bool:
    """Take the port's lock file for the life of this process; False where someone has it, perhaps ourselves."""
    folder = own_directory(runs_directory().with_name(f"{runs_directory().name}-ports"))
    file = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return False
    return True  # never closed: the lock is the reservation


def on_free_ports(start: Callable[[], None], *, attempts: int = 5) -> None:
    """Call `start`, which picks its ports itself, again while they turn out to be taken."""
    for _ in range(attempts - 1):
        with suppress(PortTaken):
            return start()
    return start()


class Service:
    """One process of a run, the leader of its own group; its output goes to a log file."""

    def __init__(self, run: Run, name: str, argv: Sequence[str | Path], log: Path) -> None:
        self.name = name
        self.argv = [str(part) for part in argv]
        self.log = log
        self._run = run
        self._process: subprocess.Popen[bytes] | None = None
        self._logged = 0  # where this start's lines begin in the log

    def start(self, extra: Mapping[str, str] | None = None) -> None:
        """Start it, with `extra` environment variables; the log is appended to."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            self._logged = out.tell()
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._run.environment(extra),
                start_new_session=True,
            )
        self._run.adopt(self._process.pid)

    @property
    def pid(self) -> int | None:
        """Its pid while it runs."""
        return self._process.pid if self._process is not None and self.alive else None

    @property
    def alive(self) -> bool:
        """True while it runs."""
        return self._process is not None and self._process.poll() is None

    def tail(self, lines: int = TAIL) -> str:
        """The last lines that it logged since its last start."""
        with self.log.open("rb") as log:
            log.seek(self._logged)
            return b"\n".join(log.read().splitlines()[-lines:]).decode(errors="replace")

    def wait(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Probe until ready. Raises PortTaken or StartFailed where it ends or is not ready in time."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive:
                raise self._ended()
            if time.monotonic() >= deadline:
                raise StartFailed(
                    f"{self.name} is not ready after {seconds:.0f} s; its log {self.log} ends:\n{self.tail()}"
                )
            time.sleep(LOOK)

    def stop(self, *, grace: float = 5.0, kill: bool = False) -> None:
        """End its group: TERM and, where it is still there after `grace` seconds, KILL; with `kill` at once."""
        process = self._process
        if process is None:
            return
        if not kill and process.poll() is None:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace)
        if process.poll() is None:
            self._signal(signal.SIGKILL)
        process.wait()
        if self._process is process:  # else its supervisor has started the next one meanwhile
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)  # not waited for yet: the pid is still its own

    def _ended(self) -> StartFailed:
        assert self._process is not None
        code, end = self._process.wait(), self.tail()
        self._process = None
        kind = PortTaken if "address already in use" in end.lower() else StartFailed
        return kind(f"{self.name} ended with code {code}; its log {self.log} ends:\n{end}")


def trust(ca: Path, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """TLS settings that trust this CA only and show this client certificate."""
    context = ssl.create_default_context(cafile=str(ca))
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def answers(port: int, path: str, tls: ssl.SSLContext | None = None) -> bool:
    """True where 127.0.0.1:port answers path with 200 within a second; by HTTPS where `tls` is given. Blocks."""
    plain, secure = http.client.HTTPConnection, http.client.HTTPSConnection
    connection = secure("127.0.0.1", port, timeout=1, context=tls) if tls else plain("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
