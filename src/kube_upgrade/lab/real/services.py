"""What runs on a node, and the files that tell it how: containerd, kubelet, upgraded, and the registry that stands in
for the rest of the world."""

import subprocess
import sys
from pathlib import Path

import yaml

from kube_upgrade.lab import data
from kube_upgrade.lab.real.spec import Service
from kube_upgrade.lab.real.tools import CNI_FOLDERS

REGISTRY_PORT = 5000
REGISTRY = f"127.0.0.1:{REGISTRY_PORT}"
CRI = "unix:///run/containerd/containerd.sock"
UPGRADED = "/etc/kube-upgraded/config.yaml"
HOME = "/opt/bin"  # where deploy/node/kube-upgraded.bu unpacks the self-contained daemon
PROGRAM = f"{HOME}/upgraded/upgraded"
KUBELET = (
    "/usr/bin/kubelet",
    "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
    "--kubeconfig=/etc/kubernetes/kubelet.conf",
    "--config=/var/lib/kubelet/config.yaml",
)


def packed_daemon() -> Path | None:
    """The self-contained `upgraded`, packed, where `make binary` has made it in this checkout."""
    packed = data.folder("deploy").parent / "dist" / "upgraded.tar.gz"
    return packed if packed.is_file() else None


def unpack_daemon(packed: Path, root: Path) -> None:
    """Put it where a host has it (HOME); `root` is the node's disk."""
    folder = root / HOME.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-xzf", packed, "-C", folder], check=True, capture_output=True)


def all_services(store: Path, tags: Path, *, daemon: bool) -> tuple[Service, ...]:
    """In the order of their start, `upgraded` only where it is a `daemon` of the host."""
    registry = (*_PYTHON, "kube_upgrade.lab.real.registry", str(store), str(tags), str(REGISTRY_PORT))
    services = (
        Service(name="registry", argv=registry),
        Service(name="containerd", argv=("/usr/local/bin/containerd",)),
        Service(
            name="kubelet",
            argv=KUBELET,
            needs="/var/lib/kubelet/config.yaml",
            arguments_file="/var/lib/kubelet/kubeadm-flags.env",
        ),
    )
    return (*services, _daemon()) if daemon else services


def _daemon() -> Service:
    """The self-contained one, else this very source."""
    program = (PROGRAM,) if packed_daemon() else (*_PYTHON, "kube_upgrade.upgraded")
    return Service(name="upgraded", argv=(*program, "--config", UPGRADED), needs="/etc/kubernetes/kubelet.conf")


_PYTHON = (sys.executable, "-I", "-m")


def write_configs(root: Path, *, pods: str, sandbox: str, daemon: dict[str, object]) -> None:
    """Configuration of containerd, of its network and of `upgraded`, and what the kubelet's package brings."""
    (root / "etc/kubernetes/manifests").mkdir(parents=True)
    _write(root / "etc/containerd/config.toml", containerd_config(sandbox))
    _write(root / "etc/containerd/certs.d/_default/hosts.toml", HOSTS)
    _write(root / "etc/cni/net.d/10-lab.conflist", cni_config(pods))
    _write(root / UPGRADED.lstrip("/"), yaml.safe_dump(daemon))


HOSTS = f"""server = "http://{REGISTRY}"
[host."http://{REGISTRY}"]
  capabilities = ["pull", "resolve"]
"""


def containerd_config(sandbox: str) -> str:
    """Config version 3 of containerd 2. Without CAP_SYS_RESOURCE no oom_score_adj can be lowered."""
    folders = ", ".join(f'"{folder}"' for folder in CNI_FOLDERS)
    return f"""version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{sandbox}"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = [{folders}]
  conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false
"""


def cni_config(pods: str) -> str:
    """A bridge on each node; the lab's router knows which node has which pods."""
    return f"""{{"cniVersion": "1.0.0", "name": "lab", "plugins": [
 {{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
  "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{pods}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
 {{"type": "portmap", "capabilities": {{"portMappings": true}}}}]}}
"""


def daemon_config(ignored: list[str]) -> dict[str, object]:
    """config.yaml of `upgraded`: the defaults, but for what this kernel lacks."""
    return {"probes": "127.0.0.1:9091", "ignorePreflightErrors": ignored}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
