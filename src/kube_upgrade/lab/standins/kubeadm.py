"""kubeadm of one version: version, config images list/pull, upgrade apply, upgrade node (domain.md 4, recordings)."""

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from kube_upgrade.lab.images import all_images
from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Refused
from kube_upgrade.lab.standins.common import options_of, stumble
from kube_upgrade.lab.standins.container_runtime import pull_image
from kube_upgrade.model.version import BadVersion, KubeVersion

_KUBERNETES_VERSION = re.compile(r"^kubernetesVersion:\s*(\S+)\s*$", re.MULTILINE)
_WITH_VALUE = ("--rootfs", "--config", "--cri-socket", "--patches", "--kubeconfig", "-o", "--output", "--v")


def main() -> None:
    """`--machine FOLDER --version=VERSION` come from the deployment's wrapper, the rest from the caller."""
    _, folder, version, *given = sys.argv[1:]
    words, values = _sorted_out(given)
    machine, own = Machine(Path(folder)), KubeVersion.parse(version.removeprefix("--version="))
    if words[:1] == ["upgrade"]:
        with machine.edit() as state:
            state.upgrades += 1
    try:
        code = stumble(machine, "kubeadm", words)
        sys.exit(_kubeadm(machine, own, words, values) if code is None else code)
    except Refused as refused:
        for line in refused.before:
            print(line, file=sys.stderr)
        print(f"error: {refused}", file=sys.stderr)
        print("To see the stack trace of this error execute with --v=5 or higher", file=sys.stderr)
        sys.exit(1)


def _kubeadm(machine: Machine, own: KubeVersion, arguments: Sequence[str], values: dict[str, str]) -> int:
    options, words = options_of(arguments)
    match words:
        case ["version"]:
            _print_version(own, values.get("-o", values.get("--output", "")))
        case ["config", "images", "list"]:
            print("\n".join(all_images(own)))
        case ["config", "images", "pull"]:
            _pull(machine, own, values.get("--config"))
        case ["upgrade", "apply", target]:
            _apply(machine, own, target, options)
        case ["upgrade", "node"]:
            _node(machine, own, options)
        case _:
            raise Refused(f'unknown command "{" ".join(words)}" for "kubeadm"')
    return 0


def _apply(machine: Machine, own: KubeVersion, target: str, options: set[str]) -> None:
    from kube_upgrade.lab.standins.kubeadm_upgrade import upgrade_apply  # noqa: PLC0415 - half a second of imports

    _known(options, "--yes", "-y", "--force", "-f", "--dry-run", "--certificate-renewal", "--etcd-upgrade")
    try:
        wanted = KubeVersion.parse(target)
    except BadVersion:
        raise Refused(
            f'error execution phase preflight: version "{target}" doesn\'t match patterns for neither semantic '
            "version nor labels (stable, latest, ...)"
        ) from None
    asyncio.run(upgrade_apply(machine, own, wanted, options))


def _node(machine: Machine, own: KubeVersion, options: set[str]) -> None:
    from kube_upgrade.lab.standins.kubeadm_upgrade import upgrade_node  # noqa: PLC0415 - half a second of imports

    _known(options, "--dry-run", "--certificate-renewal", "--etcd-upgrade")
    asyncio.run(upgrade_node(machine, own))


def _known(options: set[str], *known: str) -> None:
    """Unknown flags are refused as cobra does."""
    allowed = (*known, "--ignore-preflight-errors", "--allow-release-candidate-upgrades", "--skip-phases")
    for option in sorted(options):
        if option.partition("=")[0] not in allowed:
            raise Refused(f"unknown flag: {option}")


def _print_version(own: KubeVersion, output: str) -> None:
    if output == "short":
        print(own)
        return
    told = {"major": str(own.major), "minor": str(own.minor), "gitVersion": str(own), "gitTreeState": "clean"}
    print(json.dumps({"clientVersion": told}, indent=2))


def _pull(machine: Machine, own: KubeVersion, config: str | None) -> None:
    """Pull what the configuration file's version needs; without a file, what this kubeadm's version does."""
    version = own
    if config is not None:
        path = machine.root / config.lstrip("/")
        try:
            found = _KUBERNETES_VERSION.search(path.read_text())
        except OSError as error:
            raise Refused(f"couldn't read configuration from {config}: {error.strerror}") from error
        version = KubeVersion.parse(found.group(1)) if found else own
    for image in all_images(version):
        pull_image(machine, image)
        print(f"[config/images] Pulled {image}", flush=True)


def _sorted_out(given: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The words and plain options, and the options that carry a value of their own."""
    words: list[str] = []
    values: dict[str, str] = {}
    waiting = iter(given)
    for word in waiting:
        name, equals, value = word.partition("=")
        if name in _WITH_VALUE:
            values[name] = value if equals else next(waiting, "")
        else:
            words.append(word)
    return words, values


if __name__ == "__main__":
    main()
