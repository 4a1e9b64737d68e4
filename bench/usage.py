"""CPU seconds and resident memory of processes, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_mib(pid: int, field: str = "VmRSS") -> float:
    """Resident memory now; VmHWM for the most there ever was."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


@dataclass(frozen=True, slots=True)
class Meter:
    """CPU seconds of several processes since this was made."""

    pids: dict[str, int]
    before: dict[str, float]

    @classmethod
    def start(cls, **pids: int | None) -> "Meter":
        """Begin to count; processes that do not run are left out."""
        known = {name: pid for name, pid in pids.items() if pid is not None}
        return cls(known, {name: cpu_seconds(pid) for name, pid in known.items()})

    def read(self) -> dict[str, float]:
        """Seconds used since the start."""
        return {name: round(cpu_seconds(pid) - self.before[name], 2) for name, pid in self.pids.items()}
