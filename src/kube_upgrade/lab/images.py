"""Which images a Kubernetes version brings: `kubeadm config images list` of 1.35.4, 1.36.3 and 1.37.2."""

from kube_upgrade.model.version import KubeVersion

REPOSITORY = "registry.k8s.io"
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")  # in kubeadm's order

# Minor: tags of etcd, CoreDNS and pause. A version outside the table has those of its nearest neighbour.
_TAGS = {
    35: ("3.6.6-0", "v1.13.1", "3.10.1"),
    36: ("3.6.8-0", "v1.14.2", "3.10.2"),
    37: ("3.7.0-0", "v1.14.6", "3.10.2"),
}


def component_image(component: str, version: KubeVersion) -> str:
    """Image of one static pod of the control plane."""
    tag = _tags(version)[0] if component == "etcd" else str(version)
    return f"{REPOSITORY}/{component}:{tag}"


def all_images(version: KubeVersion) -> tuple[str, ...]:
    """All images of a version, in kubeadm's order."""
    etcd, coredns, pause = _tags(version)
    kubernetes = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
    return (
        *(f"{REPOSITORY}/{name}:{version}" for name in kubernetes),
        f"{REPOSITORY}/coredns/coredns:{coredns}",
        f"{REPOSITORY}/pause:{pause}",
        f"{REPOSITORY}/etcd:{etcd}",
    )


def _tags(version: KubeVersion) -> tuple[str, str, str]:
    return _TAGS[min(max(version.minor, min(_TAGS)), max(_TAGS))]
