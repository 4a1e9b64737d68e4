"""What `rpm-ostree status` prints of a state; keys and types of domain.md 3.1."""

from typing import Any

from kube_upgrade.lab.machine_state import State, Tree


def status_json(state: State, transaction: str) -> dict[str, Any]:
    """The object that --json prints."""
    staged = [_deployment(state.staged, state)] if state.staged else []
    driver = {"driver-name": state.driver[0], "driver-sd-unit": state.driver[1]} if state.driver else None
    return {
        "deployments": staged + [_deployment(tree, state) for tree in state.trees],
        "transaction": [transaction, "client", "/org/projectatomic/rpmostree1/fedora_coreos"] if transaction else None,
        "cached-update": None,
        "update-driver": driver,
    }


def status_text(raw: dict[str, Any]) -> str:
    """A few lines for people."""
    lines = ["State: busy" if raw["transaction"] else "State: idle", "Deployments:"]
    for tree in raw["deployments"]:
        mark = "●" if tree["booted"] else " "
        note = " (staged, locked)" if tree.get("finalization-locked") else " (staged)" if tree["staged"] else ""
        lines += [f"{mark} {tree['container-image-reference']}{note}"]
        lines += [f"    Digest: {tree['container-image-reference-digest']}", f"   Version: {tree['version']}"]
    return "\n".join(lines)


def _deployment(tree: Tree, state: State) -> dict[str, Any]:
    staged = state.staged is not None and tree.id == state.staged.id
    minor = ".".join(tree.kubernetes.split(".")[:2])  # the image's label shows only the minor: domain.md 6.5
    raw: dict[str, Any] = {
        "id": f"{tree.osname}-{tree.id}",
        "osname": tree.osname,
        "checksum": tree.checksum,
        "serial": tree.serial,
        "timestamp": tree.timestamp,
        "version": minor,
        "booted": tree.id == state.booted,
        "staged": staged,
        "pinned": tree.pinned,
        "unlocked": "none",
        "container-image-reference": tree.image,
        "container-image-reference-digest": tree.digest,
        "base-commit-meta": {"ostree.manifest-digest": tree.digest},
        "requested-packages": [],
        "requested-local-packages": [],
        "base-removals": [],
    }
    return raw | ({"finalization-locked": state.locked} if staged else {})
