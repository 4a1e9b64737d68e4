"""Builds a node's root in its own mount namespace and moves into it. All mounts made here go with the namespace."""

import os
import shutil
import subprocess
from pathlib import Path

from kube_upgrade.lab.real import kernel
from kube_upgrade.lab.real.capabilities import CGROUPS
from kube_upgrade.lab.real.spec import NodeSpec

FOLDERS = ("proc", "sys", "dev", "etc", "run", "tmp", "root", "opt", "var", "usr", "sysroot/trees", "ostree", "old")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "kmsg", "fuse")
BOOT_ID = "proc/sys/kernel/random/boot_id"
# The kubelet writes these for the whole kernel unless they hold its values already: it gets private files that do.
KERNEL_WIDE = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
NET = ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables")  # the node's own, by its network namespace


def enter(spec: NodeSpec) -> None:
    """Make the node's root this process's root."""
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    root = Path(spec.folder) / "root"
    root.mkdir(parents=True, exist_ok=True)
    kernel.bind(root, root)
    os.chdir(root)
    _lay_out()
    kernel.mount("overlay", "usr", "overlay", kernel.MS_RDONLY, f"lowerdir={':'.join(spec.lower)}")
    kernel.bind(Path(spec.folder) / "var", "var")
    _etc(spec)
    _virtual(spec)
    _show(spec)
    kernel.pivot_root(".", "old")
    os.chdir("/")
    kernel.unmount("/old")
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_SHARED)  # pods see mounts that the kubelet makes later


def connect(spec: NodeSpec) -> None:
    """The network card has been put into the namespace under the name eth0: give it its address."""
    commands = (
        "ip link set lo up",
        f"ip addr add {spec.address}/{spec.prefix} dev eth0",
        "ip link set eth0 up",
        f"ip route add default via {spec.gateway}",
    )
    for command in commands:
        subprocess.run(command.split(), check=True, capture_output=True)
    for knob in NET:
        Path("/proc/sys", knob).write_text("1")


def _lay_out() -> None:
    for name in FOLDERS:
        Path(name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        if not Path(name).is_symlink():
            Path(name).symlink_to(f"usr/{name}")


def _etc(spec: NodeSpec) -> None:
    """This machine's /etc at the first start; who the node is at each."""
    etc = Path("etc")
    if not (etc / "passwd").exists():
        shutil.copytree("/etc", "etc", symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_NOT_OURS))
    (etc / "hostname").write_text(f"{spec.name}\n")
    lines = ("127.0.0.1 localhost", *(f"{address} {name}" for name, address in spec.hosts.items()))
    (etc / "hosts").write_text("\n".join(lines) + "\n")
    (etc / "resolv.conf").unlink(missing_ok=True)
    (etc / "resolv.conf").write_text(f"nameserver {spec.gateway}\n")  # nobody answers there: there is no way out


_NOT_OURS = ("kubernetes", "cni", "containerd", "kube-upgraded", "machine-id", "shadow*", "ssh", "ssl-private")


def _virtual(spec: NodeSpec) -> None:
    for folder in ("lib", "log", "tmp"):
        Path("var", folder).mkdir(exist_ok=True)
    if not Path("var/run").is_symlink():
        shutil.rmtree("var/run", ignore_errors=True)
        Path("var/run").symlink_to("/run")
    kernel.mount("tmpfs", "run", "tmpfs")
    Path("run/ostree-booted").touch()
    kernel.mount("tmpfs", "tmp", "tmpfs")
    kernel.mount("proc", "proc", "proc")
    kernel.mount("sysfs", "sys", "sysfs")
    _cgroups()
    _devices()
    _private_files(spec)


def _cgroups() -> None:
    base = Path("sys/fs/cgroup")
    kernel.mount("tmpfs", base, "tmpfs")
    for name, data in (*((name, name) for name in CGROUPS), ("systemd", "none,name=systemd")):
        (base / name).mkdir()
        kernel.mount("cgroup", base / name, "cgroup", data=data)


def _devices() -> None:
    kernel.mount("tmpfs", "dev", "tmpfs", data="mode=755")
    for name in DEVICES:
        if Path("/dev", name).exists():
            Path("dev", name).touch()
            kernel.bind(f"/dev/{name}", f"dev/{name}")
    for name in ("pts", "shm", "mqueue"):
        Path("dev", name).mkdir()
    kernel.mount("devpts", "dev/pts", "devpts", data="newinstance,ptmxmode=0666,mode=620")
    kernel.mount("shm", "dev/shm", "tmpfs")
    kernel.mount("mqueue", "dev/mqueue", "mqueue")
    for name, target in {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0"}.items():
        Path("dev", name).symlink_to(target)
    Path("dev/stdout").symlink_to("/proc/self/fd/1")
    Path("dev/stderr").symlink_to("/proc/self/fd/2")


def _private_files(spec: NodeSpec) -> None:
    fake = Path(spec.folder) / "fake"
    fake.mkdir(exist_ok=True)
    for knob, value in {"kernel/random/boot_id": spec.boot_id, **KERNEL_WIDE}.items():
        file = fake / knob.replace("/", "_")
        file.write_text(f"{value}\n")
        kernel.bind(file, f"proc/sys/{knob}")


def _show(spec: NodeSpec) -> None:
    kernel.bind(spec.trees, "sysroot/trees", read_only=True)
    for folder in spec.shown:
        here = Path(folder.lstrip("/"))
        here.mkdir(parents=True, exist_ok=True)
        kernel.bind(folder, here, read_only=True)
