"""The programs that real nodes run, beside what the machine itself has: made once, cached by version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kube_upgrade.lab.binaries import Binaries, NoBinaries, Sources, find_or_make_of
from kube_upgrade.lab.pins import CONTAINERD, COREDNS, ETCD, ETCD_36, KUBERNETES_OF, WORKLOADS
from kube_upgrade.lab.progress import Progress

DEFAULT = ("v1.36.3", "v1.37.2")


@dataclass(frozen=True, slots=True, kw_only=True)
class RealBinaries:
    """Kubernetes by version; etcd by minor ("3.6"); the rest is the same for all of them."""

    kubernetes: Mapping[str, Binaries]
    etcd: Mapping[str, Binaries]
    containerd: Binaries
    coredns: Binaries
    workloads: Binaries


def find_or_make(versions: Sequence[str] = DEFAULT, progress: Progress | None = None) -> RealBinaries:
    """All programs for these Kubernetes versions. Raises NoBinaries; it names the versions that are pinned."""
    progress = progress or Progress()
    for version in versions:
        if version not in KUBERNETES_OF:
            raise NoBinaries(
                f"Kubernetes {version} is not pinned for real nodes; pinned are {', '.join(KUBERNETES_OF)}"
            )
    sources = Sources.of_this_machine()
    return RealBinaries(
        containerd=find_or_make_of(CONTAINERD, sources=sources, progress=progress),
        etcd={
            "3.6": find_or_make_of(ETCD_36, sources=sources, progress=progress),
            "3.7": find_or_make_of(ETCD, sources=sources, progress=progress),
        },
        coredns=find_or_make_of(COREDNS, sources=sources, progress=progress),
        workloads=find_or_make_of(WORKLOADS, sources=sources, progress=progress),
        kubernetes={
            version: find_or_make_of(KUBERNETES_OF[version], sources=sources, progress=progress) for version in versions
        },
    )
