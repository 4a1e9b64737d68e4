"""One node from its order to the released lock, as a transcript that reads as a story."""

from pathlib import Path

import pytest

from kube_upgrade.model.node import KubeadmRole, NodeStatus
from kube_upgrade.telemetry import logs
from support.builders import NEW
from support.node_world import Faults, World

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logs.configure("error")


def a_worker(faults: Faults | None = None) -> World:
    world = World(faults=faults or Faults(), cluster_version=NEW)
    world.order(role=KubeadmRole.NODE)
    return world


def a_control_plane(faults: Faults | None = None) -> World:
    world = World(control_plane=True, faults=faults or Faults())
    world.order(role=KubeadmRole.APPLY)
    return world


STORIES = {
    "node_worker": lambda: a_worker(Faults(busy=2)),
    "node_control_plane": lambda: a_control_plane(Faults(no_other_node=True)),
    "node_falls_back": lambda: a_worker(Faults(falls_back=True)),
    "node_kubeadm_fails": lambda: a_control_plane(Faults(kubeadm=99)),
}


@pytest.mark.parametrize("name", STORIES)
def test_the_story_is_the_one_on_record(name: str, request: pytest.FixtureRequest) -> None:
    """Regenerate with `pytest tests/sequences --update-golden` and read what changed."""
    world = STORIES[name]()
    failed = NodeStatus.ERROR
    kept = name == "node_kubeadm_fails"  # all others end with the lock given back
    world.run(
        until=lambda: world.done or (world.node.report.status is failed and (kept or not world.holder)), turns=200
    )
    world.turn()
    told = "\n".join(world.log) + "\n"
    path = GOLDEN / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        path.write_text(told)

    assert told == path.read_text()
