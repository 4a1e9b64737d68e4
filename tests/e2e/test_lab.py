"""The whole system, judged from outside: every program ours, a real etcd and kube-apiserver.

All runs are started together: most of their time is the simulated hardware's, not this machine's.
"""

import shutil
import signal
from collections.abc import Iterator

import pytest

from kube_upgrade.lab.binaries import Binaries
from support.lab_run import LabRun, scenario

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

OPTIONS = {
    "default": (),
    "single-node": ("--keep",),
    "one-plus-one": (),
    "worker-falls-back": (),
    "killed-programs": (),
}
RESULT = {"result", "seconds", "worstUnavailable", "nodes", "reasons", "memoryMiB"}
KEYS = {
    "name", "role", "version", "target", "bootIdBefore", "bootIdAfter", "stagedSeconds", "outSeconds", "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(binaries: Binaries) -> Iterator[dict[str, LabRun]]:
    started = {name: LabRun.start(binaries["kubectl"], *scenario(name), *args) for name, args in OPTIONS.items()}
    yield started
    for run in started.values():
        run.close()


def test_three_control_planes_and_three_workers_go_one_minor_up(runs: dict[str, LabRun]) -> None:
    code, found = runs["default"].result()

    assert (code, found["result"], found["reasons"]) == (0, "complete", [])
    assert set(found) == RESULT
    assert found["worstUnavailable"] == {"control-plane": 1, "workers": 1}
    assert [node["role"] for node in found["nodes"]] == ["control-plane"] * 3 + ["worker"] * 3
    for node in found["nodes"]:
        assert set(node) == KEYS
        assert node["version"] == node["target"] == "v1.37.2"
        assert node["bootIdBefore"] != node["bootIdAfter"]
        assert 0 <= node["stagedSeconds"] <= node["seconds"] <= found["seconds"]
        assert 0 < node["outSeconds"] <= node["seconds"] + 0.2


def test_the_only_node_goes_through_with_its_pods_and_the_cluster_is_kept_until_ctrl_c(runs: dict[str, LabRun]) -> None:
    run = runs["single-node"]
    found = run.line()

    assert (found["result"], found["worstUnavailable"]) == ("complete", {"control-plane": 1})
    assert found["nodes"][0]["bootIdBefore"] != found["nodes"][0]["bootIdAfter"]
    before = {pod.uid for pod in run.pods if pod.type == "ADDED"}
    assert len(before) == 2
    assert set(run.ask("get", "pods", "--output=jsonpath={.items[*].metadata.uid}").split()) == before
    assert run.ask("get", "node", "--output=jsonpath={.items[*].spec.unschedulable}") == ""
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(30) == 0, "the verdict's code"
    assert run.folder.exists()
    shutil.rmtree(run.folder)


def test_one_and_one_are_drained_in_their_turn(runs: dict[str, LabRun]) -> None:
    """The control plane's pod goes to the worker, then both pods of the worker to the control plane."""
    run = runs["one-plus-one"]
    code, found = run.result()
    ended = [pod.node for pod in run.pods if pod.type == "DELETED"]

    assert (code, found["result"], found["reasons"]) == (0, "complete", [])
    assert found["worstUnavailable"] == {"control-plane": 1, "workers": 1}
    assert ended == ["control-plane-1", "worker-1", "worker-1"]


def test_an_image_that_does_not_boot_stops_the_group_and_fails_the_run(runs: dict[str, LabRun]) -> None:
    run = runs["worker-falls-back"]
    code, found = run.result()
    nodes = {node["name"]: node for node in found["nodes"]}

    assert (code, found["result"]) == (1, "failed")
    assert nodes["control-plane-1"]["version"] == "v1.37.2"
    workers = [nodes["worker-1"], nodes["worker-2"]]
    tried = [node["name"] for node in workers if node["bootIdBefore"] != node["bootIdAfter"]]
    assert len(tried) == 1, "whichever came first was tried, and the other left alone"
    assert [node["version"] for node in workers] == ["v1.36.3", "v1.36.3"]
    assert any(f"{tried[0]} runs v1.36.3, not v1.37.2" in reason for reason in found["reasons"])
    assert any(f"{tried[0]}: error" in line and "BadImage" in line for line in run.talk), "and the daemon says why"


def test_killed_programs_and_a_power_cut_in_the_middle_of_kubeadm_change_nothing(runs: dict[str, LabRun]) -> None:
    run = runs["killed-programs"]
    code, found = run.result()

    assert (code, found["result"], found["reasons"]) == (0, "complete", [])
    assert found["worstUnavailable"] == {"control-plane": 1, "workers": 1}
    happened = [line[8:].strip() for line in run.talk if " is killed" in line or "loses power" in line]
    assert happened[:2] == ["fleetlock is killed", "upgrade-controller is killed"]
    assert set(happened[2:]) == {"worker-1 loses power", "fleetlock is killed"}, "whichever worker came first"
