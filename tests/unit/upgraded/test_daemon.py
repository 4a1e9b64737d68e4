"""How the daemon is put together, by what it finds on the host."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kube_upgrade.host.bootc import Bootc
from kube_upgrade.host.plain_jobs import PlainJobs
from kube_upgrade.host.rpm_ostree import RpmOstree
from kube_upgrade.host.runner import SubprocessRunner
from kube_upgrade.model.host import Facts, LockFact
from kube_upgrade.upgraded.daemon import still_evidence, together
from kube_upgrade.upgraded.hosts import os_driver
from kube_upgrade.upgraded.settings import Settings
from kube_upgrade.upgraded.state import StateFile


@pytest.mark.parametrize(
    ("programs", "driver"),
    [
        (["rpm-ostree"], RpmOstree),
        (["rpm-ostree", "bootc"], RpmOstree),  # Fedora CoreOS ships both
        (["bootc"], Bootc),
        ([], RpmOstree),  # whose error then names the missing program
    ],
)
def test_bootc_drives_only_where_rpm_ostree_is_absent(tmp_path: Path, programs: list[str], driver: type) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    for program in programs:
        (tmp_path / "usr/bin" / program).touch()
    assert isinstance(os_driver(Settings(root=tmp_path), SubprocessRunner(), PlainJobs(tmp_path)), driver)


def test_the_last_run_of_kubeadm_is_evidence_while_a_lock_is_or_may_be_held(tmp_path: Path) -> None:
    """Without a state file nobody knows."""
    now = datetime.now(UTC)
    assert still_evidence(Facts(lock=LockFact(asked=now))) == ("kubeadm",)
    assert still_evidence(StateFile.load(tmp_path / "state.json", now).facts) == ("kubeadm",)
    assert still_evidence(Facts()) == ()


async def test_what_runs_together_ends_together_and_the_first_failure_is_told_as_it_is() -> None:
    """No group around it: systemd's journal shows the one sentence that counts."""
    ended = asyncio.Event()

    async def lasts() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fails() -> None:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await together(lasts(), fails())
    assert ended.is_set()
