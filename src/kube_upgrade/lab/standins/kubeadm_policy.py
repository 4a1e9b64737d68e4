"""Which versions kubeadm accepts (domain.md 4.8), in its own sentences."""

from collections.abc import Iterable

from kube_upgrade.lab.images import all_images
from kube_upgrade.lab.machine_state import Refused
from kube_upgrade.model.version import KubeVersion

_BYPASS = "Can be bypassed if you pass the --force flag"
_FIX = "Please fix the misalignments highlighted above and try upgrading again"


def too_old_cluster(own: KubeVersion, current: KubeVersion) -> str:
    """The sentence where this kubeadm cannot work on a cluster of that version; empty where it can."""
    if current.minor >= own.minor - 1:
        return ""
    return (
        "this version of kubeadm only supports deploying clusters with the control plane version "
        f">= {own.major}.{own.minor - 1}.0. Current version: {current}"
    )


def check_target(
    own: KubeVersion, cluster: KubeVersion, target: KubeVersion, kubelets: Iterable[KubeVersion], *, force: bool
) -> None:
    """Raise Refused where the step is not allowed; `force` lets the lesser errors pass."""
    if sentence := too_old_cluster(own, target):
        raise Refused(f"error execution phase preflight: {sentence}")
    if fatal := _fatal(own, cluster, target):
        raise _invalid("these fatal errors", fatal, _FIX)
    lesser = _skippable(own, target, kubelets)
    if lesser and not force:
        raise _invalid("these errors", lesser, _BYPASS)


def check_addons(own: KubeVersion, cluster: KubeVersion) -> None:
    """A kubeadm older than the cluster does not know its CoreDNS. Raises Refused after printing the two checks."""
    if own.minor >= cluster.minor:
        return
    coredns = next(image.rpartition(":v")[2] for image in all_images(cluster) if "/coredns" in image)
    raise PreflightFailed(
        f"[ERROR CoreDNSUnsupportedPlugins]: start version '{coredns}' not supported",
        f"[ERROR CoreDNSMigration]: CoreDNS will not be upgraded: start version '{coredns}' not supported",
    )


class PreflightFailed(Refused):
    """Some checks failed: kubeadm lists them before its last line."""

    def __init__(self, *checks: str) -> None:
        before = ("[preflight] Some fatal errors occurred:", *(f"\t{check}" for check in checks))
        super().__init__("error execution phase preflight: preflight checks failed", before)


def _fatal(own: KubeVersion, cluster: KubeVersion, target: KubeVersion) -> list[str]:
    said = f'Specified version to upgrade to "{target}"'
    found = []
    if target.minor > cluster.minor + 1:
        found.append(f"{said} is too high; kubeadm can upgrade only 1 minor version at a time")
    if target.minor < cluster.minor - 1:
        found.append(f"{said} is too low; kubeadm can downgrade only 1 minor version at a time")
    if target.minor > own.minor:
        found.append(
            f"{said} is at least one minor release higher than the kubeadm minor release "
            f"({target.minor} > {own.minor}). Such an upgrade is not supported"
        )
    return found


def _skippable(own: KubeVersion, target: KubeVersion, kubelets: Iterable[KubeVersion]) -> list[str]:
    said = f'Specified version to upgrade to "{target}"'
    found = []
    if target.release == own.release and target > own:
        found.append(
            f'{said} is higher than the kubeadm version "{own}". '
            "Upgrade kubeadm first using the tool you used to install kubeadm"
        )
    if own.minor > target.minor:
        major, minor = own.release
        found.append(f"Kubeadm version {own} can only be used to upgrade to Kubernetes version {major}.{minor}")
    if target.pre:
        found.append(
            f"{said} is an unstable version and such upgrades weren't allowed via the --allow-*-upgrades flags"
        )
    if old := sorted({str(kubelet) for kubelet in kubelets if target.minors_above(kubelet) > 3}):
        found.append(f"There are kubelets in this cluster that are too old that have these versions {old}")
    return found


def _invalid(what: str, errors: list[str], way_out: str) -> Refused:
    listed = "\n".join(f"\t- {error}" for error in errors)
    return Refused(
        f"error execution phase preflight: the version argument is invalid due to {what}:\n\n{listed}\n\n{way_out}"
    )
