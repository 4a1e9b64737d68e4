"""The node daemon's composition root: the only place where its parts meet."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import yaml

from kube_upgrade.core.backoff import pause
from kube_upgrade.core.fleetlock.identity import BadMachineId, fleetlock_id
from kube_upgrade.fleetlock_client import FleetLock
from kube_upgrade.host.backups import keep_newest
from kube_upgrade.host.drivers import KubeadmError, OsError
from kube_upgrade.host.etcd import Etcd
from kube_upgrade.host.identity import NoIdentity, machine_id
from kube_upgrade.host.kubeadm import JOB, Kubeadm
from kube_upgrade.host.paths import on_host
from kube_upgrade.host.registry import Registry
from kube_upgrade.host.runner import SubprocessRunner
from kube_upgrade.host.systemd_jobs import choose_jobs
from kube_upgrade.host.trust import Trust
from kube_upgrade.kube import paths
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.errors import KubeError
from kube_upgrade.kube.informer import Informer
from kube_upgrade.kube.wire.node import NodeObject, to_node
from kube_upgrade.model.host import Facts
from kube_upgrade.model.kubeadm import KubeadmProblem
from kube_upgrade.model.node import Node
from kube_upgrade.model.version import KubeVersion
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.health import serve_probes
from kube_upgrade.upgraded.act import Actor, Lock, Ports
from kube_upgrade.upgraded.cluster import Cluster, NoNodeName, own_name
from kube_upgrade.upgraded.hosts import STATE, os_driver
from kube_upgrade.upgraded.live_settings import LiveSettings
from kube_upgrade.upgraded.lock import AnotherDaemon, only_daemon
from kube_upgrade.upgraded.loop import Loop
from kube_upgrade.upgraded.observe import Observer
from kube_upgrade.upgraded.readiness import Readiness
from kube_upgrade.upgraded.settings import BadSettings, Settings, load
from kube_upgrade.upgraded.state import StateFile, replace_file
from kube_upgrade.upgraded.static_files import cri_socket

log = logs.logger("upgraded")


def start(config: Path) -> None:
    """Run until SIGTERM. Exits with 1 and a sentence where it cannot: bad settings, another daemon, no identity."""
    try:
        settings = load(config)
        logs.configure(settings.node.log_level or "info")
        with only_daemon(on_host(settings.root, f"{STATE}/lock")):
            asyncio.run(run(LiveSettings(config, settings)))
    except (BadSettings, AnotherDaemon, NoIdentity, BadMachineId, NoNodeName, OSError) as error:
        sys.exit(f"upgraded: {error}")
    except (asyncio.CancelledError, KeyboardInterrupt):
        log.info("stopped")


async def run(live: LiveSettings) -> None:
    """Find out who we are, follow the own Node, and take turns."""
    _stop_on_signal()
    # Each thread that ever ran keeps memory of its own: files need no more than two.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=2))
    settings = live.settings
    root = settings.root
    me = machine_id(root)
    fleetlock_id(me)  # a machine without a usable id must not start
    state = StateFile.load(on_host(root, f"{STATE}/state.json"), _now())
    changed = asyncio.Event()
    kubeconfig = on_host(root, settings.kubeconfig)
    readiness = Readiness()
    async with KubeApi.connect(kubeconfig, user_agent="upgraded") as api, await _probes(settings, readiness):
        name = await _name(api, readiness)
        log.info("starting", node=name, version=version("kube-upgrade"))
        loop = await _loop(live, Cluster(api, name), state, changed, me)
        loop.readiness = readiness
        await together(_informer(api, name, changed).run(), loop.run())


async def together(*jobs: Coroutine[None, None, None]) -> None:
    """Run them until one fails or this is cancelled; then all end, and the failure is raised as it is."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _loop(live: LiveSettings, cluster: Cluster, state: StateFile, changed: asyncio.Event, me: str) -> Loop:
    settings, runner = live.settings, SubprocessRunner()
    root = settings.root
    jobs = choose_jobs(root, runner, run=settings.systemd_run, control=settings.systemctl)
    if swept := jobs.sweep(keep=still_evidence(state.facts)):
        log.info("swept jobs of an earlier boot", jobs=swept)
    driver = os_driver(settings, runner, jobs)
    try:
        await driver.register_driver()
    except OsError as error:
        log.warning("not registered as this host's update driver", reason=error.message)
    etcd = Etcd(settings.etcd, root)

    def kubeadm(path: str) -> Kubeadm:
        options = settings.kubeadm_options
        return Kubeadm(runner, jobs, Path(path), root=root, ignore_preflight=settings.ignore_preflight, options=options)

    async def images_config(version: KubeVersion) -> tuple[Path, str]:
        return await write_images_config(cluster, root, version)

    async def etcd_snapshot() -> str:
        await etcd.fit()
        saved = await etcd.snapshot(_now())
        log.info("etcd", snapshot=saved)
        return saved

    registry = Registry(root)

    async def verify(reference: str, digest: str) -> None:
        policy = live.settings.rules.verification
        if policy is not None:
            await Trust(policy, registry, runner, root=root).check(reference, digest)

    async def tidy() -> None:
        await asyncio.to_thread(keep_newest, root)
        await asyncio.to_thread(jobs.sweep)

    ports = Ports(
        os=driver,
        kubeadm=kubeadm,
        resolve=registry.resolve,
        verify=verify,
        lock=_locks(me, root, settings.fleetlock_ca),
        images_config=images_config,
        etcd_snapshot=etcd_snapshot,
        tidy=tidy,
        clock=_now,
    )
    observer = Observer(live=live, cluster=cluster, os=driver, kubeadm=kubeadm, etcd=etcd, jobs=jobs, clock=_now)
    actor = Actor(ports, state)
    return Loop(
        observer=observer, actor=actor, state=state, changed=changed, clock=_now, version=version("kube-upgrade")
    )


def still_evidence(facts: Facts) -> tuple[str, ...]:
    """Jobs of earlier boots that may still be asked for: while a lock is or may be held, that kubeadm ran here counts,
    whatever becomes of the state file.
    """
    return (JOB,) if facts.lock else ()


async def write_images_config(cluster: Cluster, root: Path, target: KubeVersion) -> tuple[Path, str]:
    """The cluster's own configuration with the target's version, for `config images pull`. Raises KubeadmError.

    Without it kubeadm pulls from its default registry.
    """
    try:
        config = await cluster.kubeadm_config()
    except KubeError as error:
        raise KubeadmError(KubeadmProblem.API_UNREACHABLE, f"kubeadm-config: {error}") from error
    path = Path(f"{STATE}/images.yaml")
    text = yaml.safe_dump({**config, "kubernetesVersion": str(target)})
    replace_file(on_host(root, path), text.encode())
    return path, cri_socket(root)


def _informer(api: KubeApi, name: str, changed: asyncio.Event) -> Informer[NodeObject, Node]:
    """Wakes the loop when the own Node changes in anything that we read; a heartbeat alone is no news."""

    def on_change(key: str, old: Node | None, new: Node | None) -> None:
        if old is None or new is None or old != replace(new, resource_version=old.resource_version):
            changed.set()

    params = {"fieldSelector": f"metadata.name={name}"}
    return Informer(api, paths.NODES, type=NodeObject, value=to_node, params=params, on_change=on_change)


def _locks(me: str, root: Path, ca: str) -> Callable[[str, str], Lock]:
    """One client per URL and group, made when first needed."""
    made: dict[tuple[str, str], FleetLock] = {}

    def lock(url: str, group: str) -> Lock:
        if (url, group) not in made:
            made[url, group] = FleetLock(url, group, fleetlock_id(me), ca=on_host(root, ca) if ca else None)
        return made[url, group]

    return lock


async def _name(api: KubeApi, readiness: Readiness) -> str:
    """The own node's name, asked until the API server answers."""
    failures = 0
    while True:
        try:
            return await own_name(api, os.environ.get("NODE_NAME"))
        except KubeError as error:
            failures += 1
            readiness.wrong = f"cannot ask who we are: {error}"
            wait = pause(failures, first=1.0, most=30.0, dice=0.5)
            log.warning("cannot ask who we are", reason=str(error), again_in=wait)
            await asyncio.sleep(wait)


async def _probes(settings: Settings, readiness: Readiness) -> contextlib.AbstractAsyncContextManager[object]:
    if not settings.probes:
        return contextlib.nullcontext()
    host, _, port = settings.probes.rpartition(":")
    return await serve_probes(host, int(port), alive=lambda: None, ready=readiness.read)


def _now() -> datetime:
    return datetime.now(UTC)


def _stop_on_signal() -> None:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("no task to stop")
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
