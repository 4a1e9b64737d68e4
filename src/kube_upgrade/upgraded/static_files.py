"""What kubeadm left on the disk: static pod manifests, and the API server that kubelet.conf points at."""

import re
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from kube_upgrade.host.kubeadm import MANIFESTS
from kube_upgrade.host.paths import on_host
from kube_upgrade.model.pod import STATIC_PODS
from kube_upgrade.model.version import KubeVersion

CRI_FILE = "/var/lib/kubelet/instance-config.yaml"
CRI_SOCKETS = ("/var/run/crio/crio.sock", "/var/run/containerd/containerd.sock")
_IMAGE = re.compile(r"^\s*-?\s*image:\s*[\"']?([^\"'\s@]+)", re.MULTILINE)
_ADVERTISED = re.compile(r"--advertise-address=([^\s\"']+)")


def manifest_versions(root: Path) -> dict[str, KubeVersion]:
    """Version of each static pod of the control plane by its file's image tag; what has none is left out."""
    found = {}
    for name in STATIC_PODS:
        image = _IMAGE.search(_read(root, f"{MANIFESTS}/{name}.yaml"))
        if image and (version := KubeVersion.of_image(image.group(1))):
            found[name] = version
    return found


def kubelet_server(root: Path, kubeconfig: str) -> str:
    """`server` of the first cluster in kubelet.conf; empty where it cannot be read."""
    try:
        config = yaml.safe_load(_read(root, kubeconfig))
        server = config["clusters"][0]["cluster"]["server"]
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        return ""
    return server if isinstance(server, str) else ""


def is_local(root: Path, server: str) -> bool | None:
    """True where this server is the node's own API server: loopback, or the address that its manifest advertises.

    An address on one of our interfaces is not enough: it may be the virtual one that moves between control planes.
    """
    host = urlsplit(server).hostname
    if not host:
        return None
    advertised = _ADVERTISED.search(_read(root, f"{MANIFESTS}/kube-apiserver.yaml"))
    return host == "localhost" or _loopback(host) or (advertised is not None and advertised.group(1) == host)


def cri_socket(root: Path) -> str:
    """The container runtime's socket as kubeadm finds it: the kubelet's own setting, then those that exist."""
    try:
        config = yaml.safe_load(_read(root, CRI_FILE))
    except yaml.YAMLError:
        config = None
    endpoint = config.get("containerRuntimeEndpoint") if isinstance(config, dict) else None
    if isinstance(endpoint, str) and endpoint:
        return endpoint
    there = next((path for path in CRI_SOCKETS if on_host(root, path).exists()), CRI_SOCKETS[-1])
    return f"unix://{there}"


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _read(root: Path, path: str) -> str:
    try:
        return on_host(root, path).read_text()
    except (OSError, UnicodeDecodeError):
        return ""
