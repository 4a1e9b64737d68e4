"""`kubeadm upgrade apply` and `upgrade node`, phase by phase; what they change in the API is really changed.

The lab's API server is of one version for good, so the cluster's version is the one in kubeadm-config, which kubeadm
itself writes after the first control plane's static pods.
"""

import asyncio
import sys

from kube_upgrade.lab.images import all_images
from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Refused
from kube_upgrade.lab.standins.container_runtime import pull_image
from kube_upgrade.lab.standins.kubeadm_cluster import Cluster
from kube_upgrade.lab.standins.kubeadm_faults import RecordedFault, recorded_fault
from kube_upgrade.lab.standins.kubeadm_kubelet import write_kubelet_config
from kube_upgrade.lab.standins.kubeadm_policy import PreflightFailed, check_addons, check_target, too_old_cluster
from kube_upgrade.lab.standins.kubeadm_static import StaticPodUpgrade
from kube_upgrade.model.version import KubeVersion

_READING = """\
[upgrade] Reading configuration from the "kubeadm-config" ConfigMap in namespace "kube-system"...
[upgrade] Use 'kubeadm init phase upload-config kubeadm --config your-config-file' to re-upload it."""


async def upgrade_apply(machine: Machine, own: KubeVersion, target: KubeVersion, options: set[str]) -> None:
    """Preflight, static pods, upload of both configurations, this node's kubelet configuration. Raises Refused."""
    fault = recorded_fault(machine)
    async with Cluster.admin(machine.root) as cluster:
        say(_READING)
        current = await cluster.version()
        if sentence := too_old_cluster(own, current):
            raise Refused(f"[upgrade] FATAL: {sentence}")
        say("[upgrade/preflight] Running preflight checks")
        _fail_preflight(fault, target)
        check_addons(own, current)
        say("[upgrade] Running cluster health checks")
        say(f'[upgrade/preflight] You have chosen to upgrade the cluster version to "{target}"')
        say(f"[upgrade/versions] Cluster version: {current}\n[upgrade/versions] kubeadm version: {own}")
        check_target(own, current, target, await cluster.kubelets(), force=bool(options & {"--force", "-f"}))
        _must_answer(options)
        if "--dry-run" in options:
            return
        _prepull(machine, target)
        await _upgrade_static_pods(machine, cluster, target, fault)
        await cluster.upload_configuration(target)
        say('[upload-config] Storing the configuration used in ConfigMap "kubeadm-config"'
            ' in the "kube-system" Namespace')  # fmt: skip
        await cluster.upload_kubelet_configuration()
        say('[kubelet] Creating a ConfigMap "kubelet-config" in namespace kube-system with the configuration'
            " for the kubelets in the cluster")  # fmt: skip
        write_kubelet_config(machine.root, await cluster.kubelet_configuration(), fault)
    say(f'\n[upgrade] SUCCESS! A control plane node of your cluster was upgraded to "{target}".\n')
    say("[upgrade] Now please proceed with upgrading the rest of the nodes by following the right order.")


async def upgrade_node(machine: Machine, own: KubeVersion) -> None:
    """Bring this node to kubeadm-config's version; on a worker that is its kubelet configuration. Raises Refused."""
    fault = recorded_fault(machine)
    control_plane = (machine.root / "etc/kubernetes/manifests/kube-apiserver.yaml").exists()
    connect = Cluster.admin if control_plane else Cluster.kubelet
    async with connect(machine.root) as cluster:
        say(_READING)
        target = await cluster.version()
        if sentence := too_old_cluster(own, target):
            raise Refused(f"unable to fetch the kubeadm-config ConfigMap: {sentence}")
        say("[upgrade/preflight] Running pre-flight checks")
        _fail_preflight(fault, target)
        if control_plane:
            _prepull(machine, target)
            await _upgrade_static_pods(machine, cluster, target, fault)
        else:
            say("[upgrade/preflight] Skipping prepull. Not a control plane node.")
            say("[upgrade/control-plane] Skipping phase. Not a control plane node.")
            await asyncio.sleep(machine.read().latency.get("kubeadm", 0.0))
        write_kubelet_config(machine.root, await cluster.kubelet_configuration(), fault)


def say(text: str) -> None:
    """Print at once: whoever is killed has said what it did."""
    print(text, flush=True)


async def _upgrade_static_pods(
    machine: Machine, cluster: Cluster, target: KubeVersion, fault: RecordedFault | None
) -> None:
    state = machine.read()
    upgrade = StaticPodUpgrade(
        machine.root,
        cluster,
        node=state.name,
        fault=fault,
        pause=state.latency.get("kubeadm", 0.0) / 4,
        timeout=state.latency.get("upgradeManifests", 300.0),
        say=say,
    )
    await upgrade.run(target)


def _prepull(machine: Machine, target: KubeVersion) -> None:
    say("[upgrade/preflight] Pulling images required for setting up a Kubernetes cluster")
    for image in all_images(target):
        pull_image(machine, image)


def _fail_preflight(fault: RecordedFault | None, target: KubeVersion) -> None:
    match fault:
        case RecordedFault.IMAGES_MISSING:
            raise PreflightFailed(
                *(
                    f"[ERROR ImagePull]: failed to pull image {image}: failed to resolve image: failed to do request"
                    for image in all_images(target)
                )
            )
        case RecordedFault.SYSTEM_VERIFICATION:
            raise PreflightFailed("[ERROR SystemVerification]: cgroups v1 support is deprecated")
        case _:
            pass


def _must_answer(options: set[str]) -> None:
    """Without --yes it asks on stdin; no stdin is no."""
    if options & {"--yes", "-y", "--force", "-f"}:
        return
    print("[upgrade] Are you sure you want to proceed? [y/N]: ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused(
            "error execution phase preflight: won't proceed; the user didn't answer (Y|y) in order to continue"
        )
