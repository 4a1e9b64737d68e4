"""One real node seen from outside: its power, its disk, and commands run in it."""

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import kube_upgrade
from kube_upgrade.lab.real import cgroups, init, network
from kube_upgrade.lab.real.capabilities import CGROUPS
from kube_upgrade.lab.real.machine import FOLDER, RealMachine
from kube_upgrade.lab.real.spec import NodeSpec, Service
from kube_upgrade.lab.runs import Run

NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup")
UNSHARE = ("unshare", *NAMESPACES, "--fork", "--kill-child", "--propagation", "private")
# $1…: cgroup.procs files; after `--` the program
JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'
BORN = 10.0  # seconds until the kernel has made a node's namespaces
ENDING = 20.0  # seconds an orderly end may take; init.SHUTDOWN and a little


class NodeFailed(Exception):
    """A node did not start, or a command in it failed; the message has the end of what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all nodes of a run share."""

    run: Run
    trees: Path  # VERSION/usr and base/usr
    tools: Path | None
    store: Path
    tags: Path
    hosts: dict[str, str]
    services: tuple[Service, ...]

    def shown(self) -> tuple[str, ...]:
        """Folders of this machine that a node needs at the same place: Python, our programs, the images."""
        package = Path(kube_upgrade.__file__).parent.parent
        wanted = (Path(sys.base_prefix), Path(sys.prefix), package, self.store, self.tags.parent)
        below_usr = Path("/usr")
        outside = {path.resolve() for path in wanted if not path.resolve().is_relative_to(below_usr)}
        nested = {path for path in outside if any(other != path and path.is_relative_to(other) for other in outside)}
        return tuple(sorted(map(str, outside - nested)))


@dataclass(slots=True)
class RealNode:
    """A node. `number` gives its address. Its power is held by a thread: who reboots comes up again."""

    name: str
    number: int
    site: Site
    reboots: list[float] = field(default_factory=list)  # when it was up again, on the monotonic clock
    _unshare: subprocess.Popen[bytes] | None = None
    _pid: int = 0
    _holder: threading.Thread | None = None
    _off: bool = True  # nobody wants it to run
    _plug: threading.Lock = field(default_factory=threading.Lock)

    @property
    def folder(self) -> Path:
        """Its disk and what belongs to it."""
        return self.site.run.folder / "nodes" / self.name

    @property
    def root(self) -> Path:
        """Its root file system, as far as it is on the disk; /var is beside it."""
        return self.folder / "root"

    @property
    def var(self) -> Path:
        """Its /var."""
        return self.folder / "var"

    @property
    def address(self) -> str:
        """Its IP address."""
        return network.address(self.number)

    @property
    def machine(self) -> RealMachine:
        """Its deployments."""
        return RealMachine(self.var / FOLDER.removeprefix("/var/"), self.root)

    @property
    def cgroup(self) -> str:
        """Name of its cgroups: the run's and its own."""
        return f"{self.site.run.folder.name}-{self.name}"

    @property
    def pid(self) -> int:
        """Its PID 1, as this machine counts."""
        return self._pid

    def create(self, *, image: str, version: str, digest: str) -> None:
        """Lay its disk out, with one deployment."""
        (self.root / "etc").mkdir(parents=True)
        (self.root / "etc/machine-id").write_text(f"{uuid4().hex}\n")
        self.var.mkdir()
        folder = self.var / FOLDER.removeprefix("/var/")
        RealMachine.first_boot(folder, self.root, self.name, image=image, version=version, digest=digest)

    def power_on(self) -> None:
        """Start it, and hold its power: it starts again when it reboots, until power_off."""
        with self._plug:
            self._off = False
            self._start()
        self._holder = threading.Thread(target=self._hold, name=f"power of {self.name}", daemon=True)
        self._holder.start()

    def wait_up(self, seconds: float = 30.0) -> None:
        """Return when containerd listens. Raises NodeFailed."""
        self._until_there("run/containerd/containerd.sock", seconds)

    def power_cut(self) -> None:
        """kill -9 of PID 1; it starts again at once."""
        os.kill(self._pid, 9)

    def power_off(self) -> None:
        """It ends the hard way and stays off."""
        with self._plug:
            self._off = True
        with suppress(ProcessLookupError):
            if self._pid:
                os.kill(self._pid, 9)
        if self._holder is not None:
            self._holder.join(ENDING)
        cgroups.remove(self.cgroup)

    def reboot_in_order(self) -> None:
        """As `systemctl reboot` does it; returns when it is up again. Raises NodeFailed."""
        before, deadline = len(self.reboots), time.monotonic() + ENDING
        self.exec("systemctl", "reboot")  # may end with the node that it ends
        while len(self.reboots) == before:
            if time.monotonic() > deadline:
                raise NodeFailed(f"{self.name} is not up again after {ENDING:.0f} s")
            time.sleep(0.05)
        self.wait_up()

    def exec(self, *argv: str, timeout: float = 120.0, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in the node; any exit code is an answer. Raises NodeFailed where it takes too long."""
        self._until_there(init.SOCKET.lstrip("/"), BORN)
        enter = ("nsenter", f"--target={self._pid}", *NAMESPACES, "--")
        environment = init.ENVIRONMENT | {"KUBECONFIG": "/etc/kubernetes/admin.conf"}
        join = ("sh", "-c", JOIN, "sh", *self._procs(), "--")
        try:
            return subprocess.run(
                [*join, *enter, *argv],
                env=environment,
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NodeFailed(f"{self.name}: `{' '.join(argv)}` did not end within {timeout:.0f} s") from None

    def must(self, *argv: str, timeout: float = 120.0, input: str | None = None) -> str:
        """Run a command in the node; its stdout. Raises NodeFailed."""
        done = self.exec(*argv, timeout=timeout, input=input)
        if done.returncode != 0:
            said = "\n".join([*done.stdout.splitlines()[-15:], *done.stderr.splitlines()[-15:]])
            raise NodeFailed(f"{self.name}: `{' '.join(argv)}` ended with {done.returncode}:\n{said}")
        return done.stdout

    def log(self, service: str, lines: int = 20) -> str:
        """The end of a service's log; of a pod's container by that name where there is no such service."""
        logs = [self.var / "log" / f"{service}.log", *sorted(self.var.glob(f"log/pods/*/{service}/*.log"))]
        there = [path.read_text(errors="replace") for path in logs if path.exists()]
        return "\n".join("".join(there).splitlines()[-lines:])

    def _until_there(self, path: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not Path(f"/proc/{self._pid}/root", path).exists():
            if time.monotonic() > deadline:
                raise NodeFailed(f"{self.name}: no /{path} after {seconds:.0f} s; {self._said()}")
            time.sleep(0.02)

    def _said(self) -> str:
        return " | ".join((self.folder / "console.log").read_text().strip().splitlines()[-5:])

    def _hold(self) -> None:
        while True:
            assert self._unshare is not None
            code = self._unshare.wait()
            with self._plug:
                if self._off:
                    return
                self.machine.restart(orderly=code == init.REBOOT)
                self._start()
            self.reboots.append(time.monotonic())

    def _start(self) -> None:
        state = self.machine.read()
        spec = self.folder / "spec.json"
        self._spec(state.booted_tree.kubernetes, state.boot_id).save(spec)
        cgroups.remove(self.cgroup)  # a machine that starts has none of its last boot's
        made = cgroups.make(self.cgroup)
        self.site.run.adopt_cgroup(self.cgroup)
        program = (sys.executable, "-m", "kube_upgrade.lab.real.init", str(spec))
        argv = ["sh", "-c", JOIN, "sh", *(f"{folder}/cgroup.procs" for folder in made), "--", *UNSHARE, *program]
        with (self.folder / "console.log").open("ab") as console:
            self._unshare = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=self.site.run.environment(),
                start_new_session=True,
            )
        self.site.run.adopt(self._unshare.pid)
        self._pid = self._born()
        network.plug_in(self.number, self._pid)

    def _born(self) -> int:
        """The pid of PID 1 once it is in its network namespace."""
        assert self._unshare is not None
        outer, deadline = self._unshare.pid, time.monotonic() + BORN
        while time.monotonic() < deadline and self._unshare.poll() is None:
            with suppress(OSError, ValueError):
                children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
                if children and _namespace(int(children[0])) != _namespace(os.getpid()):
                    return int(children[0])
            time.sleep(0.01)
        raise NodeFailed(f"{self.name} did not start: {self._said()}")

    def _procs(self) -> list[str]:
        return [f"{cgroups.BASE}/{name}/{self.cgroup}/cgroup.procs" for name in (*CGROUPS, "systemd")]

    def _spec(self, version: str, boot_id: str) -> NodeSpec:
        site = self.site
        tools = (str(site.tools),) if site.tools else ()
        return NodeSpec(
            name=self.name,
            folder=str(self.folder),
            lower=(f"{site.trees}/{version}/usr", f"{site.trees}/base/usr", *tools, "/usr"),
            address=self.address,
            prefix=network.PREFIX,
            gateway=network.GATEWAY,
            hosts=site.hosts,
            boot_id=boot_id,
            machine_folder=FOLDER,
            trees=str(site.trees),
            shown=site.shown(),
            services=site.services,
        )


def _namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")
