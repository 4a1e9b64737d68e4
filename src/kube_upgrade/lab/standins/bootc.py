"""bootc over the machine's state: status, upgrade, switch (domain.md 3.11)."""

import json
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from kube_upgrade.lab import machine_state as rules
from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Refused, State, Tree
from kube_upgrade.lab.standins.common import Command, run

_SIGNED, _UNVERIFIED = "ostree-image-signed:registry:", "ostree-unverified-registry:"
_NO_CHANGES = "No changes in: {}"


def status(machine: Machine, arguments: Sequence[str]) -> int:
    """The BootcHost object; only as JSON here."""
    if "--format=json" not in arguments:
        raise Refused("only --format=json is known here")
    print(json.dumps(host_json(machine.read()), indent=2))
    return 0


def upgrade(machine: Machine, arguments: Sequence[str]) -> int:
    """The newest image of the tag, or of `--tag`; `--download-only` stages it locked; `--from-downloaded` unlocks."""
    words = list(arguments)
    tag = words[words.index("--tag") + 1] if "--tag" in words else ""
    if "--from-downloaded" in words:
        with machine.edit() as state:
            rules.set_lock(state, locked=False)
    else:
        image = machine.read().first.image
        wanted = f"{image.rpartition(':')[0]}:{tag}" if tag else image
        _stage(machine, wanted, locked="--download-only" in words)
    _apply(machine, words)
    return 0


def switch(machine: Machine, arguments: Sequence[str]) -> int:
    """Another image; it is staged unlocked."""
    image = next(word for word in arguments if not word.startswith("-"))
    prefix = _SIGNED if "--enforce-container-sigpolicy" in arguments else _UNVERIFIED
    if machine.read().first.image.partition(":")[2].removeprefix("registry:") == image:
        print("Image specification is unchanged.")
        return 0
    _stage(machine, f"{prefix}{image}", locked=False)
    _apply(machine, arguments)
    return 0


def _stage(machine: Machine, image: str, *, locked: bool) -> None:
    from kube_upgrade.lab.standins.pull import pull  # noqa: PLC0415 - HTTP takes as long to import as all else

    pulled = pull(image, None)
    time.sleep(machine.read().latency.get("stage", 0.0))
    first = machine.read().first
    if pulled.digest == first.digest and first.image == image:
        print(_NO_CHANGES.format(image))
        return
    machine.stage(image, pulled.digest, pulled.kubernetes, locked=locked)
    print(f"Queued for next boot: {image}")


def _apply(machine: Machine, words: Sequence[str]) -> None:
    if "--apply" not in words:
        return
    fault = machine.take_fault("finalize")
    if fault is None or fault.mode != "no-reboot":
        machine.request_reboot()


def host_json(state: State) -> dict[str, Any]:
    """What `bootc status --format=json` prints of a state."""
    booted = state.booted_tree
    at = state.trees.index(booted)
    others = [tree for tree in state.trees if tree is not booted]
    queued = at > 0
    return {
        "apiVersion": "org.containers.bootc/v1",
        "kind": "BootcHost",
        "metadata": {"name": "host"},
        "spec": {"image": _image(state.first)["image"], "bootOrder": "rollback" if queued else "default"},
        "status": {
            "staged": _entry(state.staged, locked=state.locked) if state.staged else None,
            "booted": _entry(booted),
            "rollback": _entry(others[0]) if others else None,
            "rollbackQueued": queued,
            "type": "bootcHost",
        },
    }


def _entry(tree: Tree, *, locked: bool = False) -> dict[str, Any]:
    return {
        "image": _image(tree),
        "cachedUpdate": None,
        "incompatible": False,
        "pinned": tree.pinned,
        "softRebootCapable": False,
        "downloadOnly": locked,
        "store": "ostreeContainer",
        "ostree": {"stateroot": tree.osname, "checksum": tree.checksum, "deploySerial": tree.serial},
    }


def _image(tree: Tree) -> dict[str, Any]:
    prefix = _SIGNED if tree.image.startswith(_SIGNED) else _UNVERIFIED
    signature = "containerPolicy" if prefix == _SIGNED else "insecure"
    return {
        "image": {"image": tree.image.removeprefix(prefix), "transport": "registry", "signature": signature},
        "version": ".".join(tree.kubernetes.split(".")[:2]),
        "timestamp": None,
        "imageDigest": tree.digest,
        "architecture": "amd64",
    }


COMMANDS: Mapping[str, Command] = MappingProxyType({"status": status, "upgrade": upgrade, "switch": switch})


def bootc(machine: Machine, arguments: Sequence[str]) -> int:
    """One of COMMANDS."""
    verb = arguments[0] if arguments else ""
    if verb not in COMMANDS:
        raise Refused(f"unrecognized subcommand '{verb}'")
    return COMMANDS[verb](machine, arguments[1:])


if __name__ == "__main__":
    run("bootc", bootc)
