"""kubeadm's control-plane phase: one static pod after the other, each waited for, all put back where one fails."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from kube_upgrade.lab.images import COMPONENTS, component_image
from kube_upgrade.lab.machine_files import manifest_path
from kube_upgrade.lab.machine_state import Refused
from kube_upgrade.lab.standins.kubeadm_cluster import Cluster
from kube_upgrade.lab.standins.kubeadm_faults import RecordedFault
from kube_upgrade.lab.standins.kubeadm_kubelet import stamp
from kube_upgrade.model.version import KubeVersion

_IMAGE = re.compile(r"^(\s*image:\s*)\S+$", re.MULTILINE)
_FAILING = {
    RecordedFault.ETCD_TIMES_OUT: "etcd",
    RecordedFault.API_SERVER_NEVER_SERVES: "kube-apiserver",
}


class StaticPodUpgrade:
    """One run on one control plane. `pause` and `timeout` are seconds per component."""

    def __init__(
        self,
        root: Path,
        cluster: Cluster,
        *,
        node: str,
        fault: RecordedFault | None,
        pause: float,
        timeout: float,
        say: Callable[[str], None],
    ) -> None:
        self._root = root
        self._cluster = cluster
        self._node = node
        self._failing = _FAILING.get(fault) if fault else None
        self._pause = pause
        self._timeout = timeout
        self._say = say
        self._backup = root / f"etc/kubernetes/tmp/kubeadm-backup-manifests-{stamp()}"
        self._moved: list[str] = []

    async def run(self, target: KubeVersion) -> None:
        """Upgrade all components to the target's images. Raises Refused after putting back what it can."""
        self._say(
            f'[upgrade/control-plane] Upgrading your static Pod-hosted control plane to version "{target}"'
            " (timeout: 5m0s)..."
        )
        self._backup.mkdir(parents=True, exist_ok=True)
        for component in COMPONENTS:
            self._say(f'[upgrade/staticpods] Preparing for "{component}" upgrade')
            await self._upgrade(component, component_image(component, target))
        self._say("[upgrade/control-plane] The control plane instance for this node was successfully upgraded!")

    async def _upgrade(self, component: str, image: str) -> None:
        path = manifest_path(self._root, component)
        old = path.read_text()
        new = _IMAGE.sub(rf"\g<1>{image}", old)
        if new == old:
            self._say(f"[upgrade/staticpods] Current and new manifests of {component} are equal, skipping upgrade")
            return
        self._say(f'[upgrade/staticpods] Moving new manifest to "{_named(self._root, path)}" and backing up old'
                  f' manifest to "{_named(self._root, self._backup)}/{path.name}"')  # fmt: skip
        (self._backup / path.name).write_text(old)
        _put(path, new)
        self._moved.append(component)
        self._say("[upgrade/staticpods] Waiting for the kubelet to restart the component")
        await asyncio.sleep(self._pause)
        try:
            await self._wait(component, image)
        except TimeoutError:
            self._roll_back(component)
        self._say(f'[upgrade/staticpods] Component "{component}" upgraded successfully!')

    async def _wait(self, component: str, image: str) -> None:
        if component == self._failing:
            raise TimeoutError
        await self._cluster.wait_for_mirror(self._node, component, image, self._timeout)

    def _roll_back(self, failed: str) -> NoReturn:
        """Put the old manifests back. An etcd that went well stays: seen on real nodes."""
        for component in self._moved:
            if failed == "etcd" or component != "etcd":
                path = manifest_path(self._root, component)
                _put(path, (self._backup / path.name).read_text())
        recovered = (
            "couldn't upgrade control plane. kubeadm has tried to recover everything into the earlier state. Errors "
            f"faced: failed to obtain static Pod hash for component {failed} on Node {self._node}: timed out"
        )
        if failed == "etcd":
            self._say("[upgrade/etcd] Etcd was rolled back and is now available")
            recovered = (
                "fatal error when trying to upgrade the etcd cluster, rolled the state back to pre-upgrade state: "
                + recovered
            )
        raise Refused(f"error execution phase control-plane: couldn't complete the static pod upgrade: {recovered}")


def _put(path: Path, text: str) -> None:
    """Into the kubelet's folder in one piece: it may look at any moment."""
    new = path.parent.parent / f".{path.name}.new"
    new.write_text(text)
    new.replace(path)


def _named(root: Path, path: Path) -> str:
    return f"/{path.relative_to(root)}"
