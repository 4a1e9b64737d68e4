"""PID 1 of a node reads what kubeadm leaves for the kubelet's unit."""

import subprocess
import sys
from pathlib import Path

from kube_upgrade.lab.real.init import AGAIN, Unit, more_arguments, start_due
from kube_upgrade.lab.real.spec import Service


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


def test_a_service_that_cannot_be_started_is_tried_again_a_second_later() -> None:
    """Its program is missing, say: PID 1 waits instead of trying without a pause."""
    tried: list[str] = []

    def spawn(service: Service) -> int:
        tried.append(service.name)
        return 0 if service.name == "broken" else 7

    units = [
        Unit(Service(name=name, argv=("/x",)), wanted=name != "unwanted") for name in ("good", "broken", "unwanted")
    ]
    assert start_due(units, 100.0, spawn) == AGAIN
    assert start_due(units, 100.5, spawn) == AGAIN - 0.5
    assert tried == ["good", "broken"]
    assert start_due(units, 101.0, spawn) == AGAIN
    assert tried == ["good", "broken", "broken"]
    assert start_due(units[:1], 101.0, spawn) is None


def test_it_runs_as_pid_1_only(tmp_path: Path) -> None:
    """The spec is not even looked at: what follows mounts over the root and signals everybody."""
    argv = [sys.executable, "-m", "kube_upgrade.lab.real.init", str(tmp_path / "none.json")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "PID 1 of a node" in done.stderr
