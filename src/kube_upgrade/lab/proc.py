"""What /proc says of processes: who leads which group since when, and whose run a process belongs to.

A pid alone names nobody: it is used again. A pid with its start time (field 22 of /proc/PID/stat, in clock ticks since
boot, proc(5)) does, until the next boot. A run's processes also carry its folder in their environment, so
a descendant that left its group, or whose starter died before it could tell of it, is still known. What a node's daemon
starts gets a small environment: it is known by its words, which name files of the run.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "KUBE_UPGRADE_RUN"  # environment variable: the run's folder
PROC = Path("/proc")
POLL = 0.05  # seconds between two looks at /proc


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One process at one moment."""

    pid: int
    group: int
    started: int
    zombie: bool
    terminal: bool = False  # it belongs to somebody's terminal


def see(pid: int) -> Seen | None:
    """The process with this pid now, or None where there is none."""
    try:
        stat = (PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()  # the name before may hold spaces and brackets
    return Seen(
        pid=pid,
        group=int(fields[2]),
        started=int(fields[19]),
        zombie=fields[0] in (b"Z", b"X"),
        terminal=fields[4] != b"0",
    )


def alive(pid: int, started: int) -> bool:
    """True while the very process that got this pid at that time runs."""
    seen = see(pid)
    return seen is not None and seen.started == started and not seen.zombie


def place() -> str:
    """Where a pid means what it means here: this boot and this PID namespace."""
    boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"


def everyone() -> Iterator[Seen]:
    """All processes that can be seen."""
    for entry in os.listdir(PROC):
        if entry.isdigit() and (seen := see(int(entry))) is not None:
            yield seen


def marked(pid: int, mark: str) -> bool:
    """True where the process was started with this run's folder in its environment."""
    try:
        environment = (PROC / str(pid) / "environ").read_bytes()
    except OSError:  # gone, or another user's
        return False
    return f"{MARK}={mark}".encode() in environment.split(b"\0")


def given(pid: int, folder: str) -> bool:
    """True where a word of the process's command line is this folder, or a path below it."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any((word + b"/").startswith(f"{folder}/".encode()) for word in words)


def belonging(groups: Mapping[int, int], mark: str, *, words: bool = True) -> list[Seen]:
    """The living processes of a run, never the caller: members of its groups, whoever carries its mark, and whoever was
    given a path of its folder and has no terminal (who reads a log there is a person, and stays).

    Without `words` what a process was given does not count: after a run, anybody may work in the folder it kept.
    `groups` maps a group's leader to its start time. A group counts only while its leader, dead or not, still holds the
    pid since that time: nobody else can be in it. Where the leader is gone, members are known by the mark.
    """
    proven = {pid for pid, started in groups.items() if (led := see(pid)) is not None and led.started == started}
    others = (seen for seen in everyone() if not seen.zombie and seen.pid != os.getpid())
    return [
        seen for seen in others if seen.group in proven or marked(seen.pid, mark) or (words and _works_in(seen, mark))
    ]


def _works_in(seen: Seen, folder: str) -> bool:
    return not seen.terminal and given(seen.pid, folder)


def send(seen: Seen, number: signal.Signals) -> None:
    """Signal exactly the process that was seen: a pid used again in between is not hit."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(seen.pid)
        try:
            now = see(seen.pid)
            if now is not None and now.started == seen.started:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def end(
    groups: Mapping[int, int], mark: str, *, words: bool = True, grace: float = 2.0, patience: float = 2.0
) -> list[Seen]:
    """End who belongs to a run: TERM, after `grace` seconds KILL, for at most `patience` more. Returns who is left."""
    told: set[tuple[int, int]] = set()

    def ask_once(seen: Seen) -> None:
        if (seen.pid, seen.started) not in told:
            told.add((seen.pid, seen.started))
            send(seen, signal.SIGTERM)

    def force(seen: Seen) -> None:
        send(seen, signal.SIGKILL)

    def those() -> list[Seen]:
        return belonging(groups, mark, words=words)

    return _repeat(those, grace, ask_once) and _repeat(those, patience, force)


def end_those_given(folder: str, *, patience: float = 2.0) -> list[Seen]:
    """KILL whoever was given a path of this folder, but for the caller and people at terminals. Returns who is left."""

    def those() -> list[Seen]:
        others = (seen for seen in everyone() if not seen.zombie and seen.pid != os.getpid())
        return [seen for seen in others if _works_in(seen, folder)]

    return _repeat(those, patience, lambda seen: send(seen, signal.SIGKILL))


def _repeat(those: Callable[[], list[Seen]], seconds: float, ask: Callable[[Seen], None]) -> list[Seen]:
    """Ask all of them, again and again (newly forked ones too), until none is left or the time is over."""
    deadline = time.monotonic() + seconds
    while left := those():
        for seen in left:
            ask(seen)
        if time.monotonic() >= deadline:
            return left
        time.sleep(POLL)
    return []
