"""kubeadm's kubelet-config phase: keep a copy of the old configuration, write the new one."""

import time
from pathlib import Path

from kube_upgrade.lab.machine_state import Refused
from kube_upgrade.lab.standins.kubeadm_faults import RecordedFault


def stamp() -> str:
    """The time in kubeadm's folder names, to the second: two runs within one second collide."""
    return time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime())


def write_kubelet_config(root: Path, text: str, fault: RecordedFault | None) -> None:
    """Write /var/lib/kubelet/config.yaml. Raises Refused where this second's copy exists already."""
    copy = f"etc/kubernetes/tmp/kubeadm-kubelet-config-{stamp()}"
    if fault is RecordedFault.TIMESTAMP:
        (root / copy).mkdir(parents=True, exist_ok=True)
    try:
        (root / copy).mkdir(parents=True)
    except FileExistsError:
        raise Refused(
            f"error execution phase kubelet-config: could not create timestamp directory: mkdir /{copy}: file exists"
        ) from None
    print(f"[upgrade] Backing up kubelet config file to /{copy}/config.yaml")
    config = root / "var/lib/kubelet/config.yaml"
    if config.exists():
        (root / copy / "config.yaml").write_text(config.read_text())
    print('[kubelet-start] Writing kubelet configuration to file "/var/lib/kubelet/config.yaml"')
    new = config.with_suffix(".new")
    new.write_text(text)
    new.replace(config)
    print("[upgrade/kubelet-config] The kubelet configuration for this node was successfully upgraded!", flush=True)
