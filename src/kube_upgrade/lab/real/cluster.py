"""A cluster of real nodes: made by kubeadm, with our programs in it by deploy/base as it is, and a workload."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from kube_upgrade.lab import data
from kube_upgrade.lab.images import all_images
from kube_upgrade.lab.processes import Service
from kube_upgrade.lab.programs import NAMESPACE
from kube_upgrade.lab.real import kubeadm, network, services
from kube_upgrade.lab.real.content import STREAM, Content
from kube_upgrade.lab.real.node import NodeFailed, RealNode, Site
from kube_upgrade.lab.real.probe import OK, Target, ask
from kube_upgrade.lab.runs import Run, remove
from kube_upgrade.model.version import KubeVersion

FIRST = {"control-plane": 11, "worker": 21}  # last part of the first one's address
LOCK_PORT = 30480  # deploy/base's NodePort
NODES_NAMESPACE = "kube-upgraded"  # deploy/node's
IMAGE = f"ostree-unverified-registry:{services.REGISTRY}/{STREAM}"
NODE_READY = 90.0  # seconds
HURRY = """#!/bin/sh
[ "$1 $2" = "upgrade apply" ] || exec "$0.real" "$@"
"""
HURRIED = """exec "$0.real" upgrade apply --config /run/upgrade.yaml
"""
LOCK_REACHED = 60.0  # seconds
AGAIN = 1.0  # seconds between two tries of what an API server that has just come back refuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the cluster shall be."""

    version: str
    control_planes: int = 1
    workers: int = 1
    taint: bool = False
    daemon_set: bool = False  # `upgraded` is no service of the hosts, but deploy/node as it is


@dataclass(slots=True)
class RealCluster:
    """Nodes and how to talk to them. The caller is in the nodes' network (network.enter)."""

    wanted: Wanted
    run: Run
    content: Content
    say: Callable[[str], None]
    nodes: list[RealNode] = field(default_factory=list)
    kubectl_program: Path = field(init=False)
    tags: Path = field(init=False)
    digests: dict[str, str] = field(default_factory=dict)
    balancer: Service | None = None

    def __post_init__(self) -> None:
        self.kubectl_program = self.content.binaries.kubernetes[self.wanted.version]["kubectl"]
        folder = self.run.folder / "registry"
        folder.mkdir()
        self.tags = folder / "tags.json"

    @property
    def control_planes(self) -> list[RealNode]:
        """The first one is kubeadm's first."""
        return self.nodes[: self.wanted.control_planes]

    @property
    def first(self) -> RealNode:
        """The control plane that began it."""
        return self.nodes[0]

    @property
    def endpoint(self) -> str:
        """HOST of the API for nodes and clients."""
        return self.first.address if self.wanted.control_planes == 1 else network.GATEWAY

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, on the first node's disk."""
        return self.first.root / "etc/kubernetes/admin.conf"

    @property
    def lock_url(self) -> str:
        """Where every host finds the lock server."""
        return f"http://{self.endpoint}:{LOCK_PORT}"

    def node(self, name: str) -> RealNode:
        """By name."""
        return next(node for node in self.nodes if node.name == name)

    def create(self) -> None:
        """Trees, images and disks; nothing runs yet."""
        wanted = self.wanted
        self.publish()
        names = [
            (f"{role}-{count}", FIRST[role] + count - 1)
            for role, number in (("control-plane", wanted.control_planes), ("worker", wanted.workers))
            for count in range(1, number + 1)
        ]
        site = Site(
            run=self.run,
            trees=self.content.trees(self.run.folder / "trees"),
            tools=self.content.tools.tree,
            store=self.content.store.folder,
            tags=self.tags,
            hosts={name: network.address(number) for name, number in names},
            services=services.all_services(self.content.store.folder, self.tags, daemon=not wanted.daemon_set),
        )
        pause = next(image for image in all_images(KubeVersion.parse(wanted.version)) if "/pause:" in image)
        for name, number in names:
            node = RealNode(name, number, site)
            node.create(image=f"{IMAGE}:{wanted.version}", version=wanted.version, digest=self.digests[wanted.version])
            daemon = services.daemon_config(kubeadm.IGNORED)
            services.write_configs(node.root, pods=network.pods(number), sandbox=pause, daemon=daemon)
            if packed := services.packed_daemon():
                services.unpack_daemon(packed, node.root)
            self.nodes.append(node)

    def publish(self, broken: Sequence[str] = ()) -> None:
        """Let the registry have every image; those in `broken` never serve."""
        self.digests = self.content.publish(self.tags, broken=broken)

    def image(self, version: str) -> str:
        """The OS image of a version, as rpm-ostree names it."""
        return f"{IMAGE}:{version}"

    def hurry_kubeadm(self, version: str, patience: str) -> None:
        """The kubeadm of this version gives up on a static pod after `patience` (1m0s) instead of 5 minutes.

        Only a configuration file can say so, so in the tree stands a script that gives it.
        """
        folder = self.run.folder / "trees" / version / "usr" / "bin"
        (folder / "kubeadm").rename(folder / "kubeadm.real")
        config = kubeadm.upgrade_config(version, patience)
        fresh = folder / "kubeadm.new"
        fresh.write_text(f"{HURRY}cat >/run/upgrade.yaml <<EOF\n{config}EOF\n{HURRIED}")
        fresh.chmod(0o755)
        fresh.rename(folder / "kubeadm")

    def let_kubeadm_take_its_time(self) -> None:
        """The kubeadm of every tree is the real one again."""
        for changed in (self.run.folder / "trees").glob("*/usr/bin/kubeadm.real"):
            changed.rename(changed.with_name("kubeadm"))

    def start(self) -> None:
        """Power on, `kubeadm init`, `kubeadm join`, and wait until all nodes are Ready. Raises NodeFailed."""
        if len(self.control_planes) > 1:
            self._balance()
        for node in self.nodes:
            node.power_on()
        for node in self.nodes:
            node.wait_up()
        first, *others = self.nodes
        self._kubeadm(
            first,
            "init",
            kubeadm.init_config(
                first.name,
                first.address,
                self.wanted.version,
                f"{self.endpoint}:{kubeadm.API_PORT}",
                taint=self.wanted.taint,
            ),
            *(["--upload-certs"] if self.wanted.control_planes > 1 else []),
        )
        for node in [node for node in others if node in self.control_planes]:
            self._join(node)
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._join, [node for node in others if node not in self.control_planes]))
        self.kubectl(
            "wait", "--for=condition=Ready", "nodes", "--all", f"--timeout={NODE_READY:.0f}s", timeout=NODE_READY + 10
        )

    def deploy(self) -> None:
        """Our programs, by deploy/base (and deploy/node) as they are."""
        for folder in ("base", "node") if self.wanted.daemon_set else ("base",):
            self.kubectl("apply", "--kustomize", str(data.folder("deploy") / folder))

    def deployed(self) -> None:
        """Return when our pods are up, and hosts reach the lock server."""
        pods = [(NAMESPACE, "deployment/upgrade-controller"), (NAMESPACE, "daemonset/fleetlock")]
        pods += [(NODES_NAMESPACE, "daemonset/upgraded")] if self.wanted.daemon_set else []
        for namespace, what in pods:
            self.kubectl(f"--namespace={namespace}", "rollout", "status", what, "--timeout=120s", timeout=130)
        deadline = time.monotonic() + LOCK_REACHED
        while (said := ask(Target("lock server", self.endpoint, LOCK_PORT, "/readyz"))) != OK:
            if time.monotonic() > deadline:
                raise NodeFailed(f"{self.lock_url}/readyz: {said} after {LOCK_REACHED:.0f} s")
            time.sleep(AGAIN)

    def kubectl(self, *arguments: str, timeout: float = 60.0, input: str | None = None) -> str:
        """As the administrator; repeated while the API server is away. Raises NodeFailed."""
        argv = [str(self.kubectl_program), f"--kubeconfig={self.kubeconfig}", *arguments]
        deadline = time.monotonic() + timeout
        while True:
            done = _call(argv, timeout, input)
            if done.returncode == 0:
                return done.stdout
            if not _weather(done.stderr) or time.monotonic() > deadline:
                raise NodeFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
            time.sleep(AGAIN)

    def stop(self) -> None:
        """All of it, the hard way. The disks (gigabytes) are removed here, and not by a reaper that is waited for."""
        if self.balancer is not None:
            self.balancer.stop(kill=True)
        with ThreadPoolExecutor() as pool:
            list(pool.map(RealNode.power_off, self.nodes))
            if not self.run.keep:
                list(pool.map(remove, [node.folder for node in self.nodes]))

    def _balance(self) -> None:
        hosts = ",".join(node.address for node in self.control_planes)
        ports = (str(kubeadm.API_PORT), str(LOCK_PORT))
        argv = [sys.executable, "-m", "kube_upgrade.lab.real.balancer", network.GATEWAY, hosts, *ports]
        self.balancer = Service(self.run, "balancer", argv, self.run.folder / "balancer.log")
        self.balancer.start()

    def _join(self, node: RealNode) -> None:
        control_plane = node in self.control_planes
        endpoint = f"{self.endpoint}:{kubeadm.API_PORT}"
        config = kubeadm.join_config(
            node.name, node.address, endpoint, control_plane=control_plane, taint=self.wanted.taint
        )
        self._kubeadm(node, "join", config)

    def _kubeadm(self, node: RealNode, verb: str, config: str, *more: str) -> None:
        began = time.monotonic()
        (node.root / "etc/kubernetes").mkdir(exist_ok=True)
        (node.root / f"etc/kubernetes/{verb}.yaml").write_text(config)
        node.must("kubeadm", verb, f"--config=/etc/kubernetes/{verb}.yaml", *more, timeout=400)
        if not self.wanted.daemon_set:
            node.must("systemctl", "start", "upgraded")
        self.say(f"{node.name}: kubeadm {verb} in {time.monotonic() - began:.0f} s")


def _call(argv: Sequence[str], timeout: float, input: str | None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            argv,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(list(argv), 1, "", f"connection refused: no answer within {timeout:.0f} s")


def _weather(said: str) -> bool:
    """True for what an API server says, or does not say, while it starts."""
    return any(words in said for words in _WEATHER)


_WEATHER = ("refused", "reset by peer", "orbidden", "EOF", "i/o timeout", "ServiceUnavailable", "etcdserver",
            "unable to handle the request", "TLS handshake", "no route to host", "ensure CRDs")  # fmt: skip
