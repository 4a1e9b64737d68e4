"""PID 1 of a node reads what kubeadm leaves for the kubelet's unit."""

from pathlib import Path

from kube_upgrade.lab.real.init import more_arguments


def test_the_kubelet_gets_kubeadms_flags(tmp_path: Path) -> None:
    flags = tmp_path / "kubeadm-flags.env"
    flags.write_text(
        'KUBELET_KUBEADM_ARGS="--node-ip=172.30.0.11 --pod-infra-container-image=registry.k8s.io/pause:3.10"\n'
    )
    assert more_arguments(str(flags)) == [
        "--node-ip=172.30.0.11",
        "--pod-infra-container-image=registry.k8s.io/pause:3.10",
    ]


def test_without_the_file_there_are_none(tmp_path: Path) -> None:
    assert more_arguments(str(tmp_path / "none")) == []
    assert more_arguments("") == []
