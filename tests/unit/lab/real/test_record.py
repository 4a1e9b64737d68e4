"""What a run has beside its processes is in its record; a folder with something mounted below is never removed."""

import json
from pathlib import Path

from kube_upgrade.lab.runs import Record, mounted_below, remove


def test_the_record_knows_the_runs_cgroups() -> None:
    record = Record()
    record.take(json.dumps({"cgroup": "real-123456-worker-1"}))
    record.take('{"cgroup": "real-1')
    assert record.cgroups == {"real-123456-worker-1"}


def test_a_mount_point_below_a_folder_is_seen(tmp_path: Path) -> None:
    assert "/proc" in mounted_below(Path("/proc"))
    assert mounted_below(tmp_path) == []


def test_a_folder_with_nothing_mounted_below_goes(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "nodes").mkdir(parents=True)
    remove(folder)
    assert not folder.exists()
