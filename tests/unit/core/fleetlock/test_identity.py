"""A machine has the FleetLock id that systemd and Zincati give it."""

import pytest

from kube_upgrade.core.fleetlock.identity import BadMachineId, fleetlock_id, plain_machine_id

VECTORS = {
    "dfd7882acda64c34aca76193c46f5d4e": "35ba2101ae3f4d45b96e9c51f461bbff",
    "37974b3f7dc54f949209b4fd5b3c5704": "f59c4fa7d80e406f83993d64abf922e3",
    "4473d601f9234ff2a84617c3eaeeea35": "7742030900754495bfeb49c7d1f4d653",
    "10c30367c3cb44eaaab432e552061395": "72fe241381444dee85d824b8ec33a70f",
    "b0236093845b4344930e60dff4d355b0": "3a711518ca8542cb9249bf4fd859a5e1",
    "384afb4f366a4afbbe07c6fd0b9b222a": "473ca41a469040bfb5968791e929d581",
    "6a1ed0358a1b4e8eb16d2872a91358ce": "e9aa1d2389a541ba87046c5a2445b48d",
}


@pytest.mark.parametrize(("machine_id", "expected"), VECTORS.items())
def test_the_published_vectors_hold(machine_id: str, expected: str) -> None:
    assert fleetlock_id(machine_id) == expected


def test_white_space_dashes_and_case_do_not_matter() -> None:
    assert fleetlock_id("DFD7882A-cda6-4c34-aca7-6193c46f5d4e\n") == VECTORS["dfd7882acda64c34aca76193c46f5d4e"]


@pytest.mark.parametrize("text", ["", "uninitialized\n", "0" * 32, "dfd7882a", "g" * 32, "d" * 33])
def test_what_is_no_machine_id_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadMachineId, match="machine-id"):
        plain_machine_id(text)
