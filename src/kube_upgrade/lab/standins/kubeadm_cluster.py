"""What kubeadm reads and writes in the API: its two ConfigMaps, nodes' kubelet versions, mirror pods."""

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from kube_upgrade.kube import paths
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.errors import KubeError, NotFound, ServerError, Unreachable
from kube_upgrade.kube.wire.pod import PodObject, to_pod
from kube_upgrade.lab.machine_state import Refused
from kube_upgrade.model.version import KubeVersion

T = TypeVar("T")

_VERSION = re.compile(r"^kubernetesVersion:\s*(\S+)\s*$", re.MULTILINE)
_HASH = "kubeadm.kubernetes.io/component-config.hash"
_PATIENCE = 60.0  # seconds: kubeadm's kubernetesAPICall
_PAUSE = 0.25


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] = {}


class _NodeInfo(msgspec.Struct, rename="camel"):
    kubelet_version: str = ""


class _NodeStatus(msgspec.Struct, rename="camel"):
    node_info: _NodeInfo = msgspec.field(default_factory=_NodeInfo)


class _Node(msgspec.Struct):
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)


class _Nodes(msgspec.Struct):
    items: list[_Node] = []


class Cluster:
    """One connection with one kubeconfig. What the API refuses becomes Refused, in kubeadm's words where known."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    @classmethod
    @contextlib.asynccontextmanager
    async def admin(cls, root: Path) -> AsyncIterator["Cluster"]:
        """As the administrator: on control planes."""
        path = root / "etc/kubernetes/admin.conf"
        if not path.exists():
            raise Refused(
                'couldn\'t create a Kubernetes client from file "/etc/kubernetes/admin.conf": '
                "failed to load admin kubeconfig: open /etc/kubernetes/admin.conf: no such file or directory"
            )
        async with KubeApi.connect(path, user_agent="kubeadm") as api:
            yield cls(api)

    @classmethod
    @contextlib.asynccontextmanager
    async def kubelet(cls, root: Path) -> AsyncIterator["Cluster"]:
        """As this node: on workers."""
        async with KubeApi.connect(root / "etc/kubernetes/kubelet.conf", user_agent="kubeadm") as api:
            yield cls(api)

    async def version(self) -> KubeVersion:
        """kubernetesVersion of kubeadm-config."""
        text = await self._configuration()
        found = _VERSION.search(text)
        if found is None:
            raise Refused("unable to fetch the kubeadm-config ConfigMap: no kubernetesVersion in ClusterConfiguration")
        return KubeVersion.parse(found.group(1))

    async def kubelets(self) -> tuple[KubeVersion, ...]:
        """The versions that nodes report."""
        nodes = await self._patiently("nodes", lambda: self._api.get(paths.NODES, _Nodes))
        told = (node.status.node_info.kubelet_version for node in nodes.items)
        return tuple(KubeVersion.parse(version) for version in told if version)

    async def kubelet_configuration(self) -> str:
        """What kubelet-config holds."""
        path = paths.configmap("kube-system", "kubelet-config")
        found = await self._patiently("kubelet-config", lambda: self._api.get(path, _ConfigMap))
        return found.data.get("kubelet", "")

    async def upload_configuration(self, version: KubeVersion) -> None:
        """Write the version into kubeadm-config; all else in it stays."""
        text = _VERSION.sub(f"kubernetesVersion: {version}", await self._configuration())
        await self._patch("kubeadm-config", {"data": {"ClusterConfiguration": text}})

    async def upload_kubelet_configuration(self) -> None:
        """Write kubelet-config with its hash, as kubeadm signs what it wrote itself."""
        text = await self.kubelet_configuration()
        signed = {_HASH: f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"}
        await self._patch("kubelet-config", {"metadata": {"annotations": signed}, "data": {"kubelet": text}})

    async def wait_for_mirror(self, node: str, component: str, image: str, timeout: float) -> None:
        """Until the mirror pod runs this image and is Ready. Raises TimeoutError."""
        path = paths.pod("kube-system", f"{component}-{node}")
        async with asyncio.timeout(timeout):
            while not await self._mirrors(path, image):  # noqa: ASYNC110 - the API is asked, nobody tells us
                await asyncio.sleep(_PAUSE)

    async def _mirrors(self, path: str, image: str) -> bool:
        try:
            pod = to_pod(await self._api.get(path, PodObject))
        except KubeError:  # the API may be away while its own pods are replaced
            return False
        return pod.ready and image in pod.images

    async def _configuration(self) -> str:
        path = paths.configmap("kube-system", "kubeadm-config")
        found = await self._patiently("kubeadm-config", lambda: self._api.get(path, _ConfigMap))
        return found.data.get("ClusterConfiguration", "")

    async def _patch(self, name: str, body: object) -> None:
        path = paths.configmap("kube-system", name)
        await self._patiently(name, lambda: self._api.patch(path, body, _ConfigMap))

    async def _patiently(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat for a minute while the API is away, as kubeadm does."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                return await call()
            except (Unreachable, ServerError) as error:
                if time.monotonic() > until:
                    raise Refused(f"failed to get {what}: dial tcp: connect: connection refused ({error})") from error
                await asyncio.sleep(_PAUSE)
            except NotFound as error:
                raise Refused(
                    f'unable to fetch the {what} ConfigMap: failed to get config map: configmaps "{what}" not found'
                ) from error
            except KubeError as error:
                raise Refused(f"failed to get {what}: {error}") from error
