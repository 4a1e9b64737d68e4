"""What the daemon reads and writes in the cluster, with nothing but the kubelet's own rights (design 9)."""

from dataclasses import fields

import msgspec
import yaml

from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.errors import BadAnswer
from kube_upgrade.kube.wire import node as keys
from kube_upgrade.kube.wire.kubeadm_config import read_cluster_version
from kube_upgrade.kube.wire.node import NodeObject, to_node
from kube_upgrade.kube.wire.pod import PodObject, to_pod
from kube_upgrade.model.node import Node, Report
from kube_upgrade.model.pod import Pod
from kube_upgrade.model.version import KubeVersion

USER_PREFIX = "system:node:"
_ANNOTATIONS = {
    "status": keys.STATUS,
    "phase": keys.PHASE,
    "message": keys.MESSAGE,
    "attempt": keys.ATTEMPT,
    "staged": keys.STAGED,
    "applied": keys.APPLIED,
    "daemon": keys.UPGRADED_VERSION,
}
_MESSAGE_LIMIT = 1024  # characters; all annotations of an object share 256 KiB


class NoNodeName(Exception):
    """The credentials are no kubelet's, or not this node's."""


class _User(msgspec.Struct, frozen=True):
    username: str = ""


class _ReviewStatus(msgspec.Struct, rename="camel", frozen=True):
    user_info: _User = _User()


class _Review(msgspec.Struct, frozen=True):
    status: _ReviewStatus = _ReviewStatus()


class _ConfigMap(msgspec.Struct, frozen=True):
    data: dict[str, str] = {}


class _Pods(msgspec.Struct, frozen=True):
    items: list[PodObject] = []


class Cluster:
    """The API server as one node may use it. Every method raises KubeError."""

    def __init__(self, api: Api, name: str) -> None:
        self._api = api
        self.name = name

    async def node(self) -> Node:
        """The own Node object as it is now."""
        return to_node(await self._api.get(paths.node(self.name), NodeObject))

    async def pods(self) -> tuple[Pod, ...]:
        """All pods bound to this node."""
        found = await self._api.get(paths.PODS, _Pods, {"fieldSelector": f"spec.nodeName={self.name}"})
        return tuple(to_pod(pod) for pod in found.items)

    async def version(self) -> KubeVersion | None:
        """kubeadm-config's kubernetesVersion; None where there is none."""
        return await read_cluster_version(self._api)

    async def kubeadm_config(self) -> dict[str, object]:
        """kubeadm's ClusterConfiguration. Raises BadAnswer where it is not one."""
        path = paths.configmap("kube-system", "kubeadm-config")
        text = (await self._api.get(path, _ConfigMap)).data.get("ClusterConfiguration", "")
        try:
            config = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise BadAnswer(f"{path}: {error}") from error
        if not isinstance(config, dict):
            raise BadAnswer(f"{path}: no ClusterConfiguration")
        return config

    async def report(self, node: Node, report: Report) -> Node:
        """Write what differs. A change of status names the resourceVersion it was decided on: Conflict otherwise."""
        changed = differences(node.report, report)
        if not changed:
            return node
        metadata: dict[str, object] = {"annotations": changed}
        if keys.STATUS in changed:
            metadata["resourceVersion"] = node.resource_version
        return to_node(await self._api.patch(paths.node(self.name), {"metadata": metadata}, NodeObject))


def differences(before: Report, after: Report) -> dict[str, str | None]:
    """Annotations to change; None takes one away."""
    changed: dict[str, str | None] = {}
    for field in fields(Report):
        old, new = _text(getattr(before, field.name)), _text(getattr(after, field.name))
        if old != new:
            changed[_ANNOTATIONS[field.name]] = new or None
    return changed


def _text(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _MESSAGE_LIMIT else f"{text[: _MESSAGE_LIMIT - 1]}…"


async def own_name(api: Api, given: str | None = None) -> str:
    """The Node this identity belongs to; `given` names it where the credentials are no kubelet's.

    Raises NoNodeName, KubeError.
    """
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    user = (await api.create(paths.SELF_SUBJECT_REVIEWS, body, _Review)).status.user_info.username
    if not user.startswith(USER_PREFIX):
        if given:
            return given
        raise NoNodeName(f"the credentials are {user!r}'s, not a kubelet's ({USER_PREFIX}NAME); or set NODE_NAME")
    name = user.removeprefix(USER_PREFIX)
    if given and given != name:
        raise NoNodeName(f"NODE_NAME is {given!r}, but the credentials are those of node {name!r}")
    return name
