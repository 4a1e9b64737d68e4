"""What the controller is started with: flags, with the environment as their default."""

import argparse
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kube_upgrade.telemetry.logs import LEVELS

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DEFAULT_NAMESPACE = "kube-upgrade"
LEASE = "upgrade-controller"  # upstream's name: the two controllers exclude each other


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`kubeconfig` None means the pod's service account; `node` is where this replica runs, if known."""

    kubeconfig: Path | None
    namespace: str
    identity: str
    node: str
    host: str
    port: int
    log_level: str


def read_settings(argv: Sequence[str], env: Mapping[str, str]) -> Settings:
    """Parse the command line. Ends the process with code 2 and a sentence where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="upgrade-controller", description="Decides which node of a KubeUpgradePlan upgrades next."
    )
    parser.add_argument("--kubeconfig", type=Path, help="default: the pod's service account, else $KUBECONFIG")
    parser.add_argument("--namespace", default=default_namespace(), help="where the Lease lives (%(default)s)")
    parser.add_argument("--identity", default=default_identity(), help="holder name in the Lease (%(default)s)")
    parser.add_argument("--node", default=env.get("NODE_NAME", ""), help="node of this replica, upgraded last")
    parser.add_argument("--listen", default="0.0.0.0:9090", help="HOST:PORT of probes and metrics (%(default)s)")
    parser.add_argument("--log-level", default=env.get("LOG_LEVEL", "info"), choices=tuple(LEVELS))
    given = parser.parse_args(argv)
    host, colon, port = given.listen.rpartition(":")
    if not colon or not port.isdecimal():
        parser.error(f"--listen: {given.listen!r} is not HOST:PORT, such as 127.0.0.1:9090")
    return Settings(
        kubeconfig=given.kubeconfig,
        namespace=given.namespace,
        identity=given.identity,
        node=given.node,
        host=host,
        port=int(port),
        log_level=given.log_level,
    )


def default_namespace() -> str:
    """The pod's own namespace, or upstream's fall-back."""
    try:
        return NAMESPACE_FILE.read_text().strip() or DEFAULT_NAMESPACE
    except OSError:
        return DEFAULT_NAMESPACE


def default_identity() -> str:
    """Unique per process, in the form client-go programs use."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"
