"""One look at everything: files, programs, API server and localhost become a frozen HostSnapshot."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from kube_upgrade.core.node_steps.case import Case
from kube_upgrade.core.node_steps.goal import choose
from kube_upgrade.core.node_steps.verify import look, look_at_health
from kube_upgrade.host import identity
from kube_upgrade.host.drivers import KubeadmDriver, KubeadmError, OsDriver, OsError
from kube_upgrade.host.etcd import Etcd
from kube_upgrade.host.jobs import Jobs
from kube_upgrade.host.kubeadm import JOB, is_control_plane
from kube_upgrade.host.paths import on_host
from kube_upgrade.host.trust import with_contents
from kube_upgrade.kube.errors import KubeError, NotFound
from kube_upgrade.model.host import Facts, Health, HostRules, HostSnapshot, Kubeadm, Streak
from kube_upgrade.model.node import Node, Report
from kube_upgrade.model.node_config import BadValue, NodeConfig, read_config
from kube_upgrade.model.os import OsStatus
from kube_upgrade.telemetry import logs
from kube_upgrade.upgraded import probe, static_files
from kube_upgrade.upgraded.cluster import Cluster
from kube_upgrade.upgraded.live_settings import LiveSettings
from kube_upgrade.upgraded.settings import DEFAULT_KUBECONFIG, Settings

OS_SECONDS = 10.0  # `rpm-ostree status` starts a daemon on the host: not at every look
T = TypeVar("T")
_log = logs.logger("observe")


@dataclass(slots=True, kw_only=True)
class Observer:
    """Looks. What is remembered here saves work or keeps the last good value; a restart forgets it without harm."""

    live: LiveSettings
    cluster: Cluster
    os: OsDriver
    kubeadm: Callable[[str], KubeadmDriver]
    etcd: Etcd
    jobs: Jobs
    clock: Callable[[], datetime]
    node: Node | None = None
    config: NodeConfig | None = None
    streak: Streak | None = None
    well: Streak | None = None
    trouble: str = ""
    _level: str = ""
    _warned: str = ""
    _refused: str = ""
    _versions: dict[tuple[str, int], Kubeadm] = field(default_factory=dict)
    _os: tuple[float, OsStatus] | None = None

    @property
    def settings(self) -> Settings:
        """As of the last look."""
        return self.live.settings

    async def look(self, facts: Facts) -> HostSnapshot:
        """Everything that a step towards the present goal may depend on. Raises NoIdentity."""
        await asyncio.to_thread(self.live.read)
        seen = await self._base(facts)
        case = choose(seen)
        if case is not None and seen.os is not None:
            seen = await self._closer(seen, case)
        self.streak, self.well = look(self.streak, seen), look_at_health(self.well, seen)
        return replace(seen, streak=self.streak, well=self.well)

    def acted(self) -> None:
        """Something was changed: nothing that is remembered of the host counts any more."""
        self._os = None

    async def report(self, node: Node, wanted: Report) -> None:
        """Let the Node object say this. Raises KubeError; Conflict where somebody else wrote in between."""
        self.node = await self.cluster.report(node, wanted)

    async def _base(self, facts: Facts) -> HostSnapshot:
        root = self.settings.root
        reachable = await self._refresh_node()
        os, problem = await self._os_status()
        return HostSnapshot(
            now=self.clock(),
            machine_id=await asyncio.to_thread(identity.machine_id, root),
            boot_id=await asyncio.to_thread(identity.boot_id, root),
            config=self._merged(self.node),
            rules=await asyncio.to_thread(rules_now, self.settings),
            facts=facts,
            node=self.node,
            api_reachable=reachable,
            os=os,
            os_problem=problem,
            control_plane=await asyncio.to_thread(is_control_plane, root),
            kubeadm_job=await self.jobs.find(JOB),
        )

    async def _refresh_node(self) -> bool:
        try:
            self.node = await self.cluster.node()
        except NotFound:
            self.node = None
        except KubeError as error:
            self._weather(f"API server: {error}")
            return False
        self._weather("")
        return True

    def _weather(self, trouble: str) -> None:
        if trouble != self.trouble:
            (_log.warning if trouble else _log.info)("API server", reason=trouble or "answers again")
            self.trouble = trouble

    async def _os_status(self) -> tuple[OsStatus | None, str]:
        """Deployments change by our own effects and by reboots, which both start anew here; others are seen late."""
        if self._os is not None and time.monotonic() - self._os[0] < OS_SECONDS:
            return self._os[1], ""
        try:
            status = await self.os.status()
        except OsError as error:
            return None, f"{error.kind}: {error.message}"
        self._os = (time.monotonic(), status)
        return status, ""

    def _merged(self, node: Node | None) -> NodeConfig:
        """Annotations over config.yaml over defaults. Where one is bad the last good ones stay, all of them.

        A daemon that was just started has none: there the good fields count. The default of another one, a stream
        above all, may be what nobody wants here.
        """
        notes = node.config if node else {}
        try:
            said = read_config(notes)
        except BadValue as error:
            self._refuse(str(error))
            if self.config is not None:
                return self.config
            return good_fields(notes).over(self.settings.node).with_defaults()
        self._refused = ""
        self.config = said.over(self.settings.node).with_defaults()
        self._heed(self.config)
        return self.config

    def _refuse(self, reason: str) -> None:
        if reason != self._refused:
            self._refused = reason
            _log.error("the plan's settings are refused, the last good ones stay", reason=reason)

    def _heed(self, config: NodeConfig) -> None:
        """The log level follows the plan at once; whose kubeconfig this daemon uses is the host's business alone."""
        if config.log_level and config.log_level != self._level:
            self._level = config.log_level
            logs.configure(config.log_level)
        if wanted := other_kubeconfig(config, self.settings):
            self._say_once(f"kubeletConfig {wanted} of the plan is not followed: config.yaml alone says which is ours")

    def _say_once(self, words: str) -> None:
        if words != self._warned:
            self._warned = words
            _log.warning(words)

    async def _closer(self, seen: HostSnapshot, case: Case) -> HostSnapshot:
        """With something to do: the cluster's version, pods, programs and the health of what runs here."""
        root, settings = self.settings.root, self.settings
        version = await _unless_away(self.cluster.version())
        pods = await _unless_away(self.cluster.pods())
        api = probe.api_server_ready(settings.api_server, root) if seen.control_plane else _nobody()
        etcd = self.etcd.healthy() if seen.control_plane else _nobody()
        kubelet, api_server, member = await asyncio.gather(probe.kubelet_healthy(settings.kubelet_health), api, etcd)
        server = static_files.kubelet_server(root, settings.kubeconfig)
        return replace(
            seen,
            cluster_version=version,
            pods=pods,
            manifests=static_files.manifest_versions(root) if seen.control_plane else {},
            kubeadms=await self._kubeadms(case),
            kubelet_server=server,
            kubelet_server_local=static_files.is_local(root, server),
            health=Health(kubelet=kubelet, api_server=api_server, etcd=member),
            now=self.clock(),
        )

    async def _kubeadms(self, case: Case) -> tuple[Kubeadm, ...]:
        """Of the wanted image, staged or booted, then the configured one; asked once per file."""
        root, staged = self.settings.root, case.seen.staged
        places = [f"{staged.path}/usr/bin/kubeadm"] if staged and case.wanted_staged else []
        places += ["/usr/bin/kubeadm"] if case.wanted_booted else []
        places += [path] if (path := case.seen.config.kubeadm_path) else []
        return tuple([found for place in places if (found := await self._asked(on_host(root, place)))])

    async def _asked(self, path: Path) -> Kubeadm | None:
        try:
            key = (str(path), (await asyncio.to_thread(path.stat)).st_mtime_ns)
        except OSError:
            return None
        if key not in self._versions:
            try:
                version = await self.kubeadm(str(path)).version()
            except KubeadmError as error:
                _log.warning("kubeadm does not tell its version", path=str(path), reason=error.message)
                return Kubeadm(path=str(path), version=None)
            self._versions[key] = Kubeadm(path=str(path), version=version)
        return self._versions[key]


def rules_now(settings: Settings) -> HostRules:
    """The host's rules, with what the files that they name hold now."""
    rules = settings.rules
    policy = rules.verification and with_contents(rules.verification, settings.root)
    return replace(rules, verification=policy)


def good_fields(notes: Mapping[str, str]) -> NodeConfig:
    """What can be read of a node's config, each field by itself."""
    config = NodeConfig()
    for key, text in notes.items():
        with contextlib.suppress(BadValue):
            config = read_config({key: text}).over(config)
    return config


def other_kubeconfig(config: NodeConfig, settings: Settings) -> str:
    """The plan's kubeletConfig where it is neither the usual one nor this host's; empty otherwise."""
    wanted = config.kubelet_config or ""
    return "" if wanted in (DEFAULT_KUBECONFIG, settings.kubeconfig) else wanted


async def _unless_away(call: Awaitable[T]) -> T | None:
    try:
        return await call
    except KubeError:
        return None


async def _nobody() -> None:
    return None
