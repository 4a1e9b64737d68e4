"""The files of a simulated node: stand-ins under the names of the programs, deployment trees, static pod manifests."""

import shlex
from pathlib import Path

from kube_upgrade.lab import proc
from kube_upgrade.lab.images import COMPONENTS, component_image
from kube_upgrade.lab.machine_state import Tree
from kube_upgrade.model.version import KubeVersion

_FOLDERS = (
    "etc/kubernetes/manifests",
    "etc/kubernetes/pki",
    "etc/kubernetes/tmp",
    "etc/kube-upgraded",
    "proc/sys/kernel/random",
    "run/ostree",
    "usr/bin",
    "var/lib/kubelet",
    "var/lib/kube-upgraded",
)
_HOST_PROGRAMS = ("ostree", "systemctl", "systemd-run")
_KUBELET_CONFIG = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncgroupDriver: systemd\n"


def start_stand_ins(folder: Path, python: str, run: Path | None) -> None:
    """How this machine's stand-ins are started: by this Python, under the mark of the run that they belong to.

    Whoever starts them need not pass the mark on: the daemon gives programs of its host a small environment.
    """
    mark = f"export {proc.MARK}={shlex.quote(str(run))}\n" if run else ""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stand-in").write_text(f"{mark}exec {shlex.quote(python)} -I -m ")


def lay_out(folder: Path, machine_id: str, control_plane: str | None, driver: str) -> None:
    """Folders, identity, host programs, and the static pods of a control plane at the version `control_plane`.

    `driver` is the program that changes the OS: rpm-ostree or bootc.
    """
    root = folder / "root"
    for name in _FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/machine-id").write_text(f"{machine_id}\n")
    (root / "run/ostree-booted").touch()
    (root / "var/lib/kubelet/config.yaml").write_text(_KUBELET_CONFIG)
    for program in (driver, *_HOST_PROGRAMS):
        _stand_in(folder, root / "usr/bin" / program, program)
    if control_plane is not None:
        for component in COMPONENTS:
            image = component_image(component, KubeVersion.parse(control_plane))
            manifest_path(root, component).write_text(manifest(component, image))


def write_tree(folder: Path, tree: Tree) -> None:
    """A deployment's folder with its own kubelet and kubeadm."""
    programs = tree_path(folder / "root", tree) / "usr/bin"
    programs.mkdir(parents=True, exist_ok=True)
    _stand_in(folder, programs / "kubeadm", "kubeadm", f"--version={tree.kubernetes}")
    _executable(programs / "kubelet", f"echo 'Kubernetes {tree.kubernetes}'\n")


def link_booted(folder: Path, tree: Tree) -> None:
    """/usr/bin/kubelet and kubeadm are those of the booted tree."""
    for program in ("kubelet", "kubeadm"):
        link = folder / "root/usr/bin" / program
        new = link.with_suffix(".new")
        new.unlink(missing_ok=True)
        new.symlink_to(Path("../..") / _tree_folder(tree) / "usr/bin" / program)
        new.replace(link)


def tree_path(root: Path, tree: Tree) -> Path:
    """Where a deployment's files are."""
    return root / _tree_folder(tree)


def _tree_folder(tree: Tree) -> Path:
    return Path("ostree/deploy") / tree.osname / "deploy" / tree.id


def manifest_path(root: Path, component: str) -> Path:
    """Where the static pod of a component is described."""
    return root / f"etc/kubernetes/manifests/{component}.yaml"


def manifest(component: str, image: str) -> str:
    """A static pod's manifest, with what kubeadm, kubelet and controllers look at."""
    return f"""\
apiVersion: v1
kind: Pod
metadata:
  name: {component}
  namespace: kube-system
  labels:
    component: {component}
    tier: control-plane
spec:
  hostNetwork: true
  priorityClassName: system-node-critical
  containers:
  - name: {component}
    image: {image}
    imagePullPolicy: IfNotPresent
    command:
    - {component}
"""


def _stand_in(folder: Path, path: Path, program: str, *arguments: str) -> None:
    module = f"kube_upgrade.lab.standins.{program.replace('-', '_')}"
    words = shlex.join([module, "--machine", str(folder.absolute()), *arguments])
    _executable(path, f'{(folder / "stand-in").read_text()}{words} "$@"\n')


def _executable(path: Path, script: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(f"#!/bin/sh\n{script}")
    new.chmod(0o755)
    new.replace(path)
