"""A program outside the cluster under a service account's rights: TokenRequest → kubeconfig with that token."""

import json
from pathlib import Path

import msgspec
import yaml

from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api

_SECONDS = 24 * 3600


class _TokenStatus(msgspec.Struct, frozen=True):
    token: str


class _TokenRequest(msgspec.Struct, frozen=True):
    status: _TokenStatus


async def service_account_token(api: Api, namespace: str, name: str) -> str:
    """A token of this service account, good for a day. Raises KubeError."""
    path = f"{paths.namespace(namespace)}/serviceaccounts/{name}/token"
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _SECONDS},
    }
    return (await api.create(path, body, _TokenRequest)).status.token


def write_kubeconfig(target: Path, admin: Path, namespace: str, name: str, token: str) -> Path:
    """A kubeconfig with this token and nothing else (mode 0600); the server is that of the kubeconfig `admin`."""
    cluster = yaml.safe_load(admin.read_text())["clusters"][0]["cluster"]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name, "namespace": namespace}}],
        "current-context": "lab",
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch(mode=0o600)
    target.write_text(json.dumps(config, indent=2))  # JSON is YAML
    return target
