"""`upgraded doctor`: what is wrong with this node for upgrades. It only looks: nothing is written, locked or staged."""

import json
import os
from collections.abc import Awaitable
from pathlib import Path

from kube_upgrade.core.fleetlock.identity import BadMachineId, fleetlock_id
from kube_upgrade.core.node_steps.decide import machine
from kube_upgrade.fleetlock_client import FleetLock, server_of
from kube_upgrade.host import identity
from kube_upgrade.host.drivers import KubeadmError, OsError
from kube_upgrade.host.etcd import Etcd
from kube_upgrade.host.kubeadm import Kubeadm, is_control_plane
from kube_upgrade.host.paths import on_host
from kube_upgrade.host.policy import accepts_anything
from kube_upgrade.host.rpm_ostree import refuse_foreign_driver
from kube_upgrade.host.runner import SubprocessRunner
from kube_upgrade.host.signature import key_problem
from kube_upgrade.host.space import too_small
from kube_upgrade.host.systemd_jobs import choose_jobs
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.errors import KubeError
from kube_upgrade.model.node import Node
from kube_upgrade.model.node_config import BadValue, NodeConfig, read_config
from kube_upgrade.model.os import OsStatus
from kube_upgrade.upgraded import probe, static_files
from kube_upgrade.upgraded.cluster import Cluster, NoNodeName, own_name
from kube_upgrade.upgraded.findings import Finding, fault, ok, warning
from kube_upgrade.upgraded.hosts import STATE, os_driver
from kube_upgrade.upgraded.lock import running
from kube_upgrade.upgraded.observe import other_kubeconfig
from kube_upgrade.upgraded.settings import Settings
from kube_upgrade.upgraded.state import read_facts

SECONDS = 5.0


async def examine(settings: Settings) -> list[Finding]:
    """Everything that an upgrade of this node rests on, in the order in which it comes."""
    node, cluster = await _cluster(settings)
    config, wrong = _config(settings, node)
    os, host = await _os(settings)
    found = [*_identity(settings, node), *_daemon(settings), *_state(settings), *cluster, *wrong, *host]
    found += [*_streams(settings, config, os), *_signatures(settings, config), *_space(settings)]
    found += [*await _lock(settings, config), *await _kubeadm(settings, config), *await _health(settings)]
    return found


def _identity(settings: Settings, node: Node | None) -> list[Finding]:
    try:
        own = identity.machine_id(settings.root)
        fleetlock_id(own)
    except (identity.NoIdentity, BadMachineId) as error:
        return [fault("identity", str(error), "run `systemd-machine-id-setup`")]
    if node is not None and machine(node.machine_id) != machine(own):
        message = f"Node {node.name} shows machine-id {node.machine_id}, this machine is {own}"
        return [fault("identity", message, "give each machine an /etc/machine-id of its own, then restart its kubelet")]
    return [ok("identity", f"machine-id {own}")]


def _daemon(settings: Settings) -> list[Finding]:
    if pid := running(on_host(settings.root, f"{STATE}/lock")):
        return [ok("daemon", f"runs, pid {pid}")]
    return [warning("daemon", "no upgraded runs on this node", "systemctl enable --now upgraded.service")]


def _state(settings: Settings) -> list[Finding]:
    path = on_host(settings.root, f"{STATE}/state.json")
    try:
        facts = read_facts(json.loads(path.read_text()))
    except FileNotFoundError:
        return [ok("state", f"no {STATE}/state.json yet")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [
            fault("state", f"{STATE}/state.json is unreadable: {error!r}", "restart upgraded: it starts without it")
        ]
    found = [
        warning("state", f"{name} failed {tried.count} times, the last time: {tried.reason}: {tried.message}")
        for name, tried in facts.tries.items()
    ]
    found += [warning("state", f"bad image {digest}: {why}") for digest, why in facts.bad_digests.items()]
    return found or [ok("state", "readable, no failures")]


async def _cluster(settings: Settings) -> tuple[Node | None, list[Finding]]:
    """The own Node, asked with the kubelet's own identity."""
    kubeconfig = on_host(settings.root, settings.kubeconfig)
    if not kubeconfig.exists():
        return None, [fault("cluster", f"{settings.kubeconfig} is missing: not joined", "run `kubeadm join`")]
    async with KubeApi.connect(kubeconfig, user_agent="upgraded", timeout=SECONDS) as api:
        try:
            name = await own_name(api, os.environ.get("NODE_NAME"))
            node = await Cluster(api, name).node()
        except (KubeError, NoNodeName) as error:
            return None, [fault("cluster", f"this node's object cannot be read: {error}", "is the API server up?")]
    found = [ok("cluster", f"Node {node.name}, kubelet {node.kubelet}")]
    if not node.ready:
        found.append(fault("cluster", f"Node {node.name} is not Ready", "a node that is not Ready is never started"))
    if node.hold is not None:
        found.append(warning("cluster", f"on hold: {node.hold or 'no reason given'}", "remove the hold annotation"))
    return node, found


def _config(settings: Settings, node: Node | None) -> tuple[NodeConfig, list[Finding]]:
    """The merged config, and what is wrong with the annotations."""
    try:
        said = read_config(node.config) if node else NodeConfig()
    except BadValue as error:
        found = [
            fault("plan", f"the node's annotations are refused: {error}", "correct the plan's `upgraded` settings")
        ]
        return settings.node.with_defaults(), found
    config = said.over(settings.node).with_defaults()
    if other := other_kubeconfig(config, settings):
        return config, [warning("plan", f"kubeletConfig {other} is not followed", "set `kubeconfig` in config.yaml")]
    return config, [ok("plan", "its settings have arrived")] if node and node.config else []


async def _os(settings: Settings) -> tuple[OsStatus | None, list[Finding]]:
    runner = SubprocessRunner()
    jobs = choose_jobs(settings.root, runner, run=settings.systemd_run, control=settings.systemctl)
    try:
        status = await os_driver(settings, runner, jobs).status()
    except OsError as error:
        return None, [fault("os", error.message, "upgraded needs rpm-ostree or bootc, and a host that it deployed")]
    found = []
    try:
        refuse_foreign_driver(status)
    except OsError as error:
        found.append(
            fault("os", error.message, f"systemctl disable --now {status.driver.unit if status.driver else ''}")
        )
    if status.staged is not None and not status.staged.locked:
        message = f"{status.staged.image or status.staged.digest} is staged and unlocked: any reboot applies it"
        found.append(fault("os", message, "ostree admin lock-finalization, or rpm-ostree cleanup -p"))
    if status.booted is None or status.booted.image is None:
        found.append(
            fault("os", "the running deployment is no container image", "rpm-ostree rebase to the stream once")
        )
    return status, found or [ok("os", f"runs {status.booted.image if status.booted else 'nothing'}")]


def _streams(settings: Settings, config: NodeConfig, os: OsStatus | None) -> list[Finding]:
    allowed, wanted = settings.rules.allowed_streams, config.stream or ""
    if allowed and wanted not in allowed:
        message = f"stream {wanted} is not among allowedStreams: {', '.join(allowed)}"
        return [fault("stream", message, "correct the plan's stream, or allow it in config.yaml")]
    booted = os.booted.image if os and os.booted else None
    if booted is not None and booted.repository != wanted:
        return [warning("stream", f"runs an image of {booted.repository}, the stream is {wanted}")]
    return [ok("stream", wanted)]


def _signatures(settings: Settings, config: NodeConfig) -> list[Finding]:
    """Our own check where keys are configured; else the truth about the host's policy."""
    if policy := settings.rules.verification:
        return [_key(settings.root, key) for key in policy.keys]
    anything, rule = accepts_anything(settings.root, config.stream or "")
    if not anything:
        return [ok("signatures", f"the host's policy asks for one ({rule})")]
    message = f"nobody checks any: an unsigned image of {config.stream} would be staged and booted ({rule})"
    return [warning("signatures", message, "name cosign public keys under `verification` in config.yaml")]


def _key(root: Path, key: str) -> Finding:
    try:
        wrong = key_problem(on_host(root, key).read_bytes())
    except OSError as error:
        return fault("signatures", f"{key}: {error.strerror}", "put the public key there: no image passes without it")
    if wrong:
        return fault("signatures", f"{key}: {wrong}", "use the .pub file of `cosign generate-key-pair`")
    return ok("signatures", f"must be made with {key}")


def _space(settings: Settings) -> list[Finding]:
    wrong = too_small(settings.root)
    return [fault("space", wrong, "rpm-ostree cleanup -r -m")] if wrong else [ok("space", "enough to stage an image")]


async def _lock(settings: Settings, config: NodeConfig) -> list[Finding]:
    url = config.fleetlock_url
    if not url:
        return [fault("lock", "fleetlockUrl is set neither in the plan nor in config.yaml", "set it in the plan")]
    ca = on_host(settings.root, settings.fleetlock_ca) if settings.fleetlock_ca else None
    try:
        async with FleetLock(url, config.fleetlock_group or "", "doctor", timeout=SECONDS, ca=ca) as lock:
            wrong = await lock.reachable()
    except ValueError as error:
        return [fault("lock", str(error), "correct fleetlockUrl or fleetlockCa")]
    if wrong:
        return [fault("lock", wrong, "no node is taken out of service without its lock server")]
    group = config.fleetlock_group
    return [ok("lock", f"something answers at {server_of(url)}; what it grants to group {group} only asking tells")]


async def _kubeadm(settings: Settings, config: NodeConfig) -> list[Finding]:
    root, runner = settings.root, SubprocessRunner()
    jobs = choose_jobs(root, runner, run=settings.systemd_run, control=settings.systemctl)
    found = []
    for place in filter(None, ("/usr/bin/kubeadm", config.kubeadm_path)):
        try:
            version = await Kubeadm(runner, jobs, on_host(root, place), root=root).version()
        except KubeadmError as error:
            advice = "the next image must bring its own, or kubeadmPath name one"
            found.append(warning("kubeadm", error.message, advice))
        else:
            found.append(ok("kubeadm", f"{place} is {version}"))
    return found


async def _health(settings: Settings) -> list[Finding]:
    """What a node must prove after its reboot, asked now: whoever cannot prove it today will not after an upgrade."""
    root = settings.root
    found = await _well("kubelet", probe.kubelet_healthy(settings.kubelet_health), settings.kubelet_health)
    if not is_control_plane(root):
        return found
    found += await _well("api-server", probe.api_server_ready(settings.api_server, root), settings.api_server)
    found += await _well("etcd", Etcd(settings.etcd, root).healthy(), settings.etcd)
    server = static_files.kubelet_server(root, settings.kubeconfig)
    if not static_files.is_local(root, server):
        message = f"kubelet.conf points at {server or 'nothing readable'}, not at this node's own API server"
        found.append(warning("kubelet", message, "a step to the next minor stops before its reboot: KubeletNotLocal"))
    return found


async def _well(what: str, call: Awaitable[bool | None], url: str) -> list[Finding]:
    answer = await call
    if answer is None:
        return [warning(what, "nobody is asked: its URL in config.yaml is empty, or it is not on this node")]
    if answer:
        return [ok(what, "healthy")]
    return [fault(what, f"{url} does not say that it is healthy", f"a node is proven only with a healthy {what}")]
