"""The node's container runtime, as far as kubeadm uses it: which images it has."""

import time

from kube_upgrade.lab.machine import Machine


def pull_image(machine: Machine, image: str) -> None:
    """Let the node's container runtime have the image; one that it has costs no time."""
    state = machine.read()
    if image not in state.images:
        time.sleep(state.latency.get("pull", 0.0))
        with machine.edit() as state:
            state.images = sorted({*state.images, image})
