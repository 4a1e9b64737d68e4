"""ConfigMap kube-system/kubeadm-config: only the cluster's version is read (domain: 4.7)."""

import re

import msgspec

from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.errors import NotFound
from kube_upgrade.kube.wire.node import version_or_none
from kube_upgrade.model.version import KubeVersion

PATH = paths.configmap("kube-system", "kubeadm-config")
# The document is YAML that kubeadm writes; this field stands alone on a line at its top level.
_VERSION = re.compile(r'^kubernetesVersion:\s*"?([^\s"]+)', re.MULTILINE)


class ConfigMapObject(msgspec.Struct, frozen=True):
    """A core/v1 ConfigMap, reduced."""

    data: dict[str, str] = {}


def cluster_version(wire: ConfigMapObject) -> KubeVersion | None:
    """kubernetesVersion of the ClusterConfiguration, if there is one."""
    found = _VERSION.search(wire.data.get("ClusterConfiguration", ""))
    return version_or_none(found.group(1)) if found else None


async def read_cluster_version(api: Api) -> KubeVersion | None:
    """The same, asked of the API server; None where the ConfigMap is not there."""
    try:
        return cluster_version(await api.get(PATH, ConfigMapObject))
    except NotFound:
        return None
