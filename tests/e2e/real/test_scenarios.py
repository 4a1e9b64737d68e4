"""Real kubeadm nodes: each scenario comes out as it says (kube_upgrade/lab/real/scenarios.py), and leaves nothing."""

import shlex
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from kube_upgrade.host.kubeadm_output import problem_in
from support.leftovers import Machine, lived_in, namespaces_of, of_run
from support.real_run import RealRun
from support.replay import kubeadm_case

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

BUSY = 2.0  # seconds: on a busy machine a kube-proxy hears late that a pod is about to end


@pytest.fixture
def started() -> Iterator[list[RealRun]]:
    runs: list[RealRun] = []
    yield runs
    for run in runs:
        run.close()


def play(started: list[RealRun], name: str, *args: str, seconds: float) -> dict[str, Any]:
    run = RealRun.start("--scenario", name, *args)
    started.append(run)
    code, found = run.result(seconds)
    assert (code, found["failure"]) == (0, "")
    return found


@pytest.mark.short
def test_one_minor_up_with_our_programs_as_pods_and_no_outage_of_the_workload(started: list[RealRun]) -> None:
    """Both nodes are drained in their turn; nothing of the run stays on this machine."""
    before = Machine.look()
    run = RealRun.start()
    started.append(run)
    folder = run.folder
    run.said("plan: Progressing", 300.0)
    namespaces = namespaces_of(run.process.pid, folder)

    code, found = run.result(900)

    assert (code, found["result"], found["failure"]) == (0, "complete", "")
    assert run.said("upgraded: ", 0.0).endswith("dist/upgraded.tar.gz\n"), "not the self-contained one"
    assert [node["version"] for node in found["nodes"]] == ["v1.37.2", "v1.37.2"]
    assert sum(seconds for _, seconds in found["outages"]["web by any node"]) < BUSY
    assert 60 < sum(seconds for _, seconds in found["outages"]["API of control-plane-1"]) < 300
    assert Machine.look().more_than(before, folder.name) == {}
    assert lived_in(namespaces) == []
    assert of_run(folder) == []
    assert not folder.exists()


@pytest.mark.short
def test_power_cuts_at_every_stage_and_a_blocked_drain_are_lived_through(started: list[RealRun]) -> None:
    found = play(started, "rough", seconds=1200)

    assert [node["version"] for node in found["nodes"]] == ["v1.37.2", "v1.37.2"]


def test_a_worker_that_boots_its_old_image_is_released_and_reported(started: list[RealRun]) -> None:
    play(started, "falls-back", seconds=1200)


def test_two_minors_up_by_way_of_the_one_between(started: list[RealRun]) -> None:
    play(started, "two-hops", seconds=1400)


def test_kubeadms_own_rollback_after_an_api_server_that_never_serves(started: list[RealRun]) -> None:
    play(started, "never-serves", seconds=1400)


def test_both_ways_back_from_an_etcd_step_that_was_cut_short(started: list[RealRun]) -> None:
    play(started, "etcd-cut-short", seconds=1400)


def test_upstreams_order_lets_a_new_kubelet_run_an_old_control_plane(started: list[RealRun]) -> None:
    """Ours does not, which the default run checks. kubeadm's preflight takes it from 1.36 to 1.37."""
    found = play(started, "upstream-order", seconds=1200)

    assert any("which the version skew policy forbids" in note for note in found["notes"])
    assert any("kubeadm upgrade apply: exit code 0" in note for note in found["notes"])


def test_the_real_kubeadm_refuses_in_the_words_that_the_stand_in_uses_and_a_kept_cluster_stays_until_ctrl_c(
    started: list[RealRun],
) -> None:
    """With --keep the command that it prints works on the cluster; Ctrl-C then leaves nothing."""
    before = Machine.look()
    run = RealRun.start("--scenario", "refusals", "--keep")
    started.append(run)
    folder = run.folder
    command = run.said("kept until Ctrl-C; ", 600.0).partition("; ")[2]
    kept = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True, timeout=30)
    assert kept.stdout.count(" Ready ") == 2, kept.stdout
    run.process.send_signal(signal.SIGINT)
    code, found = run.result(60)
    assert (code, found["failure"]) == (0, "")
    assert of_run(folder) == []
    assert not folder.exists()
    assert Machine.look().more_than(before, folder.name) == {}

    said = dict(note.split(": ", 1) for note in found["notes"])
    for case, words in said.items():
        kind, sentence = problem_in(kubeadm_case(case).err)
        assert words == f"1: {kind}: {sentence}", case


def test_upgraded_as_a_daemon_set_takes_both_nodes_up(started: list[RealRun]) -> None:
    """By deploy/node as it is; a host service beside the pod says that the node has a daemon, and ends."""
    found = play(started, "as-daemonset", seconds=1200)

    assert [node["version"] for node in found["nodes"]] == ["v1.37.2", "v1.37.2"]


def test_three_control_planes_go_up_without_a_moment_without_api_or_service(started: list[RealRun]) -> None:
    found = play(started, "default", "--control-planes", "3", seconds=1400)

    for service in ("API", "web by any node"):
        assert sum(seconds for _, seconds in found["outages"][service]) < BUSY, service
