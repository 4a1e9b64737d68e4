"""A process of a run is waited for with a reason, and a taken port is tried again elsewhere."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kube_upgrade.lab.processes import PORTS, PortTaken, Service, StartFailed, free_port, on_free_ports
from kube_upgrade.lab.runs import Run


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run.open("services", base=tmp_path / "runs") as opened:
        yield opened


def shell(run: Run, script: str) -> Service:
    return Service(run, "it", ["/bin/sh", "-c", script], run.folder / "it.log")


def test_one_that_ends_says_its_code_and_last_words(run: Run) -> None:
    service = shell(run, "echo no such flag; exit 3")
    service.start()
    with pytest.raises(StartFailed, match=r"(?s)it ended with code 3.*no such flag"):
        service.wait(lambda: False, seconds=20)


def test_one_that_never_gets_ready_says_its_last_words(run: Run) -> None:
    service = shell(run, "echo thinking; exec sleep 600")
    service.start()
    with pytest.raises(StartFailed, match="not ready after 0 s"):
        service.wait(lambda: False, seconds=0.2)
    service.stop()
    assert not service.alive


def test_one_that_ignores_term_is_killed(run: Run) -> None:
    service = shell(run, "trap '' TERM; echo on; while :; do sleep 1; done")
    service.start()
    service.wait(lambda: service.tail() == "on", seconds=20)
    service.stop(grace=0.1)
    assert service.pid is None


def test_a_restart_shows_only_its_own_words(run: Run) -> None:
    marker = run.folder / "second"
    service = shell(run, f"if [ -e {marker} ]; then echo two; else echo one; fi; exec sleep 600")
    service.start()
    service.wait(lambda: service.tail() == "one", seconds=20)
    service.stop()
    marker.touch()
    service.start()
    service.wait(lambda: service.tail() == "two", seconds=20)
    service.stop()


def test_a_taken_port_is_told_from_other_failures(run: Run) -> None:
    service = shell(run, "echo 'listen tcp 127.0.0.1:1: bind: address already in use'; exit 1")
    service.start()
    with pytest.raises(PortTaken):
        service.wait(lambda: False, seconds=20)


def test_a_start_is_tried_again_while_its_port_is_taken() -> None:
    left = [PortTaken("first"), PortTaken("second")]

    def start() -> None:
        if left:
            raise left.pop()

    on_free_ports(start)
    assert left == []


def test_ports_that_are_always_taken_are_an_error() -> None:
    def start() -> None:
        raise PortTaken("again")

    with pytest.raises(PortTaken, match="again"):
        on_free_ports(start)


def test_ports_are_below_those_of_outgoing_connections() -> None:
    assert free_port() in PORTS
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert PORTS.stop <= lowest


def test_a_ports_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"kube-upgrade-{os.getuid()}-ports").symlink_to(tmp_path / "elsewhere")
    ask = "from kube_upgrade.lab.processes import free_port; free_port()"
    done = subprocess.run(
        [sys.executable, "-c", ask],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "-ports is no directory" in done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_port_is_given_to_one_caller_only_also_among_processes() -> None:
    """Somebody who was told a port may bind it later: until then nobody else is told the same."""
    ask = "from kube_upgrade.lab.processes import free_port; print(*(free_port() for _ in range(100)), flush=True)"
    pipe = subprocess.PIPE
    others = [subprocess.Popen([sys.executable, "-c", ask + "; input()"], stdin=pipe, stdout=pipe) for _ in range(3)]
    given = [free_port() for _ in range(100)]
    for other in others:
        assert other.stdout is not None
        given += [int(port) for port in other.stdout.readline().split()]
    for other in others:
        other.communicate(b"\n")

    assert len(given) == 400
    assert len(set(given)) == 400
