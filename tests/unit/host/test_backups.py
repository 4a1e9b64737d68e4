"""Of each kind of folder that kubeadm leaves behind the newest stays."""

import os
from pathlib import Path

from kube_upgrade.host.backups import FOLDER, KINDS, keep_newest


def test_the_newest_of_each_kind_stays_and_strangers_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER.lstrip("/")
    for kind in KINDS:
        for age in (3, 1, 2):
            (folder / f"{kind}{age}" / "member").mkdir(parents=True)
            os.utime(folder / f"{kind}{age}", (1000 - age, 1000 - age))
    (folder / "mine").mkdir()

    gone = keep_newest(tmp_path)

    assert sorted(path.name for path in folder.iterdir()) == sorted([*(f"{kind}1" for kind in KINDS), "mine"])
    assert len(gone) == 2 * len(KINDS)
    assert keep_newest(tmp_path) == []


def test_without_the_folder_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert keep_newest(tmp_path) == []
