"""Whatever is done to a machine, and wherever the power is cut, its disk stays one that ostree could have left."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kube_upgrade.lab import machine_state as rules
from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Fault, Refused
from kube_upgrade.lab.standins.rpm_ostree_status import status_json

IMAGES = st.sampled_from([("sha256:a", "v1.36.3"), ("sha256:b", "v1.37.2"), ("sha256:c", "v1.37.2")])


class Disk(RuleBasedStateMachine):
    """Every public operation, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()

    def teardown(self) -> None:
        self._folder.cleanup()

    @initialize(control_plane=st.booleans())
    def create(self, control_plane: bool) -> None:
        self.machine = Machine.create(
            Path(self._folder.name), "n", image="r:v1.36.3", version="v1.36.3", digest="sha256:a",
            control_plane=control_plane,
        )  # fmt: skip

    @rule(image=IMAGES, locked=st.booleans())
    def stage(self, image: tuple[str, str], locked: bool) -> None:
        digest, version = image
        self.machine.stage(f"r:{version}", digest, version, locked=locked)
        assert self.machine.read().first.digest == digest

    @rule(locked=st.booleans())
    def lock(self, locked: bool) -> None:
        nothing = self.machine.read().staged is None
        try:
            with self.machine.edit() as state:
                rules.set_lock(state, locked=locked)
        except Refused:
            assert nothing

    @rule(allow_unlocked=st.booleans())
    def finalize(self, allow_unlocked: bool) -> None:
        before = self.machine.read()
        allowed = before.staged is not None and (before.locked or allow_unlocked)
        try:
            with self.machine.edit() as state:
                rules.unlock_to_finalize(state, None, allow_unlocked=allow_unlocked)
        except Refused:
            assert not allowed
        else:
            assert allowed
            self.machine.request_reboot()

    @rule(pending=st.booleans())
    def cleanup(self, pending: bool) -> None:
        with self.machine.edit() as state:
            (rules.cleanup_pending if pending else rules.cleanup_rollback)(state)
        assert not pending or self.machine.read().first.id == self.machine.read().booted

    @rule(fall_back=st.booleans())
    def reboot(self, fall_back: bool) -> None:
        before = self.machine.read()
        applied = before.staged if before.staged and not before.locked else before.trees[0]
        differs = applied.id != before.booted
        if fall_back and differs:
            self.machine.set_fault("boot", Fault(mode="previous"))
        self.machine.boot()
        after = self.machine.read()
        assert after.trees[0].id == applied.id
        assert after.booted == (before.booted if fall_back and differs else applied.id)
        self._fresh_start(before.boot_id)

    @rule()
    def power_cut(self) -> None:
        before = self.machine.read()
        self.machine.power_cut()
        after = self.machine.read()
        assert after.trees == before.trees  # what was only staged is gone, what was on disk is not
        assert after.booted == before.trees[0].id
        self._fresh_start(before.boot_id)

    @precondition(lambda self: self.machine.read().reboot_requested)
    @rule()
    def nothing_begins_once_a_reboot_is_on_its_way(self) -> None:
        with pytest.raises(Refused, match="Reboot initiated"), self.machine.transaction("rebase"):
            pass

    def _fresh_start(self, boot_id: str) -> None:
        state = self.machine.read()
        assert state.boot_id != boot_id
        assert (state.staged, state.locked, state.driver, state.reboot_requested) == (None, False, None, False)
        kernel = (self.machine.root / "proc/sys/kernel/random/boot_id").read_text().strip()
        assert kernel == state.boot_id

    @invariant()
    def the_disk_is_whole(self) -> None:
        if not hasattr(self, "machine"):
            return
        state = self.machine.read()
        shown = status_json(state, "")["deployments"]
        assert [tree["booted"] for tree in shown].count(True) == 1
        assert [index for index, tree in enumerate(shown) if tree["staged"]] in ([], [0])
        assert all("finalization-locked" not in tree for tree in shown if not tree["staged"])
        assert state.staged is not None or not state.locked
        assert len({tree["id"] for tree in shown}) == len(shown) <= 3
        self._folders_fit({f"{tree['checksum']}.{tree['serial']}" for tree in shown})

    def _folders_fit(self, listed: set[str]) -> None:
        deploy = self.machine.root / "ostree/deploy/fedora-coreos/deploy"
        assert {path.name for path in deploy.iterdir()} == listed
        assert all((path / "usr/bin/kubeadm").exists() for path in deploy.iterdir())
        assert self.machine.read().booted in str((self.machine.root / "usr/bin/kubelet").resolve())


TestDisk = Disk.TestCase
TestDisk.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
