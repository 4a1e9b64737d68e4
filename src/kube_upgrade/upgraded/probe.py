"""Asks the kubelet and the API server of this very node whether they are well."""

import ssl
from pathlib import Path

import httpx2

from kube_upgrade.host.paths import on_host

CLUSTER_CA = "/etc/kubernetes/pki/ca.crt"
SECONDS = 3.0


async def kubelet_healthy(url: str) -> bool | None:
    """True where its healthz says so; None where the setting is empty."""
    return await _ok(url, verify=True) if url else None


async def api_server_ready(url: str, root: Path) -> bool | None:
    """True where /readyz of this node's own API server says so; None where the setting is empty.

    It is asked on loopback, which its certificate need not name: the certificate must be the cluster's, no more.
    """
    if not url:
        return None
    try:
        context = ssl.create_default_context(cafile=str(on_host(root, CLUSTER_CA)))
    except (OSError, ssl.SSLError):
        return False
    context.check_hostname = False
    return await _ok(f"{url}/readyz", verify=context)


async def _ok(url: str, *, verify: ssl.SSLContext | bool) -> bool:
    try:
        async with httpx2.AsyncClient(verify=verify, timeout=SECONDS, trust_env=False) as http:
            return (await http.get(url)).status_code == 200
    except (httpx2.HTTPError, OSError):
        return False
