"""The machine says who it is, or that it cannot."""

from pathlib import Path

import pytest

from kube_upgrade.core.fleetlock.identity import BadMachineId
from kube_upgrade.host.identity import BOOT_ID, MACHINE_ID, NoIdentity, boot_id, machine_id
from kube_upgrade.host.paths import on_host


def _write(root: Path, path: str, text: str) -> None:
    on_host(root, path).parent.mkdir(parents=True, exist_ok=True)
    on_host(root, path).write_text(text)


def test_both_ids_are_read_below_the_root(tmp_path: Path) -> None:
    _write(tmp_path, MACHINE_ID, "dfd7882acda64c34aca76193c46f5d4e\n")
    _write(tmp_path, BOOT_ID, "6B2F2A8E-1c9b-4bd5-9f4c-0d8f1d3c7a11\n")
    assert machine_id(tmp_path) == "dfd7882acda64c34aca76193c46f5d4e"
    assert boot_id(tmp_path) == "6b2f2a8e-1c9b-4bd5-9f4c-0d8f1d3c7a11"


def test_a_first_boot_has_no_machine_id_yet(tmp_path: Path) -> None:
    _write(tmp_path, MACHINE_ID, "uninitialized\n")
    with pytest.raises(BadMachineId, match="first boot"):
        machine_id(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoIdentity, match="machine-id: No such file"):
        machine_id(tmp_path)


def test_a_boot_id_is_a_uuid(tmp_path: Path) -> None:
    _write(tmp_path, BOOT_ID, "nonsense")
    with pytest.raises(NoIdentity, match="is not a UUID"):
        boot_id(tmp_path)
