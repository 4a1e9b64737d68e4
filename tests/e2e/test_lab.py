"""The whole system, judged from outside: every program ours, a real etcd and kube-apiserver.

All runs are started together: most of their time is the simulated hardware's, not this machine's.
"""

from collections.abc import Iterator

import pytest

from kube_upgrade.lab.binaries import Binaries
from support.lab_run import LabRun, scenario

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

NAMES = ("default", "single-node", "one-plus-one", "worker-falls-back", "killed-programs")
KEYS = {
    "name", "role", "version", "target", "bootIdBefore", "bootIdAfter", "stagedSeconds", "outSeconds", "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(binaries: Binaries) -> Iterator[dict[str, LabRun]]:
    started = {name: LabRun.start(*scenario(name)) for name in NAMES}
    yield started
    for run in started.values():
        run.close()


def test_three_control_planes_and_three_workers_go_one_minor_up(runs: dict[str, LabRun]) -> None:
    code, found = runs["default"].result()

    assert (code, found["result"], found["reasons"]) == (0, "complete", [])
    assert found["worstUnavailable"] == {"control-plane": 1, "workers": 1}
    assert [node["role"] for node in found["nodes"]] == ["control-plane"] * 3 + ["worker"] * 3
    for node in found["nodes"]:
        assert set(node) == KEYS
        assert node["version"] == node["target"] == "v1.37.2"
        assert node["bootIdBefore"] != node["bootIdAfter"]
        assert 0 < node["outSeconds"] <= node["seconds"] + 0.2


@pytest.mark.parametrize("name", ["single-node", "one-plus-one"])
def test_a_cluster_with_nowhere_else_to_go_gets_through(runs: dict[str, LabRun], name: str) -> None:
    code, found = runs[name].result()

    assert (code, found["result"], found["reasons"]) == (0, "complete", [])
    assert set(found["worstUnavailable"].values()) == {1}


def test_an_image_that_does_not_boot_stops_the_group_and_fails_the_run(runs: dict[str, LabRun]) -> None:
    code, found = runs["worker-falls-back"].result()
    nodes = {node["name"]: node for node in found["nodes"]}

    assert (code, found["result"]) == (1, "failed")
    assert nodes["control-plane-1"]["version"] == "v1.37.2"
    assert nodes["worker-1"]["version"] == "v1.36.3"
    assert nodes["worker-1"]["bootIdBefore"] != nodes["worker-1"]["bootIdAfter"], "it was tried"
    assert nodes["worker-2"]["bootIdBefore"] == nodes["worker-2"]["bootIdAfter"], "it was left alone"
    assert any("worker-1 runs v1.36.3, not v1.37.2" in reason for reason in found["reasons"])


def test_killed_programs_and_a_power_cut_change_nothing(runs: dict[str, LabRun]) -> None:
    code, found = runs["killed-programs"].result()

    assert (code, found["result"], found["reasons"]) == (0, "complete", [])
