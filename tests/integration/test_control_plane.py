"""The real control plane of lab and tests keeps what the lab promises of it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kube_upgrade.lab import proc
from kube_upgrade.lab.binaries import Binaries
from kube_upgrade.lab.control_plane import ControlPlane, KubectlFailed
from kube_upgrade.lab.runs import Run

pytestmark = pytest.mark.cluster

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: NAMESPACE}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: app}]}
"""


@pytest.mark.timeout(120)  # its watches back off where the API server was just away
def test_apply_creates_what_controllers_then_fill(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("apply", "-f", "-", input=DEPLOYMENT.replace("NAMESPACE", namespace))
    control_plane.kubectl(
        "wait", "pod", "--selector=app=app", "--for=create", "--timeout=90s", "--namespace", namespace, timeout=100.0
    )


def test_apply_refuses_an_unknown_field_by_name(control_plane: ControlPlane, namespace: str) -> None:
    manifest = DEPLOYMENT.replace("NAMESPACE", namespace).replace("replicas", "replicaz")
    with pytest.raises(KubectlFailed, match="replicaz"):
        control_plane.kubectl("apply", "-f", "-", input=manifest)


@pytest.fixture
def nodes(control_plane: ControlPlane) -> Iterator[tuple[str, str]]:
    """Two nodes, each created by its own kubelet's identity."""
    names = ("restricted-a", "restricted-b")
    for name in names:
        manifest = json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        control_plane.kubectl("create", "-f", "-", input=manifest, kubeconfig=kubelet(control_plane, name))
    yield names
    control_plane.kubectl("delete", "node", *names)


def kubelet(control_plane: ControlPlane, node: str) -> Path:
    return control_plane.kubeconfig(node, f"system:node:{node}", ["system:nodes"])


def test_a_node_annotates_itself_and_no_other(control_plane: ControlPlane, nodes: tuple[str, str]) -> None:
    mine, other = nodes
    as_node = kubelet(control_plane, mine)
    control_plane.kubectl("annotate", "node", mine, "lab.example/a=1", kubeconfig=as_node)
    with pytest.raises(KubectlFailed, match="Forbidden"):
        control_plane.kubectl("annotate", "node", other, "lab.example/a=1", kubeconfig=as_node)


def test_a_node_may_not_set_reserved_labels_or_list_secrets(
    control_plane: ControlPlane, nodes: tuple[str, str]
) -> None:
    as_node = kubelet(control_plane, nodes[0])
    with pytest.raises(KubectlFailed, match="node-restriction"):
        control_plane.kubectl("label", "node", nodes[0], "node-restriction.kubernetes.io/x=1", kubeconfig=as_node)
    with pytest.raises(KubectlFailed, match="Forbidden"):
        control_plane.kubectl("get", "secrets", "--all-namespaces", kubeconfig=as_node)


def test_a_user_of_no_group_may_nothing(control_plane: ControlPlane) -> None:
    nobody = control_plane.kubeconfig("nobody", "nobody")
    with pytest.raises(KubectlFailed, match="Forbidden"):
        control_plane.kubectl("get", "nodes", kubeconfig=nobody)
    assert nobody.stat().st_mode & 0o077 == 0, "a kubeconfig holds a private key"


@pytest.fixture
def own_plane(binaries: Binaries, tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane that the test may stop."""
    with Run.open("own", base=tmp_path / "runs") as run, ControlPlane.start(run, binaries) as plane:
        yield plane


@pytest.mark.parametrize("kill", [False, True], ids=["orderly", "crash"])
def test_the_api_comes_back_on_its_port_with_what_it_had(own_plane: ControlPlane, kill: bool) -> None:
    plane = own_plane
    plane.kubectl("create", "namespace", "kept")
    url = plane.url
    plane.stop_apiserver(kill=kill)
    assert not plane.ready()
    with pytest.raises(KubectlFailed, match="refused"):
        plane.kubectl("get", "namespace", "kept")
    plane.start_apiserver()
    assert plane.url == url
    plane.kubectl("get", "namespace", "kept")


def test_nothing_is_left_after_stop_and_close(binaries: Binaries, tmp_path: Path) -> None:
    with Run.open("own", base=tmp_path / "runs") as run:
        plane = ControlPlane.start(run, binaries)
        pids = [service.pid for service in plane.services.values()]
        assert len(pids) == 4
        assert None not in pids
        plane.stop()
        assert proc.belonging({}, str(run.folder)) == []
    assert not run.folder.exists()


@pytest.mark.timeout(180)
def test_it_starts_in_under_ten_seconds(binaries: Binaries) -> None:
    """The best of three: others may be using this machine."""
    seconds: list[float] = []
    while len(seconds) < 3 and not any(each < 10 for each in seconds):
        began = time.monotonic()
        with Run.open("start") as run, ControlPlane.start(run, binaries):
            seconds.append(time.monotonic() - began)

    assert min(seconds) < 10
