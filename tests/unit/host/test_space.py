"""Whether an image fits is said before minutes of download. /proc is a file system that is always full."""

from pathlib import Path

import pytest

from kube_upgrade.host.space import too_small


@pytest.mark.parametrize(("folder", "needed"), [("ostree", 1024), ("boot", 16)])
def test_a_full_file_system_is_named_with_what_is_needed(tmp_path: Path, folder: str, needed: int) -> None:
    (tmp_path / folder).symlink_to("/proc")
    assert too_small(tmp_path) == f"/{folder} has 0 MiB free, and {needed} MiB are needed to stage an image"


def test_what_is_not_there_is_not_asked(tmp_path: Path) -> None:
    assert too_small(tmp_path) == ""


def test_room_enough_is_nothing_to_say(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    assert too_small(tmp_path) == ""
