"""Nodes by FleetLock id: malformed machine-ids disturb nobody, copies are seen."""

from dataclasses import replace
from datetime import UTC, datetime

from kube_upgrade.core.fleetlock.identity import fleetlock_id
from kube_upgrade.fleetlock.machines import Machines
from kube_upgrade.model.node import Node

MACHINE = "dfd7882acda64c34aca76193c46f5d4e"
OTHER = "37974b3f7dc54f949209b4fd5b3c5704"
NODE = Node(name="w1", uid="1", resource_version="1", created=datetime(2026, 11, 24, tzinfo=UTC), machine_id=MACHINE)


def test_a_node_is_found_by_its_id_however_the_machine_id_is_written() -> None:
    machines = Machines()
    dashed = replace(NODE, machine_id="DFD7882A-cda6-4c34-aca7-6193c46f5d4e")
    machines.changed("w1", None, dashed)

    assert machines.find(fleetlock_id(MACHINE)) == (dashed,)


def test_empty_and_malformed_machine_ids_belong_to_no_one_and_disturb_no_one() -> None:
    machines = Machines()
    machines.changed("w1", None, NODE)
    for name, bad in (("w2", ""), ("w3", "uninitialized"), ("w4", "not hex")):
        machines.changed(name, None, replace(NODE, name=name, machine_id=bad))

    assert machines.find(fleetlock_id(MACHINE)) == (NODE,)
    assert machines.find("anything") == ()
    assert len(machines.all()) == 4


def test_a_copied_machine_id_finds_both_until_one_gets_its_own() -> None:
    machines = Machines()
    copy = replace(NODE, name="w2")
    machines.changed("w1", None, NODE)
    machines.changed("w2", None, copy)
    assert [node.name for node in machines.find(fleetlock_id(MACHINE))] == ["w1", "w2"]

    machines.changed("w2", copy, replace(copy, machine_id=OTHER))
    assert [node.name for node in machines.find(fleetlock_id(MACHINE))] == ["w1"]
    assert [node.name for node in machines.find(fleetlock_id(OTHER))] == ["w2"]

    machines.changed("w1", NODE, None)
    assert machines.find(fleetlock_id(MACHINE)) == ()


def test_a_change_of_anything_else_is_seen_through_the_id() -> None:
    machines = Machines()
    machines.changed("w1", None, NODE)
    machines.changed("w1", NODE, replace(NODE, uid="2"))

    assert machines.find(fleetlock_id(MACHINE))[0].uid == "2"
