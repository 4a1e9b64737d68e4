"""The real daemon process on a simulated disk, against the real API server with the node's own credentials.

Kubelet, power and supervision are the lab's: what asks for a reboot gets one, and the daemon is started again after it.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import pytest

from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.wire import node as keys
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.disk import CONFIG
from kube_upgrade.lab.objects import kubeadm_objects
from kube_upgrade.lab.registry import Registry
from kube_upgrade.lab.runs import Run
from support.real_node import (
    NEW,
    OLD,
    REPOSITORY,
    a_node,
    annotate,
    cpu_seconds,
    history,
    is_ready,
    kill_often,
    lock_server,
    order,
    pss_kib,
    status,
    until,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


@pytest.fixture
async def api(control_plane: ControlPlane) -> AsyncIterator[KubeApi]:
    for body in kubeadm_objects(NEW, control_plane.url):
        control_plane.kubectl("apply", "-f", "-", input=json.dumps(body))
    async with KubeApi.connect(control_plane.admin_kubeconfig, user_agent="test") as connected:
        yield connected


@pytest.mark.parametrize("driver", ["rpm-ostree", "bootc"])
async def test_a_worker_goes_from_order_to_released(
    api: KubeApi, control_plane: ControlPlane, tmp_path: Path, driver: str
) -> None:
    """Staged in service, locked, kubeadm, reboot, verified, reported, and only then released."""
    name = f"w-{secrets.token_hex(3)}"
    with Registry() as registry, Run.open("tests") as run:
        stream = f"{registry.host}/{REPOSITORY}"
        old, new = registry.publish(REPOSITORY, OLD), registry.publish(REPOSITORY, NEW)
        async with (
            lock_server() as locks,
            a_node(control_plane, run, tmp_path / name, stream=stream, digest=old, driver=driver) as node,
        ):
            await history(api, name, is_ready)
            busy = b"HTTP/1.1 423 Locked\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            moved = b"HTTP/1.1 202 Accepted\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            locks.refusals = [busy, moved]
            first_boot = node.machine.boot_id

            await annotate(api, name, order(stream, locks.url))
            seen = await history(api, name, lambda n: status(n) == "completed" and "steady-state" in locks.asked)

            words = list(dict.fromkeys(status(n) for n in seen if status(n)))
            assert words == ["pending", "upgrading", "rebasing", "completed"]
            assert locks.asked == ["pre-reboot"] * 3 + ["steady-state"]
            machine = node.machine.read()
            assert machine.booted_tree.digest == new
            assert machine.boot_id != first_boot
            assert seen[-1].status.node_info.kubelet_version == NEW
            folder = node.machine.root / "var/lib/kube-upgraded"
            await until(lambda: json.loads((folder / "state.json").read_text())["lock"] is None)
            assert list((folder / "jobs").iterdir()) == []


async def test_killed_every_second_and_with_the_api_away_it_still_arrives(
    api: KubeApi, control_plane: ControlPlane, tmp_path: Path
) -> None:
    """kill -9 at moments that nobody chose, once with the API server gone as well: the same end."""
    name = f"w-{secrets.token_hex(3)}"
    with Registry() as registry, Run.open("tests") as run:
        stream = f"{registry.host}/{REPOSITORY}"
        old, new = registry.publish(REPOSITORY, OLD), registry.publish(REPOSITORY, NEW)
        async with (
            lock_server() as locks,
            a_node(control_plane, run, tmp_path / name, stream=stream, digest=old) as node,
        ):
            await history(api, name, is_ready)
            await annotate(api, name, order(stream, locks.url))
            await history(api, name, lambda n: n.metadata.annotations.get(keys.PHASE) == "kubeadm")
            await asyncio.to_thread(control_plane.stop_apiserver)
            await asyncio.to_thread(node.daemon.stop, kill=True)
            await asyncio.to_thread(control_plane.start_apiserver)
            killer = asyncio.create_task(kill_often(node))
            try:
                await history(api, name, lambda n: status(n) == "completed" and "steady-state" in locks.asked)
            finally:
                killer.cancel()

            assert node.machine.read().booted_tree.digest == new
            assert locks.asked.index("steady-state") == len(locks.asked) - locks.asked.count("steady-state")


async def test_a_control_plane_applies_with_etcd_saved_first(
    api: KubeApi, control_plane: ControlPlane, tmp_path: Path
) -> None:
    """kubeadm-config goes to the target, static pods come back at it, and only then the node is completed."""
    name = f"cp-{secrets.token_hex(3)}"
    for body in kubeadm_objects(OLD, control_plane.url):
        control_plane.kubectl("apply", "-f", "-", input=json.dumps(body))
    with Registry() as registry, Run.open("tests") as run:
        stream = f"{registry.host}/{REPOSITORY}"
        old, new = registry.publish(REPOSITORY, OLD), registry.publish(REPOSITORY, NEW)
        folder = tmp_path / name
        async with (
            lock_server() as locks,
            a_node(control_plane, run, folder, stream=stream, digest=old, control_plane=True) as node,
        ):
            await history(api, name, is_ready)
            control_plane.kubectl("label", "node", name, "node-role.kubernetes.io/control-plane=")
            await annotate(api, name, order(stream, locks.url) | {keys.KUBEADM: "apply"})
            seen = await history(api, name, lambda n: status(n) == "completed" and "steady-state" in locks.asked)

            assert seen[-1].metadata.annotations[keys.APPLIED] == NEW
            assert node.machine.read().booted_tree.digest == new
            assert len(list((node.machine.root / "var/lib/kube-upgraded/etcd").glob("snapshot-*.db"))) == 1
            config = control_plane.kubectl("get", "configmap", "kubeadm-config", "-n", "kube-system", "-o", "yaml")
            assert f"kubernetesVersion: {NEW}" in config
            assert node.machine.read().images


async def test_a_second_daemon_on_the_node_says_so_and_ends(
    api: KubeApi, control_plane: ControlPlane, tmp_path: Path
) -> None:
    name = f"w-{secrets.token_hex(3)}"
    with Registry() as registry, Run.open("tests") as run:
        stream, digest = f"{registry.host}/{REPOSITORY}", registry.publish(REPOSITORY, OLD)
        async with a_node(control_plane, run, tmp_path / name, stream=stream, digest=digest) as node:
            await history(api, name, lambda n: keys.UPGRADED_VERSION in n.metadata.annotations)
            second = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "kube_upgrade.upgraded", "-c", str(node.machine.root / CONFIG),
                stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            _, words = await second.communicate()

            assert second.returncode == 1
            assert f"is held by another upgraded (pid {node.daemon.pid})" in words.decode()


async def test_started_before_its_node_has_joined_it_waits_for_kubelet_conf(
    api: KubeApi, control_plane: ControlPlane, tmp_path: Path
) -> None:
    """The unit starts at the first boot, hours before `kubeadm join`: nobody starts it again."""
    name = f"w-{secrets.token_hex(3)}"
    with Registry() as registry, Run.open("tests") as run:
        stream, digest = f"{registry.host}/{REPOSITORY}", registry.publish(REPOSITORY, OLD)
        async with a_node(control_plane, run, tmp_path / name, stream=stream, digest=digest) as node:
            await history(api, name, lambda n: keys.UPGRADED_VERSION in n.metadata.annotations)
            conf = node.machine.root / "etc/kubernetes/kubelet.conf"
            conf.rename(conf.with_suffix(".later"))
            before = node.daemon.pid
            await asyncio.to_thread(node.daemon.stop)  # the lab's supervisor starts it again
            await annotate(api, name, {keys.UPGRADED_VERSION: None})
            await until(lambda: node.daemon.pid not in (None, before))
            waiting = node.daemon.pid
            lock = node.machine.root / "var/lib/kube-upgraded/lock"
            await until(lambda: lock.read_text().strip() == str(waiting))

            conf.with_suffix(".later").rename(conf)
            await history(api, name, lambda n: keys.UPGRADED_VERSION in n.metadata.annotations)
            assert node.daemon.pid == waiting


async def test_doctor_finds_no_fault_on_a_node_that_can_be_upgraded(
    api: KubeApi, control_plane: ControlPlane, tmp_path: Path
) -> None:
    """With the kubelet's own rights, beside the running daemon."""
    name = f"w-{secrets.token_hex(3)}"
    with Registry() as registry, Run.open("tests") as run:
        stream, digest = f"{registry.host}/{REPOSITORY}", registry.publish(REPOSITORY, OLD)
        async with (
            lock_server() as locks,
            a_node(control_plane, run, tmp_path / name, stream=stream, digest=digest) as node,
        ):
            await history(api, name, lambda n: is_ready(n) and keys.UPGRADED_VERSION in n.metadata.annotations)
            ordered = {keys.KUBERNETES_VERSION, keys.KUBEADM, keys.STATUS}
            await annotate(api, name, {k: v for k, v in order(stream, locks.url).items() if k not in ordered})
            argv = (sys.executable, "-m", "kube_upgrade.upgraded", "-c", str(node.machine.root / CONFIG))
            doctor = await asyncio.create_subprocess_exec(*argv, "doctor", "-o", "json", stdout=asyncio.subprocess.PIPE)
            told = json.loads((await doctor.communicate())[0])
            bad = [finding for finding in told["findings"] if finding["level"] != "ok"]
            assert (doctor.returncode, told["faults"]) == (0, 0), bad
            assert {finding["check"] for finding in bad} == {"signatures"}, bad


async def test_idle_memory_is_small(api: KubeApi, control_plane: ControlPlane, tmp_path: Path) -> None:
    """At most 45 MiB (design 8), and next to nothing of a core: all processes of the daemon, counted as PSS."""
    name = f"w-{secrets.token_hex(3)}"
    with Registry() as registry, Run.open("tests") as run:
        stream, digest = f"{registry.host}/{REPOSITORY}", registry.publish(REPOSITORY, OLD)
        async with a_node(control_plane, run, tmp_path / name, stream=stream, digest=digest) as node:
            await history(api, name, lambda n: keys.UPGRADED_VERSION in n.metadata.annotations)
            before = cpu_seconds(node.daemon.pid)
            await asyncio.sleep(5)  # the time that is measured
            used, memory = cpu_seconds(node.daemon.pid) - before, pss_kib(node.daemon.pid)
            sys.stdout.write(f"idle: {memory / 1024:.1f} MiB PSS, {used / 5:.2%} of a core\n")
            assert 0 < memory <= 45 * 1024
            assert used <= 0.05 * 5


@pytest.mark.timeout(120)
async def test_a_kubeadm_that_runs_outlives_the_daemon_and_is_waited_for(
    api: KubeApi, control_plane: ControlPlane, tmp_path: Path
) -> None:
    """The daemon is ended while kubeadm runs; the next one finds it, waits for its end and starts no second one.

    With and without systemd, after both signals, all four at once: they mostly wait.
    """
    async with asyncio.TaskGroup() as group:
        for init, number in product(("plain", "systemd"), (signal.SIGTERM, signal.SIGKILL)):
            group.create_task(outlives(api, control_plane, tmp_path, init, number), name=f"{init}, {number.name}")


async def outlives(
    api: KubeApi, control_plane: ControlPlane, tmp_path: Path, init: str, number: signal.Signals
) -> None:
    name = f"w-{secrets.token_hex(3)}"
    with Registry() as registry, Run.open("tests") as run:
        stream = f"{registry.host}/{REPOSITORY}"
        old, new = registry.publish(REPOSITORY, OLD), registry.publish(REPOSITORY, NEW)
        async with (
            lock_server() as locks,
            a_node(control_plane, run, tmp_path / name, stream=stream, digest=old) as node,
        ):
            if init == "systemd":
                (node.machine.root / "run/systemd/system").mkdir(parents=True)
                await asyncio.to_thread(node.daemon.stop)  # the lab's supervisor starts it again
            with node.machine.edit() as state:
                state.latency["kubeadm"] = 6.0
            await history(api, name, is_ready)
            await annotate(api, name, order(stream, locks.url))
            await until(lambda: node.machine.read().upgrades == 1)
            pid = node.daemon.pid
            assert pid is not None
            os.killpg(pid, number)
            seen = await history(api, name, lambda n: "still running" in n.metadata.annotations.get(keys.MESSAGE, ""))
            seen += await history(api, name, lambda n: status(n) == "completed" and "steady-state" in locks.asked)

            assert node.machine.read().upgrades == 1
            assert node.machine.read().booted_tree.digest == new
            assert "pending" not in [status(n) for n in seen]
            assert locks.asked.count("steady-state") == 1
