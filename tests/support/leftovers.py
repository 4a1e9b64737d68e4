"""What a run of the lab could leave on a machine: mounts, links, routes, cgroups, processes, sysctls."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kube_upgrade.lab.proc import everyone, given, marked

SYSCTLS = Path("/proc/sys")
# Change by themselves on any machine that works.
VOLATILE = ("fs/", "kernel/random/", "kernel/ns_last_pid", "kernel/pty/nr", "net/netfilter/nf_conntrack_count",
            "kernel/perf_", "vm/stat", "debug/", "kernel/sched_domain")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Machine:
    """One look at it."""

    mounts: frozenset[str]
    links: frozenset[str]
    routes: frozenset[str]
    cgroups: frozenset[str]
    sysctls: frozenset[str]

    @classmethod
    def look(cls) -> "Machine":
        """As it is now."""
        return cls(
            mounts=frozenset(line.split(" ", 4)[4] for line in _lines("/proc/self/mountinfo")),
            links=frozenset(line.split(": ")[1] for line in _said("ip", "-o", "link")),
            routes=frozenset(_said("ip", "route")),
            cgroups=frozenset(folder for folder, _, _ in os.walk("/sys/fs/cgroup")),
            sysctls=frozenset(_sysctls()),
        )

    def more_than(self, before: "Machine", name: str) -> dict[str, list[str]]:
        """What is there that was not before; of cgroups and mounts only what names this run: others work here too."""
        found = {
            "mounts": [line for line in self.mounts - before.mounts if name in line],
            "links": list(self.links - before.links),
            "routes": list(self.routes - before.routes),
            "cgroups": [line for line in self.cgroups - before.cgroups if name in line],
            "sysctls": list(self.sysctls ^ before.sysctls),
        }
        return {kind: sorted(left) for kind, left in found.items() if left}


def namespaces_of(lab: int, folder: Path) -> frozenset[str]:
    """Network namespaces in which a run lives: the lab's, and of whoever carries its mark or was given its folder."""
    name, own = str(folder), _namespace(os.getpid())
    mine = [lab, *(seen.pid for seen in everyone() if marked(seen.pid, name) or given(seen.pid, name))]
    return frozenset(found for pid in mine if (found := _namespace(pid)) not in ("", own))


def lived_in(namespaces: frozenset[str]) -> list[int]:
    """Processes in these network namespaces: a kernel keeps one, and all links in it, as long as there is one."""
    return [seen.pid for seen in everyone() if _namespace(seen.pid) in namespaces]


def of_run(folder: Path) -> list[int]:
    """Processes, wherever they live, that carry the run's mark or were given its folder or a path below it."""
    name = str(folder)
    return [seen.pid for seen in everyone() if not seen.zombie and (marked(seen.pid, name) or given(seen.pid, name))]


def _namespace(pid: int) -> str:
    return _link(f"/proc/{pid}/ns/net")


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _said(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def _sysctls() -> list[str]:
    found = []
    for folder, _, files in os.walk(SYSCTLS):
        for file in files:
            name = str((Path(folder) / file).relative_to(SYSCTLS))
            if not name.startswith(VOLATILE):
                try:
                    found.append(f"{name} = {(Path(folder) / file).read_text().strip()}")
                except (OSError, UnicodeDecodeError):
                    continue
    return found
