"""A real node's deployments follow the lab's one model: what boots next, and where ostree puts the staged programs."""

from pathlib import Path

import pytest

from kube_upgrade.lab.machine_files import tree_path
from kube_upgrade.lab.machine_state import Fault
from kube_upgrade.lab.real.machine import TREES, RealMachine

IMAGE = "ostree-unverified-registry:127.0.0.1:5000/os"
OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.fixture
def machine(tmp_path: Path) -> RealMachine:
    return RealMachine.first_boot(
        tmp_path / "var/machine", tmp_path / "root", "node", image=f"{IMAGE}:v1.36.3", version="v1.36.3", digest=OLD
    )


def staged(machine: RealMachine, *, locked: bool) -> None:
    machine.stage(f"{IMAGE}:v1.37.2", NEW, "v1.37.2", locked=locked)


def test_a_staged_image_has_its_kubeadm_where_ostree_puts_it(machine: RealMachine) -> None:
    staged(machine, locked=True)
    tree = machine.read().staged
    assert tree is not None
    assert (tree_path(machine.root, tree) / "usr").readlink() == Path(TREES, "v1.37.2", "usr")


@pytest.mark.parametrize(("locked", "orderly", "boots"), [(False, True, "v1.37.2"), (True, True, "v1.36.3"),
                                                          (False, False, "v1.36.3")])  # fmt: skip
def test_only_an_orderly_end_boots_what_was_staged_and_unlocked(
    machine: RealMachine, *, locked: bool, orderly: bool, boots: str
) -> None:
    staged(machine, locked=locked)
    before = machine.boot_id

    state = machine.restart(orderly=orderly)

    assert state.booted_tree.kubernetes == boots
    assert state.boot_id != before
    assert state.staged is None


def test_a_node_can_fall_back_to_the_image_that_ran_before(machine: RealMachine) -> None:
    machine.set_fault("boot", Fault(mode="previous"))
    staged(machine, locked=False)

    state = machine.restart(orderly=True)

    assert state.booted_tree.kubernetes == "v1.36.3"
    assert state.trees[0].kubernetes == "v1.37.2"
