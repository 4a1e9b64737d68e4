"""One daemon per node."""

import os
from pathlib import Path

import pytest

from kube_upgrade.upgraded.lock import AnotherDaemon, only_daemon


def test_a_second_daemon_is_told_who_holds_the_node(tmp_path: Path) -> None:
    path = tmp_path / "kube-upgraded" / "lock"
    told = rf"held by another upgraded \(pid {os.getpid()}\)"
    with only_daemon(path), pytest.raises(AnotherDaemon, match=told), only_daemon(path):
        pass


def test_the_node_is_free_again_afterwards(tmp_path: Path) -> None:
    with only_daemon(tmp_path / "lock"):
        pass
    with only_daemon(tmp_path / "lock"):
        pass
