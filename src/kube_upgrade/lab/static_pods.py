"""Static pods of one simulated node: manifests in a folder, mirrored into the API as a kubelet does it.

A changed manifest has another hash: the old mirror pod goes and a new one comes, Ready a moment later
(pkg/kubelet/config/common.go, pkg/kubelet/pod/mirror_client.go). kubeadm waits for exactly that.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from kube_upgrade.kube import paths
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.errors import Conflict, Forbidden, KubeError, NotFound
from kube_upgrade.kube.wire.pod import MIRROR
from kube_upgrade.lab.kubelet_pods import BoundPod, end_pod, report_running
from kube_upgrade.lab.moments import now_text
from kube_upgrade.telemetry import logs

HASH = "kubernetes.io/config.hash"
SEEN = "kubernetes.io/config.seen"
SOURCE = "kubernetes.io/config.source"
_LOOK_SECONDS = 0.25
_log = logs.logger("kubelet")


class StaticPods:
    """Looks at the folder again and again; whatever the API lacks or has too much is put right."""

    def __init__(self, api: KubeApi, node: str, uid: str, folder: Path, start: float) -> None:
        self._api = api
        self._node = node
        self._uid = uid
        self._folder = folder
        self._start = start
        self._settled: dict[Path, str] = {}  # manifest → hash that the API is known to mirror

    async def run(self) -> None:
        """Until cancelled. At its start the kubelet looks at every mirror pod once."""
        while True:
            try:
                await self._turn()
            except (KubeError, OSError, yaml.YAMLError) as error:  # a manifest may be seen half written
                _log.warning("repeating", node=self._node, what="static pods", reason=str(error))
            await asyncio.sleep(_LOOK_SECONDS)

    def forget(self, pod: str) -> None:
        """The API no longer mirrors this pod (NAMESPACE/NAME): somebody deleted it, and it has to come back."""
        for path in [
            path for path in self._settled if path.stem == pod.partition("/")[2].removesuffix(f"-{self._node}")
        ]:
            del self._settled[path]

    async def _turn(self) -> None:
        found = {path: path.read_text() for path in sorted(self._folder.glob("*.yaml"))}
        changed = {path: text for path, text in found.items() if self._settled.get(path) != manifest_hash(text)}
        await asyncio.gather(*(self._mirror(path, text) for path, text in changed.items()))
        for path in set(self._settled) - set(found):
            await self._remove(f"{path.stem}-{self._node}")
            self._settled.pop(path, None)

    async def _mirror(self, path: Path, text: str) -> None:
        digest = manifest_hash(text)
        body = mirror_body(yaml.safe_load(text), self._node, self._uid, digest)
        meta = body["metadata"]
        known = await self._get(meta["namespace"], meta["name"])
        if known is not None and known.metadata.annotations.get(HASH) != digest:
            await end_pod(self._api, known)
            known = None
        if known is None:
            known = await self._create(body)
        await asyncio.sleep(self._start)
        await report_running(self._api, known)
        self._settled[path] = digest

    async def _create(self, body: dict[str, Any]) -> BoundPod:
        meta = body["metadata"]
        try:
            return await self._api.create(paths.pods(meta["namespace"]), body, BoundPod)
        except Conflict:
            return await self._api.get(paths.pod(meta["namespace"], meta["name"]), BoundPod)

    async def _get(self, namespace: str, name: str) -> BoundPod | None:
        try:
            return await self._api.get(paths.pod(namespace, name), BoundPod)
        except (NotFound, Forbidden):  # the Node authorizer knows no pod that does not exist
            return None

    async def _remove(self, name: str) -> None:
        if (known := await self._get("kube-system", name)) is not None:
            await end_pod(self._api, known)


def manifest_hash(text: str) -> str:
    """32 hex digits that change with the manifest."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def mirror_body(manifest: Mapping[str, Any], node: str, uid: str, digest: str) -> dict[str, Any]:
    """The Pod that mirrors a manifest: NodeRestriction wants the Node as its one owner and the mirror annotation."""
    meta = manifest["metadata"]
    notes = {**meta.get("annotations", {}), HASH: digest, MIRROR: digest, SEEN: now_text(), SOURCE: "file"}
    owner = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid, "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{meta['name']}-{node}",
            "namespace": meta.get("namespace", "default"),
            "labels": meta.get("labels", {}),
            "annotations": notes,
            "ownerReferences": [owner],
        },
        "spec": {
            **manifest["spec"],
            "nodeName": node,
            "tolerations": [{"operator": "Exists", "effect": "NoExecute"}],
        },
    }
