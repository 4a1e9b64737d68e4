"""dist/upgraded as it goes onto hosts without Python (make binary)."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.wire import node as keys
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.objects import kubeadm_objects
from kube_upgrade.lab.registry import Registry
from kube_upgrade.lab.runs import Run
from support.cosign import Signer
from support.real_node import (
    NEW,
    OLD,
    REPOSITORY,
    a_node,
    annotate,
    cpu_seconds,
    family,
    history,
    is_ready,
    lock_server,
    order,
    pss_kib,
    status,
    until,
)

pytestmark = [pytest.mark.binary, pytest.mark.timeout(180)]
FOLDER = Path(__file__).parents[2] / "dist/upgraded"
DEPLOY = Path(__file__).parents[2] / "deploy/node"
PROGRAM = (str(FOLDER / "upgraded"),)
LIBC = ("ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1")


@pytest.fixture
def bare_root(tmp_path: Path) -> Path:
    """A root directory with libc, the program and /proc, as on any host: no shell, no Python, no /tmp."""
    libraries = tmp_path / "lib"
    libraries.mkdir()
    (tmp_path / "lib64").symlink_to("lib")  # the program names its loader there; distributions look in either
    found = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    for name in LIBC:
        place = next(line.split(" => ")[1] for line in found.splitlines() if line.strip().startswith(f"{name} "))
        shutil.copy(place, libraries / name)
    (tmp_path / "proc").mkdir()
    shutil.copytree(FOLDER, tmp_path / "opt/upgraded", symlinks=True)
    return tmp_path


def in_root(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    into = 'mount -t proc proc "$0/proc" && exec chroot "$0" /opt/upgraded/upgraded "$@"'
    argv = ["unshare", "--mount", "--fork", "sh", "-c", into, str(root), *arguments]
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(argv, env=path, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.root
def test_it_needs_nothing_but_libc(bare_root: Path) -> None:
    """Its version, its settings, its doctor and the check of a signature: what each imports is in the folder."""
    assert in_root(bare_root, "version").stdout.strip() == "0.1.0"
    assert json.loads(in_root(bare_root, "check-config", "-o", "json").stdout)["wrong"] is None
    found = json.loads(in_root(bare_root, "doctor", "-o", "json").stdout)
    assert "cluster" in {finding["check"] for finding in found["findings"]}
    signer = Signer()
    signer.write(bare_root / "key.pub")
    _, good = signer.sign("sha256:1", "os")
    assert in_root(bare_root, "check-signature", "/key.pub", good, "e30=").returncode == 10
    assert in_root(bare_root, "check-signature", "/key.pub", signer.over(b"{}"), "e30=").returncode == 0


@pytest.mark.root
def test_as_a_container_it_becomes_a_process_of_the_host(bare_root: Path) -> None:
    """The daemon set's own command: the folder of an earlier image is replaced, and the host's files are at /."""
    shutil.rmtree(bare_root / "opt/upgraded")
    (bare_root / "etc/kube-upgraded").mkdir(parents=True)
    (bare_root / "etc/kube-upgraded/config.yaml").write_text("attempts: 7\n")
    (bare_root / "var/lib/kube-upgraded/bin/old").mkdir(parents=True)
    pod = yaml.safe_load((DEPLOY / "daemonset.yaml").read_text())["spec"]["template"]["spec"]
    _, host, *arguments = pod["containers"][0]["command"]
    assert pod["volumes"][0]["hostPath"]["path"] == "/"
    assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == host
    into = 'mount -t proc proc "$1/proc" && exec "$0" "$@"'
    argv = ["unshare", "--mount", "--fork", "sh", "-c", into, str(DEPLOY / "enter-host.sh"), str(bare_root)]
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "UPGRADED": str(FOLDER)}
    for _ in range(2):  # the pod is replaced
        done = subprocess.run(
            [*argv, *arguments, "check-config"], env=env, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.stdout.strip() == "/etc/kube-upgraded/config.yaml can be used", done.stderr
    left = sorted(path.name for path in (bare_root / "var/lib/kube-upgraded").iterdir())
    assert left == ["bin"]
    assert sorted(path.name for path in (bare_root / "var/lib/kube-upgraded/bin").iterdir()) == [
        "_internal",
        "upgraded",
    ]


def test_it_says_its_version_fast() -> None:
    began = time.monotonic()
    subprocess.run([*PROGRAM, "version"], check=True, capture_output=True)
    took = time.monotonic() - began
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    packed = FOLDER.with_suffix(".tar.gz").stat().st_size
    sys.stdout.write(f"started in {took:.2f} s; {size / 2**20:.0f} MiB unpacked, {packed / 2**20:.0f} MiB packed\n")
    assert took < 5


def environment_of(pid: int) -> bytes:
    """As it was when the process started."""
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.fixture
async def api(control_plane: ControlPlane) -> AsyncIterator[KubeApi]:
    for body in kubeadm_objects(NEW, control_plane.url):
        control_plane.kubectl("apply", "-f", "-", input=json.dumps(body))
    async with KubeApi.connect(control_plane.admin_kubeconfig, user_agent="test") as connected:
        yield connected


@pytest.mark.cluster
async def test_an_upgrade_passes_with_tmp_emptied_and_the_program_killed(
    api: KubeApi, control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One small process that leaves nothing in TMPDIR and needs nothing there; kubeadm gets the host's environment."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    name = f"w-{secrets.token_hex(3)}"
    with Registry() as registry, Run.open("tests") as run:
        stream = f"{registry.host}/{REPOSITORY}"
        old, new = registry.publish(REPOSITORY, OLD), registry.publish(REPOSITORY, NEW)
        async with (
            lock_server() as locks,
            a_node(control_plane, run, tmp_path / name, stream=stream, digest=old, program=PROGRAM) as node,
        ):
            await history(api, name, lambda n: is_ready(n) and keys.UPGRADED_VERSION in n.metadata.annotations)
            await until(lambda: family(node.daemon.pid) == [node.daemon.pid])  # it has asked its host what runs
            before = cpu_seconds(node.daemon.pid)
            await asyncio.sleep(5)  # the time that is measured
            used, memory = cpu_seconds(node.daemon.pid) - before, pss_kib(node.daemon.pid)
            sys.stdout.write(f"idle: {memory / 1024:.1f} MiB PSS, {used / 5:.2%} of a core\n")
            assert memory <= 45 * 1024
            assert list(scratch.iterdir()) == []

            scratch.rmdir()
            with node.machine.edit() as state:
                state.latency["kubeadm"] = 6.0
            await annotate(api, name, order(stream, locks.url))
            await until(lambda: node.machine.read().upgrades == 1)
            record = json.loads((node.machine.root / "var/lib/kube-upgraded/jobs/kubeadm/job.json").read_text())
            child = environment_of(int(record["child"].split()[0]))
            assert not [word for word in (b"LD_LIBRARY_PATH", b"_PYI", b"_MEIPASS", b"TMPDIR") if word in child]
            assert node.daemon.pid is not None
            os.kill(node.daemon.pid, signal.SIGKILL)
            await history(api, name, lambda n: status(n) == "completed" and "steady-state" in locks.asked)

            assert node.machine.read().booted_tree.digest == new
            assert node.machine.read().upgrades == 1
            assert not scratch.exists()
