"""What the daemon may rely on from kubeadm: reasons in words from recorded output, the same from the stand-in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kube_upgrade.host.drivers import KubeadmError
from kube_upgrade.host.kubeadm import Kubeadm, is_control_plane
from kube_upgrade.host.kubeadm_output import problem_in
from kube_upgrade.host.plain_jobs import PlainJobs
from kube_upgrade.host.runner import SubprocessRunner
from kube_upgrade.lab.images import component_image
from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Fault
from kube_upgrade.model.kubeadm import KubeadmProblem
from kube_upgrade.model.version import KubeVersion
from support.memory_api import MemoryApi
from support.memory_server import mirror, serve, write_kubeconfig
from support.replay import FIXTURES, Replay, ReplayJobs, kubeadm_case, said

OLD, NEW = KubeVersion.parse("v1.36.3"), KubeVersion.parse("v1.37.2")
CONFIGMAPS = "/api/v1/namespaces/kube-system/configmaps"
CONFIGURATION = (
    "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: {}\nclusterName: e2e\n"
)

RECORDED = {
    "02-apply-bad-version": KubeadmProblem.USAGE,
    "02-apply-downgrade-minor": KubeadmProblem.VERSION_SKEW,
    "02-apply-older-kubeadm-minor": KubeadmProblem.VERSION_SKEW,
    "02-apply-older-kubeadm-patch": KubeadmProblem.VERSION_SKEW,
    "02-apply-on-worker": KubeadmProblem.NOT_CONTROL_PLANE,
    "02-apply-unknown-flag": KubeadmProblem.USAGE,
    "03-apply-image-missing": KubeadmProblem.IMAGE_PULL,
    "03-apply-newer-than-kubeadm-minor": KubeadmProblem.VERSION_SKEW,
    "03-apply-newer-than-kubeadm-patch": KubeadmProblem.VERSION_SKEW,
    "03-apply-no-yes-stdin-null": KubeadmProblem.USAGE,
    "03-apply-nothing-ignored": KubeadmProblem.PREFLIGHT,
    "03-upgrade-node-worker-nothing-ignored": KubeadmProblem.PREFLIGHT,
    "05-upgrade-node-worker-again": KubeadmProblem.TIMESTAMP_COLLISION,
    "06-apply-downgrade-2-minors": KubeadmProblem.VERSION_SKEW,
    "06-apply-downgrade-minor": KubeadmProblem.VERSION_SKEW,
    "06-old-kubeadm-apply-own-version": KubeadmProblem.KUBEADM_TOO_OLD,
    "10-apply-skip-minor-1.35.4-to-1.37.2": KubeadmProblem.VERSION_SKEW,
    "10-upgrade-node-skip-minor-worker": KubeadmProblem.VERSION_SKEW,
    "30-apply-etcd-step-times-out-rollback": KubeadmProblem.ETCD_ROLLED_BACK,
    "31-apply-apiserver-never-serves-rollback": KubeadmProblem.CONTROL_PLANE_ROLLED_BACK,
}


def test_every_recorded_failure_has_its_reason() -> None:
    failed = {path.stem for path in (FIXTURES / "kubeadm").glob("*.rc") if path.read_text().strip() != "0"}
    assert failed == set(RECORDED)


@pytest.mark.parametrize(("case", "problem"), RECORDED.items())
async def test_a_recorded_failure_is_raised_with_its_reason(case: str, problem: KubeadmProblem) -> None:
    runner = Replay(answers={"version": [said("v1.37.2\n")], "upgrade": [kubeadm_case(case)]})
    with pytest.raises(KubeadmError) as failed:
        await Kubeadm(runner, ReplayJobs(replay=runner), Path("/k")).upgrade_apply(NEW, "1")
    assert (failed.value.kind, failed.value.code) == (problem, 1)
    assert 20 < len(failed.value.message) < 700
    assert ("docs/reference/etcd.md" in failed.value.message) is (problem is KubeadmProblem.ETCD_ROLLED_BACK)


@pytest.mark.parametrize("case", ["04-apply-1.36.3-to-1.37.2", "05-upgrade-node-worker"])
async def test_a_recorded_success_is_one_whatever_stderr_says(case: str) -> None:
    runner = Replay(answers={"version": [said("v1.37.2\n")], "upgrade": [kubeadm_case(case)]})
    done = await Kubeadm(runner, ReplayJobs(replay=runner), Path("/k")).upgrade_node(NEW, "1")
    assert done.code == 0
    assert done.err


async def test_the_owners_options_go_to_every_upgrade_and_only_there() -> None:
    runner = Replay(
        answers={
            "version": [said("v1.37.2\n")],
            "upgrade": [kubeadm_case("05-upgrade-node-worker")],
            "config": [said()],
        }
    )
    driver = Kubeadm(runner, ReplayJobs(replay=runner), Path("/k"), options=("--patches", "/etc/patches"))
    await driver.upgrade_apply(NEW, "1")
    await driver.upgrade_node(NEW, "2")
    await driver.images_pull(Path("/c"), "unix:///s")
    with_patches = [line[:2] for line in runner.ran if line[-2:] == ("--patches", "/etc/patches")]
    assert with_patches == [("upgrade", "apply"), ("upgrade", "node")]


@dataclass(kw_only=True)
class Node:
    """A machine with the new version staged, in a cluster at the old one."""

    machine: Machine
    memory: MemoryApi
    kubeadm: Kubeadm

    def cluster_version(self) -> str:
        text = self.memory.get(f"{CONFIGMAPS}/kubeadm-config")["data"]["ClusterConfiguration"]
        assert "clusterName: e2e" in text
        return str(text.split("kubernetesVersion: ")[1].split("\n")[0])

    def image(self, component: str) -> str:
        text = (self.machine.root / f"etc/kubernetes/manifests/{component}.yaml").read_text()
        return text.split("image: ")[1].split("\n")[0]


@pytest.fixture(params=[True, False], ids=["control-plane", "worker"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    yield from _node(tmp_path, control_plane=request.param)


@pytest.fixture
def control_plane_node(tmp_path: Path) -> Iterator[Node]:
    yield from _node(tmp_path, control_plane=True)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Node]:
    yield from _node(tmp_path, control_plane=False)


def _node(folder: Path, *, control_plane: bool) -> Iterator[Node]:
    machine = Machine.create(
        folder / "m", "n", image="r/os:v1.36.3", version=str(OLD), digest="sha256:1", control_plane=control_plane
    )
    staged = machine.stage("r/os:v1.37.2", "sha256:2", str(NEW), locked=True)
    memory = MemoryApi()
    data = {"ClusterConfiguration": CONFIGURATION.format(OLD)}
    memory.create(CONFIGMAPS, {"metadata": {"name": "kubeadm-config"}, "data": data})
    memory.create(CONFIGMAPS, {"metadata": {"name": "kubelet-config"}, "data": {"kubelet": "kind: New\n"}})
    manifests = machine.root / "etc/kubernetes/manifests"
    with serve(memory, lambda: mirror(memory, "n", manifests)) as url:
        for name in ("kubelet.conf", *(("admin.conf",) if control_plane else ())):
            write_kubeconfig(machine.root / "etc/kubernetes" / name, url)
        binary = machine.root / f"ostree/deploy/{staged.osname}/deploy/{staged.id}/usr/bin/kubeadm"
        kubeadm = Kubeadm(SubprocessRunner(), PlainJobs(machine.root), binary, root=machine.root)
        yield Node(machine=machine, memory=memory, kubeadm=kubeadm)


async def test_apply_moves_the_control_plane_and_both_configurations(control_plane_node: Node) -> None:
    node = control_plane_node
    assert is_control_plane(node.machine.root)
    done = await node.kubeadm.upgrade_apply(NEW, "1")
    assert '[upgrade] SUCCESS! A control plane node of your cluster was upgraded to "v1.37.2".' in done.out
    assert node.cluster_version() == "v1.37.2"
    assert node.image("etcd") == "registry.k8s.io/etcd:3.7.0-0"
    assert node.image("kube-apiserver") == component_image("kube-apiserver", NEW)
    kubelet = node.memory.get(f"{CONFIGMAPS}/kubelet-config")
    assert kubelet["metadata"]["annotations"]["kubeadm.kubernetes.io/component-config.hash"].startswith("sha256:")
    assert (node.machine.root / "var/lib/kubelet/config.yaml").read_text() == "kind: New\n"
    pod = node.memory.get("/api/v1/namespaces/kube-system/pods/kube-scheduler-n")
    assert pod["spec"]["containers"][0]["image"] == component_image("kube-scheduler", NEW)


async def test_the_stand_in_says_nothing_that_the_real_one_does_not(control_plane_node: Node) -> None:
    """The real one says more: what it checks of the machine, and which certificates it renews."""
    done = await control_plane_node.kubeadm.upgrade_apply(NEW, "1")
    real = {_plain(line) for line in kubeadm_case("04-apply-1.36.3-to-1.37.2").out.splitlines()}
    assert [line for line in done.out.splitlines() if _plain(line) not in real] == []


def _plain(line: str) -> str:
    """A line without the moments that stand in names of folders."""
    return re.sub(r"\d{4}(-\d\d){5}", "MOMENT", line).strip()


async def test_apply_may_be_repeated(control_plane_node: Node) -> None:
    await control_plane_node.kubeadm.upgrade_apply(NEW, "1")
    for copy in (control_plane_node.machine.root / "etc/kubernetes/tmp").glob("kubeadm-kubelet-config-*"):
        copy.rename(copy.with_name("moved"))  # a second run within the same second would collide
    done = await control_plane_node.kubeadm.upgrade_apply(NEW, "1")
    assert "Current and new manifests of etcd are equal, skipping upgrade" in done.out


async def test_node_follows_the_cluster_and_not_the_binary(node: Node) -> None:
    """kubeadm guards no order: before the first control plane it ends well and changes no version."""
    await node.kubeadm.upgrade_node(NEW, "1")
    assert node.cluster_version() == "v1.36.3"
    assert (node.machine.root / "var/lib/kubelet/config.yaml").read_text() == "kind: New\n"


async def test_node_upgrades_the_static_pods_of_a_further_control_plane(control_plane_node: Node) -> None:
    node = control_plane_node
    node.memory.patch(f"{CONFIGMAPS}/kubeadm-config", {"data": {"ClusterConfiguration": CONFIGURATION.format(NEW)}})
    await node.kubeadm.upgrade_node(NEW, "1")
    assert node.image("kube-apiserver") == component_image("kube-apiserver", NEW)


async def test_apply_on_a_worker_is_refused(worker: Node) -> None:
    assert not is_control_plane(worker.machine.root)
    with pytest.raises(KubeadmError) as failed:
        await worker.kubeadm.upgrade_apply(NEW, "1")
    assert failed.value.kind is KubeadmProblem.NOT_CONTROL_PLANE


@pytest.mark.parametrize(
    ("cluster", "target", "case"),
    [
        ("v1.35.4", "v1.37.2", "10-apply-skip-minor-1.35.4-to-1.37.2"),
        ("v1.36.3", "v1.38.0", "03-apply-newer-than-kubeadm-minor"),
        ("v1.36.3", "v1.37.9", "03-apply-newer-than-kubeadm-patch"),
        ("v1.37.2", "v1.36.3", "06-apply-downgrade-minor"),
        ("v1.37.2", "v1.35.4", "06-apply-downgrade-2-minors"),
    ],
)
async def test_the_stand_in_refuses_a_step_in_the_recorded_words(
    control_plane_node: Node, cluster: str, target: str, case: str
) -> None:
    node = control_plane_node
    text = CONFIGURATION.format(cluster)
    node.memory.patch(f"{CONFIGMAPS}/kubeadm-config", {"data": {"ClusterConfiguration": text}})
    done = await SubprocessRunner().run([str(node.kubeadm.binary), "upgrade", "apply", target, "--yes"], 60)
    recorded = kubeadm_case(case)
    assert (done.code, problem_in(done.err)) == (1, problem_in(recorded.err))


@pytest.mark.parametrize(
    "case",
    [
        "03-apply-image-missing",
        "03-apply-nothing-ignored",
        "05-upgrade-node-worker-again",
        "30-apply-etcd-step-times-out-rollback",
        "31-apply-apiserver-never-serves-rollback",
    ],
)
async def test_a_recorded_failure_can_be_asked_for_and_a_repeat_ends_well(control_plane_node: Node, case: str) -> None:
    node = control_plane_node
    node.machine.set_fault("kubeadm", Fault(mode=case))
    with pytest.raises(KubeadmError) as failed:
        await node.kubeadm.upgrade_apply(NEW, "1")
    assert failed.value.kind is RECORDED[case]
    stays_new = case.startswith(("05", "31"))  # etcd that went well is not put back
    assert (node.image("etcd") == "registry.k8s.io/etcd:3.7.0-0") == stays_new
    if not case.startswith("05"):
        assert node.image("kube-apiserver") == component_image("kube-apiserver", OLD)
        await node.kubeadm.upgrade_apply(NEW, "1")


async def test_a_binary_of_another_version_is_not_run(node: Node) -> None:
    with pytest.raises(KubeadmError) as failed:
        await node.kubeadm.upgrade_node(OLD, "1")
    assert failed.value.kind is KubeadmProblem.WRONG_VERSION


async def test_images_are_pulled_for_the_version_in_the_file(control_plane_node: Node) -> None:
    node = control_plane_node
    (node.machine.root / "run/cluster.yaml").write_text(CONFIGURATION.format(NEW))
    await node.kubeadm.images_pull(Path("/run/cluster.yaml"), "unix:///var/run/crio/crio.sock")
    assert component_image("kube-apiserver", NEW) in node.machine.read().images
